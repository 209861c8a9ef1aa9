"""Tables: what each row says of its protocol, in text and JSON, and the published numbers beside it."""

import numpy as np

from kdloss.data.geometry import BoxPolicy
from kdloss.evaluation.protocol import evaluate_points
from kdloss.evaluation.published import published_results
from kdloss.evaluation.tables import (
    Result,
    brief_table,
    json_table,
    parts_table,
    points_table,
    results_table,
    text_table,
)


def evaluate(prepared, split="test", shift=1.0, **protocol):
    rows = prepared.indices(split)
    points = prepared.source_points[rows] + shift
    return evaluate_points(prepared, rows, points, split=split, **{"box": BoxPolicy.parse("gt:1.25")} | protocol)


def shown(table):
    """The rows as headings -> text; the first heading is that of the rows' names."""
    found = json_table(table)
    return [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]


def test_partial_real_faces(faces_300w):
    found = evaluate(faces_300w, checkpoint={"path": "best.keras", "sha256": "9514eb99ecf53b73"})
    table = results_table([Result("mine", found, extra={"minutes": "31", "ms": 0.5})])
    full = found["subsets"]["full"]
    expected = {
        "full": f"{full['nme_interocular']:.2f}*",
        "common": f"{full['nme_interocular']:.2f}*",
        "challenging": "-",
        "full (pupil)": f"{full['nme_interpupil']:.2f}*",
        "full (box)": f"{full['nme_box']:.2f}*",
        "AUC8": f"{full['auc08']:.3f}*",
        "minutes": "31",
        "ms": "0.50",
        "protocol": "300-W test 8/689*, ocular, gt:1.25, at 0.10/0.08, no flip, occl. counted, none missing, 9514eb99",
    }
    assert shown(table)[0].items() >= expected.items()
    text = text_table(table)
    for words in ("challenging: 0 of 135 official faces, absent", "* of a partial set", "real faces"):
        assert words in text
    assert "SYNTHETIC" not in text


def test_each_row_has_its_own_protocol(faces_300w):
    rows = faces_300w.indices("test")
    points = faces_300w.source_points[rows] + 1.0
    points[2:4] = np.nan
    results = [
        Result("a", evaluate(faces_300w, box=None, flip=None)),
        Result("b", evaluate(faces_300w, box=BoxPolicy.parse("gt:1.1"), flip=True, checkpoint={"sha256": None})),
        Result("c", evaluate_points(faces_300w, rows, points, split="test", missing="fail")),
        Result("d", evaluate_points(faces_300w, rows, points, split="test", missing="skip")),
    ]
    assert [row["protocol"] for row in shown(results_table(results, published=False))] == [
        f"300-W test {count}/689*, ocular, {box}, at 0.10/0.08, {flip}, occl. counted, {missing}, {checkpoint}"
        for count, box, flip, missing, checkpoint in (
            (8, "crop not stated", "flip not stated", "none missing", "no checkpoint"),
            (8, "gt:1.1", "flip", "none missing", "hash not recorded"),
            (8, "crop not stated", "no flip", "2 missing as failures", "no checkpoint"),
            (6, "crop not stated", "no flip", "2 missing left out", "no checkpoint"),
        )
    ]


def test_columns_that_are_asked_for(faces_300w):
    found = evaluate(faces_300w)
    common = found["subsets"]["common"]
    expected = {
        "common (box)": f"{common['nme_box']:.2f}*",
        "common FR10": f"{common['fr10']:.2f}*",
        "full AUC8": f"{common['auc08']:.3f}*",
        "px": "96",
    }
    (row,) = shown(results_table([Result("mine", found, extra={"px": 96})], columns=list(expected), published=False))
    assert list(row.items()) == [("method", "mine"), *expected.items(), ("protocol", row["protocol"])]


def test_the_papers_rows_stand_beside(faces_300w):
    mine = Result("mine", evaluate(faces_300w))
    table = results_table([mine])
    row = next(row for row in shown(table) if row["method"] == "KD-Loss paper: student, KD-Loss")
    protocol = "300-W test 689, ocular, paper, at 0.10, rest not stated (2022, F)"
    expected = {"common": "3.56", "challenging": "6.13", "full": "4.06", "FR10": "0.87", "full (box)": "-"}
    assert row.items() >= (expected | {"protocol": protocol}).items()
    assert [row.kind for row in table.rows] == ["measured"] + ["published"] * len(published_results("300w"))
    assert len(table.rows) == 12
    assert len(results_table([mine], published=False).rows) == 1
    # Published numbers are of the test set.
    assert len(results_table([Result("mine", evaluate(faces_300w, "val"))]).rows) == 1


def test_a_brief_table_fits_a_terminal(make_prepared):
    found = evaluate(make_prepared("wflw"))
    full = found["subsets"]["full"]
    results = [Result("a model whose name is long", found | {"subsets": dict.fromkeys(found["subsets"], full)})]
    for width, dropped in ((200, None), (80, "no room for: illumination, make-up, occlusion, blur")):
        table = brief_table(results, width)
        lines = text_table(table, width).splitlines()
        assert max(map(len, lines)) <= width
        assert next((note for note in table.notes if "no room" in note), None) == dropped
        (measured, *papers), cells = table.rows, [column.label for column in table.columns]
        assert cells[-3:] == ["full", "FR10", "AUC10"]
        assert measured.label == "a model whose name is long"
        assert [row.label for row in papers] == ["EfficientFAN", "STAR"]  # KD-Loss reports other numbers


def test_parts_and_occluded_points_where_they_are_flagged(faces_300w):
    found = evaluate(faces_300w)
    flagged = found | {"visibility": {"visible": 3.125, "occluded": None}}
    (row,) = shown(parts_table([Result("mine", found)]))
    assert row["mouth"] == f"{found['parts']['mouth']:.2f}"
    assert "8/689*" in row["protocol"]
    assert "visible" not in row
    rows = shown(parts_table([Result("mine", flagged), Result("other", found)]))
    assert [(row["visible"], row["occluded"]) for row in rows] == [("3.12", "-"), ("-", "-")]


def test_points_the_worst_first(faces_300w):
    rows = faces_300w.indices("test")
    points = faces_300w.source_points[rows].copy()
    points[:, 30] += 9.0
    points[:, 8] += 4.0
    mine, other = evaluate_points(faces_300w, rows, points, split="test"), evaluate(faces_300w)
    table = points_table([Result("mine", mine), Result("other", other)])
    names, first = faces_300w.scheme.names, shown(table)[0]
    assert [row.label for row in table.rows][:2] == [names[30], names[8]]
    assert len(table.rows) == 68
    values = {label: f"{found['points'][names[30]]:.2f}" for label, found in (("mine", mine), ("other", other))}
    assert first == {"point": names[30]} | values
    assert any(note.startswith("mine: 300-W test 8/689*") for note in table.notes)
