"""The command that kills others: what it takes for equal, and that it notices what is not."""

import json
import runpy
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from kdloss.evaluation.record_files import record_tables

KILLS = runpy.run_path(str(Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"))
DIFFERENCE = KILLS["difference"]


COUNTS = """
import pathlib, time

pathlib.Path("out").mkdir(exist_ok=True)
for i in range(4):
    if not pathlib.Path(f"out/{i}.bin").exists():
        pathlib.Path(f"out/{i}.bin").write_bytes(b"x")
    time.sleep(0.2)
"""


def write(folder, *, weight=1.0, loss=0.5, seconds=1.0, points=2.0, name="a.jpg"):
    (folder / "last").mkdir(parents=True)
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / f"events.{seconds}").write_text("")
    (folder / "environment.json").write_text(f'{{"seconds": {seconds}}}')
    (folder / "metrics.jsonl").write_text(json.dumps({"loss": loss, "seconds": seconds}) + "\n")
    progress = np.array(json.dumps({"epoch": 1, "seconds": seconds}))
    np.savez(folder / "last" / "state.npz", progress=progress, v=np.full(3, weight), allow_pickle=False)
    np.savez(folder / "predictions.npz", names=np.array([name]), points=np.full((1, 2), points), allow_pickle=False)
    with zipfile.ZipFile(folder / "best.keras", "w") as archive, archive.open("model.weights.h5", "w") as inner:
        with h5py.File(folder / "weights.h5", "w") as file:
            file["layer/vars/0"] = np.full(3, weight)
        inner.write((folder / "weights.h5").read_bytes())
    (folder / "weights.h5").unlink()


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, 0.0),
        ({"seconds": 2.0}, 0.0),
        ({"weight": 1.0 + 1e-8}, 1e-8),
        ({"weight": float("nan")}, "is no number elsewhere"),
        ({"loss": 0.6}, "metrics.jsonl: content differs"),
        ({"points": 2.5}, 0.5),
        ({"name": "b.jpg"}, "predictions.npz: names differs"),
    ],
)
def test_what_differs_between_two_runs(changes, found, tmp_path):
    write(tmp_path / "expected")
    write(tmp_path / "found", **changes)
    apart = DIFFERENCE(tmp_path / "found", tmp_path / "expected")
    if isinstance(found, str):
        assert found in apart
    else:
        assert apart == pytest.approx(found, rel=1e-6)


def test_files_that_are_missing_or_more_are_named(tmp_path):
    write(tmp_path / "expected")
    write(tmp_path / "found")
    (tmp_path / "found" / "last" / "state.npz").unlink()
    (tmp_path / "found" / "more.txt").write_text("")
    assert DIFFERENCE(tmp_path / "found", tmp_path / "expected") == "other files: last/state.npz, more.txt"
    assert DIFFERENCE(tmp_path / "absent.tflite", tmp_path / "expected" / "best.keras") == "best.keras is missing"
    for name, content in (("a.tflite", b"a"), ("b.tflite", b"b")):
        (tmp_path / name).write_bytes(content)
    assert DIFFERENCE(tmp_path / "a.tflite", tmp_path / "b.tflite") == "b.tflite differs"


def test_a_stage_is_killed_goes_on_and_is_compared(tmp_path):
    """With a command that takes no time to import: it counts to four, a file a step, and goes on where it was."""
    stage = KILLS["Stage"]("count", ["-c", COUNTS], ["out"], [])
    reference = tmp_path / "reference"
    reference.mkdir()
    status, seconds, errors = KILLS["run"](stage, reference)
    assert (status, errors) == (0, "")
    assert seconds > 0.8

    class Moments:
        def uniform(self, low, high):
            assert (low, high) == (1 / 3, 1.0)
            return 0.5

    assert KILLS["attempt"](stage, 0, tmp_path / "try", reference, seconds, Moments()) == (1, 0.0)
    assert KILLS["attempt"](stage, 1, tmp_path / "try", reference, seconds, Moments()) == (2, 0.0)
    leaves = KILLS["Stage"]("leaves", ["-c", COUNTS + "pathlib.Path('.left').touch()"], ["out"], [])
    assert KILLS["attempt"](leaves, 0, tmp_path / "try", reference, seconds, Moments()) == (1, "left behind: .left")
    fails = KILLS["Stage"]("fails", ["-c", COUNTS + "raise SystemExit('no more')"], ["out"], [])
    killed, apart = KILLS["attempt"](fails, 0, tmp_path / "try", reference, seconds, Moments())
    assert (killed, apart) == (1, "exit status 1: no more")


def test_what_was_tried_becomes_a_table(tmp_path):
    row = {"stage": "training", "seconds": 9.5, "tries": 2, "killed": 1, "kills": 2, "survived": 1, "largest": 0.0}
    record = {"kind": "kills", "command": "kill", "date": "2026-11-27", "rows": [row | {"failures": ["a differs"]}]}
    record |= {"machine": {"cores": 2, "processor": "P", "python": "3"}}
    record |= {"settings": {"faces": 60, "test_faces": 16, "prepared": 1200, "seed": 0, "tolerance": 1e-6}}
    (tmp_path / "kills.json").write_text(json.dumps(record))
    (table,) = record_tables(tmp_path / "kills.json")
    assert table.rows[0].cells["survived"] == 1
    assert "training: a differs" in table.notes
