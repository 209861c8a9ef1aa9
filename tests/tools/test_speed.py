"""tools/training_speed.py runs, on very little work. No test asserts how fast anything is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "training_speed.py"
NETWORKS = ["--student", "mobilenetv2-0.35", "--teacher", "mobilenetv2-0.35", "--image-size", "32"]
LITTLE = ["--batch-size", "2", "--faces", "4", "--teacher-views", "1", "--steps", "1", "--rounds", "1"]


@pytest.mark.slow
def test_every_way_runs_in_turns(faces, tmp_path):
    words = ["--data", str(faces.path), "--json", str(tmp_path / "a.json"), *NETWORKS, *LITTLE]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert list(record["rounds"]) == ["published", "online", "cached", "device"]
    assert all(len(rates) == 1 and rates[0] > 0 for rates in record["rounds"].values())
    assert record["tables"]["training_speed"]["rows"][0][4:] == ["1", "1", "1"]
