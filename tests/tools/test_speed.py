"""The scripts of tools/ that measure speed run, on very little work. No test asserts how fast anything is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--student", "mobilenetv2-0.35", "--teacher", "mobilenetv2-0.35", "--image-size", "32", "--batch-size", "2"]
SCRIPTS = {
    "training": (
        [*SMALL, "--faces", "4", "--teacher-views", "1", "--steps", "1"],
        ["published", "online", "cached", "device"],
    ),
    "pipeline": (["--image-size", "32", "--batch-size", "2", "--steps", "1"], ["numpy", "tf.data", "PyDataset"]),
    "face": (["--faces", "1", "--against", str(ROOT)], ["model.predict", "Landmarker"]),
    "shapes": (["--shapes", "50", "--align"], ["product of a fit", "fit", "product of softening", "soften"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_way_runs_in_turns(name, faces, tmp_path):
    more, ways = SCRIPTS[name]
    words = ["--data", str(faces.path), "--rounds", "1", "--json", str(tmp_path / "a.json"), *more]
    command = [sys.executable, str(ROOT / f"tools/{name}_speed.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    checkouts = ["this", "other"] if "--against" in more else ["this"]
    turns = [(way, checkout) for way in ways for checkout in checkouts]
    assert [(row["way"], row["checkout"]) for row in record["rounds"]] == turns
    assert all(len(row["rates"]) == 1 and row["rates"][0] > 0 for row in record["rounds"])
    table = record["tables"][f"{name}_speed"]
    assert [tuple(row[:2]) for row in table["rows"]] == turns
    assert table["notes"][-1].startswith(f"`python tools/{name}_speed.py --data ")
    assert all(way in done.stdout for way in ways)
