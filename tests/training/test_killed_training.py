"""Commands that are killed as by a power cut, at random writes to the run folder, end in the same numbers."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.run_folders import equal_runs, files_of

REPOSITORY = Path(__file__).resolve().parents[2]
# Kills itself when it opens or renames a file below runs/ for the N-th time, and prints how often it did.
COMMAND = """
import importlib, os, signal, sys
from kdloss.models.regressors import REGRESSORS
from tests.training.tiny_chain import ARCH, TINY

REGRESSORS[ARCH] = TINY
kill_at, writes = int(sys.argv[1]), 0

def count(event, arguments):
    global writes
    written = event == "os.rename" or event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if written and "runs/" in str(arguments[0]):
        writes += 1
        if writes == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
status = importlib.import_module(sys.argv[2]).main(sys.argv[3:])
print("writes:", writes)
sys.exit(status)
"""
NETWORK = ["--recipe", "cpu", "--arch", "tiny", "--weights", "none", "--heatmap-loss", "none", "--image-size", "32"]
NETWORK += ["--batch-size", "4", "--ema", "0.9", "--seed", "7", "--epochs", "6"]

pytestmark = pytest.mark.slow


def run(words, folder, kill_at=0):
    """The number of writes of a command, or None if it was killed at the write of that number."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_DETERMINISTIC_OPS": "1"}
    command = [sys.executable, "-c", COMMAND, str(kill_at), *words]
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    if kill_at:
        assert done.returncode == -signal.SIGKILL, done.stderr
        return None
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rpartition("writes:")[2])


def teacher(faces, runs):
    return ["kdloss.train_teacher", "--data", str(faces.path), "--kind", "tough", *NETWORK]


def student(faces, runs):
    """With stored points of its teachers."""
    words = [f"--{kind}={runs / kind / 'best.keras'}" for kind in ("tough", "tolerant")]
    words += ["--data", str(faces.path), "--method", "kd-loss", "--teacher-views", "6"]
    return ["kdloss.train_student", *NETWORK, *words]


@pytest.mark.parametrize(("command", "kills"), [(teacher, 3), (student, 2)])
def test_the_same_command_goes_on_to_the_same_numbers(command, kills, faces, runs, tmp_path):
    words, rng = [*command(faces, runs), "--out", "runs/run"], random.Random(command.__name__)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    writes = run(words, tmp_path / "whole")
    for _ in range(kills):
        # Together fewer than all writes, so that each kill comes before the end.
        run(words, tmp_path / "killed", rng.randint(1, writes // (kills + 1)))
    run(words, tmp_path / "killed")
    found, expected = (tmp_path / name / "runs" / "run" for name in ("killed", "whole"))
    equal_runs(found, expected)
    # No file is left half written. TensorBoard's files have other names in each process.
    places = [[name for name in files_of(place.parent) if "tensorboard" not in name] for place in (found, expected)]
    assert places[0] == places[1]
