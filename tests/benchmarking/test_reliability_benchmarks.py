"""The commands that measure memory by size and time by processes: small runs, and what misses a target."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep.check import check_prepared
from kdloss.benchmarking.repeated_set import repeat_set
from kdloss.evaluation.record_files import record_tables
from kdloss.evaluation.table import markdown_table

REPOSITORY = Path(__file__).resolve().parents[2]
MEMORY = runpy.run_path(str(REPOSITORY / "benchmarks" / "larger_than_memory.py"))
ROWS = [
    {"times": 1, "faces": 1000, "peak": 500_000_000, "anonymous": 300_000_000, "limit": 0, "bytes": 10**8},
    {"times": 11, "faces": 11000, "peak": 560_000_000, "anonymous": 360_000_000, "limit": 10**9, "bytes": 11 * 10**8},
]
ROWS = [row | {"open_seconds": 0.1, "first_batch_seconds": 10.0, "seconds": 20.0, "data": 10**9} for row in ROWS]


def test_a_repeated_set_is_a_whole_one(faces, tmp_path):
    repeat_set(faces, 3, tmp_path / "made")
    made = check_prepared(tmp_path / "made")
    assert len(made) == 3 * len(faces)
    assert len(set(made.table["name"])) == len(made)
    assert set(made.table["split"]) == {"train", "val"}
    assert len(made.indices("val")) == 3 * len(faces.indices("val"))
    np.testing.assert_array_equal(made.faces[len(faces) + 4], faces.faces[4])
    np.testing.assert_array_equal(made.points[len(faces) + 4], faces.points[4])
    assert made.manifest["content"] != faces.manifest["content"]


@pytest.mark.parametrize(
    ("change", "said"),
    [({}, ""), ({"peak": 561_000_000}, "61 MB more, expected 60"), ({"first_batch_seconds": 10.1}, "10.1 s of 10")],
)
def test_a_tenth_and_a_kilobyte_a_face_are_allowed(change, said):
    short = MEMORY["missed"]([ROWS[0], ROWS[1] | change])
    assert len(short) == bool(said)
    assert said in "".join(short)


def test_what_was_measured_becomes_a_table(tmp_path):
    machine = {"cores": 2, "processor": "P", "python": "3"}
    record = {"kind": "memory", "command": "measure", "date": "2026-11-27", "machine": machine, "network": "small"}
    record |= {"rows": ROWS, "targets": {"share": 0.1, "bytes_a_face": 1000, "seconds": 10}}
    (tmp_path / "memory.json").write_text(json.dumps(record))
    (table,) = record_tables(tmp_path / "memory.json")
    lines = markdown_table(table).splitlines()
    assert lines[3] == "| 11 x | 11000 | 1.10 | 0.10 | 10.0 | 550 | 560 | 360 | 1000 |"
    assert any("11 x: +6000 bytes" in line for line in lines)


def test_processes_are_timed_in_turns_and_what_they_make_is_compared(faces, tmp_path):
    words = ["--source", str(faces.path.parent / "raw"), "--work", str(tmp_path), "--rounds", "1"]
    words += ["--processes", "1", "--json", str(tmp_path / "prepare.json")]
    done = subprocess.run(
        [sys.executable, "benchmarks/prepare_processes.py", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=REPOSITORY,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "prepare.json").read_text())
    assert (record["kind"], record["faces"], record["equal"], record["rounds"]) == ("prepare", 26, True, 1)
    (row,) = record["rows"]
    assert row["least"] == row["median"] == row["most"] == record["seconds"][0]["1"] > 0
    (table,) = record_tables(tmp_path / "prepare.json")
    assert "the prepared sets are equal to the byte" in table.notes
    assert [path.name for path in tmp_path.iterdir()] == ["prepare.json"]
