"""Quantities of the record: throughput and box robustness, from what measured them to a table."""

import datetime
import json
import runpy
from pathlib import Path

import pytest

from kdloss import results
from kdloss.errors import DataError
from kdloss.evaluation.generated import dataset_tables, recorded_table
from kdloss.evaluation.recorded import load_recorded, parse_recorded
from kdloss.evaluation.table import markdown_table

REPOSITORY = Path(__file__).resolve().parents[2]
VALUES = "nme_interocular: 5.25, nme_interpupil: 7.5, nme_box: 3.0, fr10: 2.0, fr08: 4.0, auc10: 0.5, auc08: 0.4"


def measured(name, content="abc", synthetic="false"):
    return f"""\
  - id: {name}
    label: The {name}
    dataset: 300w
    split: test
    synthetic: {synthetic}
    protocol: {{normaliser: interocular, box: 'gt:1.25', thresholds: [0.1], flip_test: false, content: {content},
      occluded_points: counted, missing: {{n: 0, counted: none missing}}}}
    subsets:
      full: {{n: 554, official_n: 689, complete: false, {VALUES}}}
    checkpoint: {{sha256: 0123456789abcdef, arch: mobilenetv2}}
    machine: a machine
    date: 2026-11-22
    command: make
"""


QUANTITIES = """\
quantities:
  - {id: rate, of: mine, what: model alone, unit: faces/s, value: 238.224, low: 180, high: 249.03, n: 7,
     command: time it, machine: a machine, date: 2026-11-23, note: warm}
  - {id: share, what: a share, unit: '%', value: 0.0625, command: count it, machine: other, accelerator: A GPU,
     date: 2026-11-23}
"""
TABLES = """\
certainty: {F: read}
tables:
  numbers: {title: Numbers, dataset: 300w, rows: [rate, share]}
  results: {title: Results, dataset: 300w, rows: [mine, yours], columns: [full]}
measured:
"""
RECORD = TABLES + measured("mine") + measured("yours", content="def") + QUANTITIES


def table_lines(text, name):
    return markdown_table(recorded_table(parse_recorded(text, "results.yml"), name)).splitlines()


def test_quantities_become_a_table():
    lines = table_lines(RECORD, "numbers")
    assert lines[0] == "| what | of | value | spread | n | date | command |"
    assert lines[2] == "| model alone | The mine | 238.22 faces/s | 180.00 to 249.03 | 7 | 2026-11-23 | time it |"
    assert lines[3] == "| a share | - | 0.0625 % | - | - | 2026-11-23 | count it |"
    assert lines[5:] == [
        "- model alone (The mine): warm",
        "- measured on a machine, no accelerator: model alone (The mine)",
        "- measured on other, A GPU: a share",
    ]
    tables = dataset_tables(parse_recorded(RECORD, "results.yml"), "300w")
    assert [row.label for row in tables[-1].rows] == ["model alone"]
    assert "real faces" in tables[-1].title


def test_quantities_of_rendered_faces_say_so():
    text = TABLES + measured("mine", synthetic="true") + measured("yours", synthetic="true") + QUANTITIES
    assert "| The mine (SYNTHETIC faces) |" in table_lines(text, "numbers")[2]


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("of: mine", "of: lost", ["quantities: rate: lost is not the id of a measured result"]),
        ("id: rate", "id: mine", ["quantities entry 1 (mine): the id mine is taken"]),
        ("value: 238.224", "value: .nan", ["(rate): value is nan, expected a finite number"]),
        ("value: 238.224", "value: 250", ["(rate): value is 250, expected one from low 180 to high 249.03"]),
        ("low: 180, ", "", ["(rate): low, high: found one of them"]),
        ("unit: faces/s, ", "", ["(rate): unit is missing"]),
        ("n: 7", "m: 7", ["(rate): unknown field m"]),
        ("rows: [rate, share]", "rows: [rate, lost]", ["tables: numbers: row lost is not recorded"]),
        ("rows: [rate, share]", "rows: [rate, mine]", ["tables: numbers", "give each a table of its own"]),
        ("rows: [rate, share]", "rows: [rate], columns: [full]", ["tables: numbers: columns", "take them out"]),
        ("Numbers, dataset: 300w", "Numbers, dataset: cofw", ["row rate is of 300w, expected rows of cofw"]),
    ],
)
def test_what_breaks_the_rules_of_quantities(old, new, parts):
    assert old in RECORD
    with pytest.raises(DataError) as caught:
        table_lines(RECORD.replace(old, new, 1), "numbers")
    for part in parts:
        assert part in str(caught.value)


def test_rows_of_different_prepared_faces_are_noted():
    note = "- measured on prepared faces with different content hashes: abc, def"
    assert table_lines(RECORD, "results")[-1] == note
    assert note not in table_lines(RECORD.replace("content: def", "content: abc"), "results")
    shown = dataset_tables(parse_recorded(RECORD, "results.yml"), "300w")[0]
    assert note[2:] in shown.notes


@pytest.fixture
def record(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "results.yml"
    path.write_text(RECORD)
    return path


def added(record, capsys, command, source, *more, status=0):
    """The new quantities by id, or the one line of an error."""
    before = {entry.id for entry in load_recorded(record).quantities}
    words = [command, source, "--of", "mine", "--prefix", "p", "--results", record, *more]
    assert results.main(list(map(str, words))) == status
    error = capsys.readouterr().err
    if status:
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        return error
    return {entry.id: entry for entry in load_recorded(record).quantities if entry.id not in before}


def robust_metrics(**changed):
    grid = [[5.5, 6.0, 5.6], [5.4, 5.25, 5.4], [5.7, 6.1, 5.8]]
    detector = {"detector": "lbp", "n": 200, "n_found": 190, "found": 0.95, "box": "gt:1.25"}
    detector |= {"normaliser": "interocular", "nme_detector": 5.8, "nme_policy": 5.2}
    robustness = {
        "n": 200,
        "box": "gt:1.25",
        "normaliser": "interocular",
        "shift": {"shifts": [-0.1, 0.0, 0.1], "nme": grid},
        "scale_rotation": {"scales": [0.8, 1.0], "rotations": [-30.0, 0.0], "nme": [[9.5, 6.0], [8.0, 5.25]]},
        "baseline_nme": 5.25,
        "robust_nme": 6.5,
        "robust_ratio": 6.5 / 5.25,
        "outside": 0.25,
        "detector": detector,
    }
    protocol = {"split": "test", "synthetic": False, "checkpoint": {"path": "best.keras", "sha256": "0123456789abcdef"}}
    record = {"dataset": "300w", "protocol": protocol, "robustness": robustness, "command": "evaluate it"}
    return record | {"environment": {"processor": "A processor", "cores": 4, "accelerators": ["A GPU"]}} | changed


def test_robustness_is_added(record, capsys):
    Path("metrics.json").write_text(json.dumps(robust_metrics()))
    found = added(record, capsys, "add-robustness", ".", "--date", "2026-11-24")
    expected = {
        "p-nme": (5.25, "%", 200),
        "p-robust-nme": (6.5, "%", 200),
        "p-robust-ratio": (1.238095, "times", 200),
        "p-worst-nme": (9.5, "%", 200),
        "p-detector-found": (95.0, "%", 200),
        "p-detector-nme": (5.8, "%", 190),
        "p-detector-policy-nme": (5.2, "%", 190),
    }
    assert {name: (one.value, one.unit, one.n) for name, one in found.items()} == expected
    assert found["p-worst-nme"].note == "box scaled by 0.8 and turned by -30 degrees"
    assert "25 % of these crops reach beyond the stored one" in found["p-robust-nme"].note
    assert "kinder than whole photographs" in found["p-detector-found"].note
    one = found["p-nme"]
    assert one.what == "NME (interocular) in the box gt:1.25"
    assert (one.command, one.machine, one.accelerator) == ("evaluate it", "A processor, 4 cores", "A GPU")
    assert one.date == datetime.date(2026, 11, 24)
    assert "p-nme is taken" in added(record, capsys, "add-robustness", ".", status=2)


def test_a_blind_detector_has_a_share_and_no_nme(record, capsys):
    metrics = robust_metrics()
    metrics["robustness"]["detector"] |= {"n_found": 0, "found": 0.0, "nme_detector": None, "nme_policy": None}
    Path("metrics.json").write_text(json.dumps(metrics))
    found = added(record, capsys, "add-robustness", ".")
    assert [name for name in found if "detector" in name] == ["p-detector-found"]
    metrics["robustness"] |= {"detector": None, "flip_test": True}
    Path("metrics.json").write_text(json.dumps(metrics))
    found = added(record, capsys, "add-robustness", ".", "--prefix", "q")
    assert len(found) == 4
    assert found["q-nme"].what == "NME (interocular, mirror test) in the box gt:1.25"


@pytest.mark.parametrize(
    ("changed", "parts"),
    [
        ({"robustness": None}, ["holds no robustness", "--robustness"]),
        ({"robustness": {"n": 3}}, ["not as kdloss.evaluate writes it", "normaliser"]),
        ({"dataset": "cofw"}, ["of real cofw test faces", "--of mine is of real 300w test faces"]),
        ({"environment": {}}, ["'processor'"]),
        ({"command": None}, ["--command", "give --command"]),
        ({"protocol": {}}, ["holds no 'checkpoint'"]),
        ({"protocol": {"split": "test", "synthetic": False, "checkpoint": {"path": "b", "sha256": "ff"}}},
         ["checkpoint ff", "checkpoint 0123456789abcdef"]),
    ],
)  # fmt: skip
def test_robustness_that_cannot_be_added(record, capsys, changed, parts):
    Path("metrics.json").write_text(json.dumps(robust_metrics(**changed)))
    error = added(record, capsys, "add-robustness", ".", status=2)
    for part in parts:
        assert part in error
    assert "--of lost: not the id" in added(record, capsys, "add-robustness", ".", "--of", "lost", status=2)
    assert record.read_text() == RECORD


def detected_metrics(**changed):
    kinds = {"calibrated": 4.4, "again": 3.9, "policy": 3.7, "uncalibrated": 4.5}
    found = {
        "name": "lbp",
        "box": "gt:1.25",
        "n": 554,
        "n_found": 548,
        "n_missed": 6,
        "normaliser": "interocular",
        "nme": kinds,
        "median": {kind: value - 0.5 for kind, value in kinds.items()},
        "calibration": {},
    }
    return robust_metrics(robustness=None) | {"detector": found} | changed


def test_what_a_detector_costs_is_added(record, capsys):
    Path("metrics.json").write_text(json.dumps(detected_metrics()))
    found = added(record, capsys, "add-detector", ".")
    assert {name: (one.value, one.unit, one.n) for name, one in found.items()} == {
        "p-found": (98.916968, "%", 554),
        "p-policy-nme": (3.7, "%", 548),
        "p-calibrated-nme": (4.4, "%", 548),
        "p-again-nme": (3.9, "%", 548),
        "p-uncalibrated-nme": (4.5, "%", 548),
    }
    assert found["p-again-nme"].note == "median of the faces 3.40 %"
    for changed, part in (({"detector": None}, "holds no detector"), ({"detector": {"n": 3}}, "not as kdloss")):
        Path("metrics.json").write_text(json.dumps(detected_metrics(**changed)))
        assert part in added(record, capsys, "add-detector", ".", status=2)


THROUGHPUT = {
    "dataset": "300w",
    "n": 554,
    "synthetic": False,
    "checkpoint": {"path": "best.keras", "sha256": "0123456789abcdef"},
    "batch_size": 64,
    "repeats": 7,
    "command": "python benchmarks/evaluation_throughput.py --checkpoint best.keras",
    "date": "2026-11-22",
    "machine": {"processor": "A processor", "cores": 2, "accelerators": []},
    "summary": {
        "batch": {"median": 238.2, "min": 180.0, "max": 249.0},
        "evaluation": {"median": 212.6, "min": 155.0, "max": 219.5},
        "ratio": {"median": 0.885, "min": 0.826, "max": 0.906},
        "file": {"median": 0.061, "min": 0.04, "max": 0.066},
    },
}


def test_throughput_is_added(record, capsys):
    Path("t.json").write_text(json.dumps(THROUGHPUT))
    found = added(record, capsys, "add-throughput", "t.json")
    assert {name: (one.value, one.low, one.high, one.unit, one.n) for name, one in found.items()} == {
        "p-model-rate": (238.2, 180.0, 249.0, "faces/s", 7),
        "p-evaluation-rate": (212.6, 155.0, 219.5, "faces/s", 7),
        "p-evaluation-share": (0.885, 0.826, 0.906, "times", 7),
        "p-file-seconds": (0.061, 0.04, 0.066, "s", 7),
    }
    one = found["p-model-rate"]
    assert (one.machine, one.accelerator, str(one.date)) == ("A processor, 2 cores", "none", "2026-11-22")
    assert one.command == THROUGHPUT["command"]
    Path("t.json").write_text(json.dumps({key: value for key, value in THROUGHPUT.items() if key != "command"}))
    assert "give --command" in added(record, capsys, "add-throughput", "t.json", "--prefix", "q", status=2)
    Path("t.json").write_text(json.dumps(THROUGHPUT | {"synthetic": True}))
    assert "of SYNTHETIC 300w" in added(record, capsys, "add-throughput", "t.json", "--prefix", "q", status=2)
    Path("t.json").write_text("[]")
    assert "not the --json of" in added(record, capsys, "add-throughput", "t.json", "--prefix", "q", status=2)


def test_the_benchmark_says_which_limit_it_missed():
    missed = runpy.run_path(str(REPOSITORY / "benchmarks" / "evaluation_throughput.py"))["missed"]
    reached = {"ratio": {"median": 0.80, "min": 0.5}, "file": {"median": 0.1, "max": 2.0}}
    assert missed(reached) == []
    slow = missed({"ratio": {"median": 0.79}, "file": {"median": 0.1, "max": 2.1}})
    assert slow == [
        "evaluation / model: median 0.790, expected 0.8 at least",
        "predictions file: 2.100 s, expected 2.0 s at most",
    ]
