"""Tables: what each row says of its protocol, in text, Markdown and HTML, and the published numbers beside it."""

from html.parser import HTMLParser

import pytest

from kdloss.datasets import DATASETS
from kdloss.evaluation.protocol import evaluate_points
from kdloss.evaluation.published import PUBLISHED, published_results
from kdloss.evaluation.tables import (
    Column,
    Result,
    Row,
    Table,
    html_table,
    markdown_table,
    parts_table,
    results_table,
    text_table,
)
from kdloss.geometry import BoxPolicy


def evaluate(prepared, split="test"):
    rows = prepared.indices(split)
    points = prepared.source_points[rows] + 1.0
    return evaluate_points(prepared, rows, points, split=split, box=BoxPolicy.parse("gt:1.25"))


def cell(table, row, label):
    """The text of one cell, read from the Markdown."""
    lines = [line.strip("| ").split(" | ") for line in markdown_table(table).splitlines() if line.startswith("|")]
    return lines[2 + row][lines[0].index(label)]


def test_partial_real_faces(faces_300w):
    found = evaluate(faces_300w)
    table = results_table([Result("mine", found, extra={"minutes": "31"})])
    nme = found["subsets"]["full"]["nme_interocular"]
    assert cell(table, 0, "full") == f"{nme:.2f}*"
    assert cell(table, 0, "common") == f"{nme:.2f}*"
    assert cell(table, 0, "challenging") == "-"
    assert cell(table, 0, "full (pupil)") == f"{found['subsets']['full']['nme_interpupil']:.2f}*"
    assert cell(table, 0, "full (box)") == f"{found['subsets']['full']['nme_box']:.2f}*"
    assert cell(table, 0, "AUC8") == f"{found['subsets']['full']['auc08']:.3f}*"
    assert [cell(table, 0, label) for label in ("faces", "crop", "images", "minutes")] == [
        "8/689*",
        "gt:1.25",
        "real",
        "31",
    ]
    text = text_table(table)
    assert "challenging: 0 of 135 official faces, absent" in text
    assert "* of a partial set" in text
    assert "real faces" in text
    assert "SYNTHETIC" not in text


def test_the_papers_rows_stand_beside(faces_300w):
    table = results_table([Result("mine", evaluate(faces_300w))])
    row = next(i for i, row in enumerate(table.rows) if row.label == "KD-Loss paper: student, KD-Loss")
    found = [cell(table, row, label) for label in ("common", "challenging", "full", "FR10", "faces", "crop", "images")]
    assert found == ["3.56", "6.13", "4.06", "0.87", "689", "paper", "real"]
    assert [row.kind for row in table.rows] == ["measured"] + ["published"] * 6
    assert len(results_table([Result("mine", evaluate(faces_300w))], published=False).rows) == 1
    # Published numbers are of the test set.
    assert len(results_table([Result("mine", evaluate(faces_300w, "val"))]).rows) == 1


def test_synthetic_faces_are_called_so(make_prepared):
    text = text_table(results_table([Result("mine", evaluate(make_prepared("cofw", synthetic=True)))]))
    assert "SYNTHETIC faces" in text.splitlines()[0]
    assert "published numbers are of real faces and not comparable" in text
    line = next(line for line in text.splitlines() if line.startswith("mine"))
    assert line.split()[-1] == "synthetic"
    assert "*" not in line


def test_wflw_numbers_by_pupil_do_not_stand_in_the_ocular_columns(make_prepared):
    table = results_table([Result("mine", evaluate(make_prepared("wflw")))])
    assert table.rows[1].label.startswith("KD-Loss")
    assert [cell(table, 1, label) for label in ("full", "pose", "full (pupil)")] == ["-", "-", "8.57"]
    assert any("15.06 pose" in note and "pupil distance" in note for note in table.notes)


def test_own_points_have_no_pupil_column(make_prepared):
    found = evaluate(make_prepared("folder", custom=7))
    table = results_table([Result("mine", found)])
    assert [column.label for column in table.columns][:2] == ["full", "FR10"]
    assert cell(table, 0, "full") == f"{found['subsets']['full']['nme_box']:.2f}"


def test_parts(faces_300w):
    found = evaluate(faces_300w)
    assert cell(parts_table([Result("mine", found)]), 0, "mouth") == f"{found['parts']['mouth']:.2f}"


def test_text_is_aligned(faces_300w):
    lines = text_table(results_table([Result("mine", evaluate(faces_300w))])).splitlines()
    rule = lines[1]
    assert set(rule) == {"-"}
    body = lines[2 : len(lines) - 1 - lines[::-1].index(rule)]
    assert {len(line) for line in body} == {len(rule)}


class Reader(HTMLParser):
    """Collects cells, and checks that every tag is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.cells = [], []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_html_escapes_and_holds_the_same_cells():
    table = Table("<b>", (Column("a", "a & b"),), (Row("<script>", {"a": 1.234}), Row("x|y", {})), ("1 < 2",))
    reader = Reader()
    reader.feed(html_table(table))
    assert reader.open == []
    assert reader.cells == ["method", "a & b", "<script>", "1.23", "x|y", "-"]
    assert "<script>" not in html_table(table)
    assert "| x\\|y | - |" in markdown_table(table)


@pytest.mark.parametrize("result", PUBLISHED, ids=lambda result: f"{result.dataset}-{result.method}")
def test_published_rows_name_real_subsets_and_a_source(result):
    known = {*DATASETS[result.dataset].subsets, "full"}
    assert {*result.interocular, *result.interpupil} <= known
    assert "full" in {*result.interocular, *result.interpupil}
    assert result.source
    assert result.certainty in "FC"


def test_300w_full_is_the_mean_of_its_subsets():
    # Over 554 and 135 faces; two-digit rounding of three numbers allows 0.012. Catches a mistyped number.
    for result in published_results("300w"):
        nme = result.interocular
        assert nme["full"] == pytest.approx((554 * nme["common"] + 135 * nme["challenging"]) / 689, abs=0.012)
