"""Records that commands wrote with --json, as blocks of documents."""

import json

import pytest

from kdloss.errors import DataError
from kdloss.evaluation import record_files
from kdloss.evaluation.generated import check_blocks, write_blocks
from kdloss.evaluation.recorded import parse_recorded

RECORDED = parse_recorded("certainty: {F: read}\n", "results.yml")
CONFIDENCE = {
    "kind": "confidence",
    "checkpoint": "a model",
    "dataset": "300w",
    "split": "test",
    "synthetic": False,
    "faces": 10,
    "points": 680,
    "signal": "spread",
    "within": 0.03,
    "share_within": 0.75,
    "groups": [{"confidence": 0.5, "within": 0.55, "error": 4.0}, {"confidence": 0.9, "within": 0.95, "error": 1.25}],
    "spearman": -0.4,
    "calibration_error": 0.05,
    "auc": None,
    "command": "measure it",
    "date": "2026-11-27",
}
DOCUMENT = "before\n<!-- results: found.json -->\n<!-- end of results -->\nafter\n"


@pytest.fixture
def document(tmp_path):
    (tmp_path / "found.json").write_text(json.dumps(CONFIDENCE))
    (tmp_path / "document.md").write_text(DOCUMENT)
    return tmp_path / "document.md"


def test_a_record_beside_a_document_becomes_its_table(document):
    assert check_blocks(document, RECORDED) == ["found.json"]
    assert write_blocks(document, RECORDED) == ["found.json"]
    lines = document.read_text().splitlines()
    assert "| 2 of 2 | 0.900 | 0.950 | 1.25 |" in lines
    assert "- `measure it`, 2026-11-27" in lines
    assert (lines[0], lines[-1]) == ("before", "after")
    assert check_blocks(document, RECORDED) == []
    (document.parent / "found.json").write_text(json.dumps(CONFIDENCE | {"date": "2026-11-28"}))
    assert check_blocks(document, RECORDED) == ["found.json"]


@pytest.mark.parametrize("found", ["{}", "[]", '{"kind": "mood"}', json.dumps(CONFIDENCE | {"groups": 3})])
def test_what_is_no_record(document, found):
    (document.parent / "found.json").write_text(found)
    with pytest.raises(DataError, match=r"found\.json: not a record of one of .*confidence, "):
        write_blocks(document, RECORDED)
    assert document.read_text() == DOCUMENT


def test_no_file(document):
    (document.parent / "found.json").unlink()
    with pytest.raises(DataError, match=r"found\.json: cannot be read"):
        check_blocks(document, RECORDED)


def test_every_kind_has_a_function_that_is_there():
    for module, function in record_files._TABLES.values():
        assert callable(getattr(__import__(module, fromlist=["_"]), function))
