"""Trainings that are killed at random moments, as by a power cut: the same command goes on to the same numbers."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.training.run_folders import equal_runs, files_of

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = """
import importlib, sys
from kdloss.models.regressors import REGRESSORS
from tests.training.tiny_chain import ARCH, TINY

REGRESSORS[ARCH] = TINY
sys.exit(importlib.import_module(sys.argv[1]).main(sys.argv[2:]))
"""
NETWORK = ["--recipe", "cpu", "--arch", "tiny", "--weights", "none", "--heatmap-loss", "none", "--image-size", "32"]
NETWORK += ["--batch-size", "4", "--ema", "0.9", "--seed", "7"]

pytestmark = pytest.mark.slow


def run(words, folder, epochs=None, seconds=0.0):
    """A command's exit status; ``seconds`` after the start of its ``epochs``-th epoch it is killed."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_DETERMINISTIC_OPS": "1"}
    command = [sys.executable, "-c", COMMAND, *words]
    errors = folder / "errors.txt"
    with open(errors, "w") as stderr, subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True
    ) as process:  # fmt: skip
        if epochs:
            list(itertools.islice((line for line in process.stdout if "Epoch " in line), epochs))
            time.sleep(seconds)
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=300)
    assert process.returncode in (0, -signal.SIGKILL), errors.read_text()
    return process.returncode


def teacher(faces, runs):
    return ["kdloss.train_teacher", "--data", str(faces.path), "--kind", "tough", *NETWORK, "--epochs", "40"]


def student(faces, runs):
    """With its teachers' points stored before."""
    words = [f"--{kind}={runs / kind / 'best.keras'}" for kind in ("tough", "tolerant")]
    words += ["--data", str(faces.path), "--method", "kd-loss", "--teacher-views", "30", "--epochs", "30"]
    return ["kdloss.train_student", *NETWORK, *words]


@pytest.mark.parametrize(("command", "kills"), [(teacher, 3), (student, 2)])
def test_the_same_command_goes_on_to_the_same_numbers(command, kills, faces, runs, tmp_path):
    words, rng, killed = [*command(faces, runs), "--out", "runs/run"], random.Random(command.__name__), 0
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    assert run(words, tmp_path / "whole") == 0
    for _ in range(kills):
        # The first epoch takes a second, and each of the others some hundredths.
        moment = (rng.randint(1, 8), rng.uniform(0, 0.1))
        killed += run(words, tmp_path / "killed", *moment) == -signal.SIGKILL
    assert killed, "every try was done before its kill"
    assert run(words, tmp_path / "killed") == 0
    found, expected = (tmp_path / name / "runs" / "run" for name in ("killed", "whole"))
    equal_runs(found, expected)
    # Nothing half written lies beside it; of TensorBoard each process has a file of its own.
    places = [[name for name in files_of(place.parent) if "tensorboard" not in name] for place in (found, expected)]
    assert places[0] == places[1]
