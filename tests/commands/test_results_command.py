"""``kdloss.results``: from an evaluation folder into the record, and from the record into Markdown."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from kdloss import results
from kdloss.evaluation.predictions import save_predictions
from kdloss.evaluation.protocol import evaluate_points
from kdloss.evaluation.recorded import load_recorded
from kdloss.geometry import BoxPolicy
from kdloss.prepared import PreparedDataset
from kdloss.runs import finish
from kdloss.training.config import TrainConfig

RECORD = Path("docs/results/results.yml")
EMPTY = """\
# numbers
certainty: {F: read}
tables:
  own: {title: Rendered faces, dataset: cofw, rows: [trees], columns: [full, ms, MB, training faces]}
published:
  - {id: theirs, method: Theirs, dataset: cofw, nme_interocular: {full: 3.5}, box: not stated, certainty: F, date: 2020,
     source: A paper}
measured:
"""
PAGE = "# Own\n\n<!-- results: own -->\n<!-- end of results -->\n"
TREES = ["--id", "trees", "--label", "Trees", "--machine", "a machine", "--command", "make trees"]


@pytest.fixture
def record(workplace):
    """A checkout's record and README in the current folder."""
    RECORD.parent.mkdir(parents=True)
    RECORD.write_text(EMPTY)
    Path("README.md").write_text(PAGE)
    return RECORD


@pytest.fixture
def evaluation(data, workplace):
    """The folder of an evaluation of predictions, as ``kdloss.evaluate`` leaves it."""
    return write_evaluation(data, Path("evaluation"))


def write_evaluation(data, folder, checkpoint=None):
    prepared = PreparedDataset(data / "cofw")
    rows = prepared.indices("test")
    truth = prepared.source_points[rows]
    how = {"split": "test", "box": BoxPolicy.parse("gt:1.25"), "checkpoint": checkpoint}
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(evaluate_points(prepared, rows, truth + 1, **how)))
    save_predictions(folder / "predictions.npz", prepared.table["name"][rows], truth + 1, truth)
    return folder


def run(capsys, *words, status=0):
    """What a command prints, to its output, or to errors where it fails."""
    assert results.main(list(map(str, words))) == status
    printed = capsys.readouterr()
    assert (printed.err == "") == (status == 0)
    return printed.err if status else printed.out


def fails(capsys, *words, parts, status=2):
    message = run(capsys, *words, status=status)
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    for part in parts:
        assert part in message


def test_from_predictions_to_a_page(record, evaluation, capsys):
    Path("trees.dat").write_bytes(bytes(2_500_000))
    more = ["--model-file", "trees.dat", "--network", "regression trees", "--ms", "0.7", "--ms-what", "one face"]
    more += ["--training-faces", "1811", "--seed", "0", "--date", "2026-11-23", "--caveat", "small"]
    assert "added trees" in run(capsys, "add", evaluation, *TREES, *more)
    assert record.read_text().startswith(EMPTY)
    (entry,) = load_recorded(record).measured
    expected = json.loads((evaluation / "metrics.json").read_text())
    assert entry.subsets["full"] == pytest.approx(expected["subsets"]["full"], abs=1e-6)
    assert entry.protocol["missing"] == {"n": 0, "counted": "none missing"}
    assert entry.synthetic is True
    assert entry.checkpoint["arch"] == "regression trees"
    assert (entry.megabytes, entry.ms["value"], entry.ms["machine"]) == (2.5, 0.7, "a machine")
    assert entry.training == {"faces": 1811, "seed": 0}
    assert str(entry.date) == "2026-11-23"
    fails(capsys, "check", parts=["README.md: block own", "run python -m kdloss.results write"], status=1)
    assert "README.md: wrote own" in run(capsys, "write")
    nme = f"{expected['subsets']['full']['nme_interocular']:.2f}"
    page = Path("README.md").read_text()
    assert f"| Trees | {nme} | 0.70 | 2.5 | 1811 | SYNTHETIC COFW test " in page
    assert "\n- Trees: small\n" in page
    assert run(capsys, "check") == ""
    assert "README.md: up to date" in run(capsys, "write")
    shown = run(capsys, "show", "--dataset", "cofw")
    assert "Trees" in shown
    assert "Theirs" in shown
    # Never in one table: rendered faces and published numbers.
    assert shown.index("Theirs") < shown.index("SYNTHETIC faces")
    assert "nothing recorded of wflw" in run(capsys, "show", "--dataset", "wflw")


def test_a_page_or_a_record_that_changed_is_stale(record, evaluation, capsys):
    run(capsys, "add", evaluation, *TREES)
    run(capsys, "write")
    page, text = Path("README.md").read_text(), record.read_text()
    Path("README.md").write_text(page.replace("| Trees |", "| Trees (ours) |"))
    fails(capsys, "check", parts=["README.md: block own"], status=1)
    Path("README.md").write_text(page)
    record.write_text(text.replace("label: Trees", "label: Oaks"))
    fails(capsys, "check", "README.md", parts=["README.md: block own"], status=1)
    Path("README.md").write_text("# Own\n")
    fails(capsys, "check", parts=["README.md: no block of results"])


def write_run(folder):
    """A finished run folder with a stand-in for the weights, and the checkpoint of its evaluations."""
    folder.mkdir(parents=True)
    (folder / "best.keras").write_bytes(b"weights" * 1000)
    sha256 = hashlib.sha256(b"weights" * 1000).hexdigest()[:16]
    config = TrainConfig(
        "student", "cofw", "mobilenetv2", image_size=64, box="gt:1.25", seed=7, weights="runs/none/best.keras"
    )
    (folder / "config.json").write_text(config.to_json())
    environment = {"processor": "A processor", "cores": 2, "accelerators": ["A GPU"]}
    (folder / "environment.json").write_text(json.dumps(environment))
    finish(folder, {"val_nme": 5.5, "epochs": 3, "seconds": 60.0, "train_faces": 18, "val_faces": 2, "synthetic": True})
    return {"path": str(folder / "best.keras"), "sha256": sha256, "arch": "mobilenetv2", "image_size": 64}


def test_a_run_folder_tells_training_and_machine(record, data, capsys):
    folder = Path("runs/student")
    checkpoint = write_run(folder)
    inside = write_evaluation(data, folder / "evaluation-cofw", checkpoint)
    elsewhere = write_evaluation(data, Path("elsewhere"), checkpoint)
    run(capsys, "add", inside, "--id", "a", "--label", "A")
    run(
        capsys,
        "add",
        elsewhere,
        "--id",
        "b",
        "--label",
        "B",
        "--seed",
        "8",
        "--machine",
        "other",
        "--kind",
        "reference",
    )
    a, b = load_recorded(record).measured
    trained = {"faces": 18, "validation_faces": 2, "epochs": 3, "seed": 7, "seconds": 60.0, "val_nme": 5.5}
    assert a.training == trained | {"start": "from none"}
    assert b.training == trained | {"start": "from none", "seed": 8}
    assert (a.machine, a.accelerator, b.machine) == ("A processor, 2 cores", "A GPU", "other")
    assert (a.kind, b.kind) == ("measured", "reference")
    assert a.command == "python -m kdloss.evaluate --dataset cofw --checkpoint runs/student/best.keras --box gt:1.25"
    assert a.checkpoint == {key: checkpoint[key] for key in ("sha256", "arch", "image_size")}
    assert a.megabytes == 0.01
    # A checkpoint that was trained on since is another one: its run tells nothing about the measurement.
    (folder / "best.keras").write_bytes(b"other")
    fails(capsys, "add", inside, "--id", "c", "--label", "C", parts=["--machine", "nor a run folder around it"])


def test_the_command_that_ran_and_the_machine_it_ran_on(record, data, capsys):
    folder = Path("runs/a student")
    inside = write_evaluation(data, folder / "evaluation-cofw", write_run(folder))
    path = inside / "metrics.json"
    found = json.loads(path.read_text())
    found["protocol"] |= {"box": "lbp as gt:1.25", "split": "val", "missing": {"n": 2, "counted": "as failures"}}
    found["protocol"]["flip_test"] = True
    path.write_text(json.dumps(found))
    run(capsys, "add", inside, "--id", "told-by-the-protocol", "--label", "A")
    other = {"processor": "Another", "cores": 8}
    path.write_text(json.dumps(found | {"command": "python -m kdloss.evaluate --dataset cofw", "environment": other}))
    run(capsys, "add", inside, "--id", "told", "--label", "B", "--caveat", "small", "--seconds", "90.5")
    path.write_text(json.dumps(found | {"environment": other | {"accelerators": ["H200"]}}))
    run(capsys, "add", inside, "--id", "gpu", "--label", "C")
    first, told, gpu = load_recorded(record).measured
    assert first.command == (
        "python -m kdloss.evaluate --dataset cofw --checkpoint 'runs/a student/best.keras' --box gt:1.25 "
        "--detector lbp --split val --flip-test --missing fail"
    )
    assert first.caveats == []
    assert told.command == "python -m kdloss.evaluate --dataset cofw"
    assert (told.machine, told.accelerator) == ("Another, 8 cores", "none")
    assert told.caveats == ["trained on A processor, 2 cores, accelerator A GPU", "small"]
    assert told.training["seconds"] == 90.5
    assert gpu.accelerator == "H200"


def test_damaged_run_folders_are_one_line(record, data, capsys):
    folder = Path("runs/student")
    inside = write_evaluation(data, folder / "evaluation-cofw", write_run(folder))
    before = record.read_text()
    for name in ("environment.json", "config.json", "finished.json"):
        whole = (folder / name).read_text()
        for text, said in (("{", "not JSON"), ("[]", "damaged")):
            (folder / name).write_text(text)
            fails(capsys, "add", inside, "--id", "a", "--label", "A", parts=[name, said, "finished run"])
        (folder / name).write_text(whole)
    (folder / "environment.json").write_text('{"cores": 2}')
    fails(capsys, "add", inside, "--id", "a", "--label", "A", parts=["environment.json: damaged", "'processor'"])
    (folder / "finished.json").unlink()
    fails(capsys, "add", inside, "--id", "a", "--label", "A", parts=["finished.json: cannot be read"])
    assert record.read_text() == before


def test_a_chain_tells_the_protocol_of_each_run(record, capsys, tmp_path):
    chain = json.loads((Path(__file__).resolve().parents[2] / "docs" / "results" / "300w-cpu.json").read_text())
    for number, one in enumerate(chain["runs"].values()):
        checkpoint = {"path": "x", "sha256": f"{number:016x}", "arch": "mobilenetv2", "image_size": 96}
        one["protocol"] = chain["protocol"] | {"checkpoint": checkpoint}
    (tmp_path / "results.json").write_text(json.dumps(chain))
    run(capsys, "add-chain", tmp_path / "results.json", "--prefix", "again")
    hashes = [entry.checkpoint["sha256"] for entry in load_recorded(record).measured if entry.checkpoint]
    assert hashes == [f"{number:016x}" for number in range(7)]


def test_an_evaluation_from_before_faces_could_be_missing(record, evaluation, capsys):
    path = evaluation / "metrics.json"
    found = json.loads(path.read_text())
    del found["protocol"]["missing"], found["points"]
    path.write_text(json.dumps(found))
    run(capsys, "add", evaluation, *TREES)
    assert load_recorded(record).measured[0].protocol["missing"] == {"n": 0, "counted": "none missing"}


def test_user_errors_are_one_line_and_change_nothing(record, evaluation, capsys):
    run(capsys, "add", evaluation, *TREES)
    before = record.read_text()
    fails(capsys, "add", evaluation, *TREES, parts=["the id trees is taken"])
    fails(capsys, "add", "absent", *TREES, parts=["absent/metrics.json", "run python -m kdloss.evaluate first"])
    other = ["--id", "other", "--label", "Other"]
    fails(capsys, "add", evaluation, *other, parts=["--machine", "give --machine"])
    fails(capsys, "add", evaluation, *other, "--machine", "m", parts=["--command", "give --command"])
    fails(capsys, "add", evaluation, *TREES, "--ms", "3", parts=["--ms, --ms-what"])
    fails(capsys, "add", evaluation, *TREES, "--network", "n", parts=["--network n", "--model-file"])
    fails(capsys, "add", evaluation, *TREES, "--model-file", "absent.dat", parts=["--model-file absent.dat"])
    fails(capsys, "add", evaluation, *TREES, "--date", "today", parts=["--date today", "2026-11-22"])
    fails(capsys, "add", evaluation, *TREES[2:], "--id", "Not An Id", parts=["id is 'Not An Id'"])
    (evaluation / "metrics.json").write_text("{}")
    fails(capsys, "add", evaluation, *other, parts=["metrics.json: holds no 'protocol'"])
    (evaluation / "metrics.json").write_text("{")
    fails(capsys, "add", evaluation, *other, parts=["metrics.json", "not JSON"])
    fails(capsys, "add-chain", evaluation / "metrics.json", "--prefix", "p", parts=["not JSON", "kdloss.reproduce"])
    (evaluation / "metrics.json").write_text("{}")
    fails(capsys, "add-chain", evaluation / "metrics.json", "--prefix", "p", parts=["not the results.json of a chain"])
    fails(capsys, "write", "absent.md", parts=["absent.md: cannot be read"])
    fails(capsys, "check", "--results", "absent.yml", parts=["absent.yml: cannot be read"])
    assert record.read_text() == before
    record.write_text(before.replace("synthetic: true", "synthetic: perhaps"))
    for command in ("show", "write", "check"):
        fails(capsys, command, parts=["measured entry 1 (trees): synthetic is 'perhaps', expected true or false"])
    assert Path("README.md").read_text() == PAGE


def test_a_chain_is_added_whole(record, capsys):
    chain = Path(__file__).resolve().parents[2] / "docs" / "results" / "300w-cpu.json"
    run(capsys, "add-chain", chain, "--prefix", "again", "--command", "make again", "--caveat", "one seed")
    added = load_recorded(record)
    assert len(added.measured) == 8
    assert len(added.differences) == 3
    assert {entry.command for entry in added.measured} == {"make again"}
    assert {entry.machine for entry in added.measured} == {"AMD EPYC, 2 cores"}
    fails(capsys, "add-chain", chain, "--prefix", "again", parts=["again-mean-shape is taken"])


def test_away_from_a_checkout_the_packages_record_is_shown_but_not_written(workplace, evaluation, capsys):
    assert "KD-Loss paper: student, KD-Loss" in run(capsys, "show", "--dataset", "300w")
    fails(capsys, "add", evaluation, *TREES, parts=["docs/results/results.yml: cannot be read"])


def test_nan_in_an_evaluation_is_refused(record, evaluation, capsys):
    path = evaluation / "metrics.json"
    found = json.loads(path.read_text())
    found["subsets"]["full"]["nme_box"] = np.nan
    path.write_text(json.dumps(found))
    before = record.read_text()
    fails(capsys, "add", evaluation, *TREES, parts=["subsets: full: nme_box is nan, expected a finite number"])
    assert record.read_text() == before
