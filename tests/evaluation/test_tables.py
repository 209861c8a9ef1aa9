"""Tables: what each row says of its protocol, in text and JSON, and the published numbers beside it."""

import numpy as np

from kdloss.evaluation.protocol import evaluate_points
from kdloss.evaluation.published import published_results
from kdloss.evaluation.table import json_table, text_table
from kdloss.evaluation.tables import Result, parts_table, points_table, results_table
from kdloss.geometry import BoxPolicy

CHECKPOINT = {"path": "best.keras", "sha256": "9514eb99ecf53b73", "arch": "mobilenetv2"}


def evaluate(prepared, split="test", shift=1.0, **protocol):
    rows = prepared.indices(split)
    points = prepared.source_points[rows] + shift
    return evaluate_points(prepared, rows, points, split=split, **{"box": BoxPolicy.parse("gt:1.25")} | protocol)


def cell(table, row, label):
    """The text of one cell."""
    shown = json_table(table)
    return shown["rows"][row][shown["columns"].index(label)]


def test_partial_real_faces(faces_300w):
    found = evaluate(faces_300w, checkpoint=CHECKPOINT)
    table = results_table([Result("mine", found, extra={"minutes": "31", "ms": 0.5})])
    nme = found["subsets"]["full"]["nme_interocular"]
    assert cell(table, 0, "full") == f"{nme:.2f}*"
    assert cell(table, 0, "common") == f"{nme:.2f}*"
    assert cell(table, 0, "challenging") == "-"
    assert cell(table, 0, "full (pupil)") == f"{found['subsets']['full']['nme_interpupil']:.2f}*"
    assert cell(table, 0, "full (box)") == f"{found['subsets']['full']['nme_box']:.2f}*"
    assert cell(table, 0, "AUC8") == f"{found['subsets']['full']['auc08']:.3f}*"
    assert [cell(table, 0, label) for label in ("minutes", "ms", "protocol")] == [
        "31",
        "0.50",
        "300-W test 8/689*, ocular, gt:1.25, at 0.10/0.08, no flip, occl. counted, none missing, 9514eb99",
    ]
    text = text_table(table)
    assert "challenging: 0 of 135 official faces, absent" in text
    assert "* of a partial set" in text
    assert "real faces" in text
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
    table = results_table(results, published=False)
    said = [cell(table, row, "protocol").split(", ") for row in range(4)]
    stated = ["at 0.10/0.08", "flip not stated", "occl. counted", "none missing", "no checkpoint"]
    assert said[0][2:] == ["crop not stated", *stated]
    assert said[1][2:5] == ["gt:1.1", "at 0.10/0.08", "flip"]
    assert said[1][7] == "hash not recorded"
    assert said[2][5:] == ["occl. counted", "2 missing as failures", "no checkpoint"]
    assert said[3][0] == "300-W test 6/689*"
    assert said[3][6] == "2 missing left out"


def test_columns_that_are_asked_for(faces_300w):
    found = evaluate(faces_300w)
    columns = ["common (box)", "common FR10", "full AUC8", "px"]
    table = results_table([Result("mine", found, extra={"px": 96})], columns=columns)
    assert [column.label for column in table.columns] == [*columns, "protocol"]
    common = found["subsets"]["common"]
    assert cell(table, 0, "common (box)") == f"{common['nme_box']:.2f}*"
    assert cell(table, 0, "common FR10") == f"{common['fr10']:.2f}*"
    assert cell(table, 0, "full AUC8") == f"{common['auc08']:.3f}*"
    assert cell(table, 0, "px") == "96"


def test_the_papers_rows_stand_beside(faces_300w):
    table = results_table([Result("mine", evaluate(faces_300w))])
    row = next(i for i, row in enumerate(table.rows) if row.label == "KD-Loss paper: student, KD-Loss")
    found = [cell(table, row, label) for label in ("common", "challenging", "full", "FR10", "full (box)", "protocol")]
    protocol = "300-W test 689, ocular, paper, at 0.10, rest not stated (2022, F)"
    assert found == ["3.56", "6.13", "4.06", "0.87", "-", protocol]
    kinds = [row.kind for row in table.rows]
    assert kinds[0] == "measured"
    assert kinds.count("published") == len(published_results("300w")) == 11
    assert len(results_table([Result("mine", evaluate(faces_300w))], published=False).rows) == 1
    # Published numbers are of the test set.
    assert len(results_table([Result("mine", evaluate(faces_300w, "val"))]).rows) == 1


def test_synthetic_faces_are_called_so(make_prepared):
    text = text_table(results_table([Result("mine", evaluate(make_prepared("cofw", synthetic=True)))]))
    assert "SYNTHETIC faces" in text.splitlines()[0]
    assert "published numbers are of real faces and not comparable" in text
    line = next(line for line in text.splitlines() if line.startswith("mine"))
    assert "SYNTHETIC COFW test 8, ocular" in line
    assert "*" not in line


def test_wflw_numbers_by_pupil_do_not_stand_in_the_ocular_columns(make_prepared):
    table = results_table([Result("mine", evaluate(make_prepared("wflw")))])
    assert table.rows[1].label.startswith("KD-Loss")
    assert [cell(table, 1, label) for label in ("full", "pose", "full (pupil)")] == ["-", "-", "8.57"]
    assert "test 2500, pupil, crop not stated" in cell(table, 1, "protocol")
    assert any("distance of the pupils" in note for note in table.notes)


def test_own_points_have_no_pupil_column(make_prepared):
    found = evaluate(make_prepared("folder", custom=7))
    table = results_table([Result("mine", found)])
    assert [column.label for column in table.columns][:2] == ["full", "FR10"]
    assert cell(table, 0, "full") == f"{found['subsets']['full']['nme_box']:.2f}"
    assert cell(table, 0, "protocol").startswith("own faces test 8, box, ")


def test_parts(faces_300w):
    found = evaluate(faces_300w)
    table = parts_table([Result("mine", found)])
    assert cell(table, 0, "mouth") == f"{found['parts']['mouth']:.2f}"
    assert "8/689*" in cell(table, 0, "protocol")
    assert "visible" not in [column.label for column in table.columns]


def test_parts_of_sets_that_flag_occluded_points(faces_300w):
    seen = evaluate(faces_300w) | {"visibility": {"visible": 3.125, "occluded": None}}
    table = parts_table([Result("mine", seen), Result("other", evaluate(faces_300w))])
    assert [cell(table, 0, label) for label in ("visible", "occluded")] == ["3.12", "-"]
    assert [cell(table, 1, label) for label in ("visible", "occluded")] == ["-", "-"]


def test_points_the_worst_first(faces_300w):
    rows = faces_300w.indices("test")
    points = faces_300w.source_points[rows].copy()
    points[:, 30] += 9.0
    points[:, 8] += 4.0
    mine = evaluate_points(faces_300w, rows, points, split="test")
    other = evaluate(faces_300w)
    table = points_table([Result("mine", mine), Result("other", other)])
    names = faces_300w.scheme.names
    assert [row.label for row in table.rows][:2] == [names[30], names[8]]
    assert len(table.rows) == 68
    assert cell(table, 0, "mine") == f"{mine['points'][names[30]]:.2f}"
    assert cell(table, 0, "other") == f"{other['points'][names[30]]:.2f}"
    assert table.heading == "point"
    assert any(note.startswith("mine: 300-W test 8/689*") for note in table.notes)


def test_text_is_aligned(faces_300w):
    table = results_table([Result("mine", evaluate(faces_300w))])
    title, empty, head, rule, *lines = text_table(table).splitlines()
    assert (title, empty, set(rule)) == (table.title, "", {"-", " "})
    body = [head, *(line for line in lines[: lines.index("")] if line != rule)]
    assert max(map(len, body)) == len(rule)
    assert rule in lines  # between measured and published
    # Words begin in one column, numbers end in one.
    begins = body[0].index("protocol")
    ends = body[0].index("FR10") + len("FR10")
    for line in body[1:]:
        assert line[begins - 1] == " "
        assert line[begins] != " "
        assert line[ends - 1] in "0123456789-*"
        assert line[ends] == " "
