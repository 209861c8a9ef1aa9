"""A workplace as a user has one: prepared faces, a folder of runs, and the tiny network among the architectures."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdloss import evaluate, train_student, train_teacher
from kdloss.models.architectures import REGRESSORS
from tests.training.tiny_chain import ARCH, TINY, write_faces

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = ["--recipe", "smoke", "--label-share", "1", "--arch", ARCH, "--batch-size", "8", "--epochs", "1"]


def started(*words, code=None, environment=None, **more):
    """Runs ``python -m kdloss WORDS``, or some code, in a process of its own; returns the `CompletedProcess`."""
    command = [sys.executable, *(["-c", code] if code else ["-m", "kdloss"]), *words]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | (environment or {})
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, **more)


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty folder to work in, without data and runs, as on a machine that has just installed the project."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KDLOSS_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("KDLOSS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setitem(REGRESSORS, ARCH, TINY)
    return tmp_path


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder ``KDLOSS_DATA`` with rendered faces in the layouts of 300-W (68 points) and COFW (29 points)."""
    root = tmp_path_factory.mktemp("data")
    for dataset in ("300w", "cofw"):
        write_faces(root / "made" / dataset, dataset).path.rename(root / dataset)
    return root


@pytest.fixture(scope="session")
def chain(data, tmp_path_factory):
    """``KDLOSS_RUNS`` after the commands of the README: both teachers, a student, and its evaluation."""
    root = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGRESSORS, ARCH, TINY)
        patch.setenv("KDLOSS_DATA", str(data))
        patch.setenv("KDLOSS_RUNS", str(root))
        for kind in ("tough", "tolerant"):
            assert train_teacher.main(["--kind", kind, *SMALL, "--image-size", "32"]) == 0
        assert train_student.main(SMALL) == 0
        assert evaluate.main(["--dataset", "300w"]) == 0
    return root


@pytest.fixture
def at_work(data, chain, monkeypatch):
    """Lets commands look for runs in the folder of `chain`, and returns that."""
    monkeypatch.setenv("KDLOSS_DATA", str(data))
    monkeypatch.setenv("KDLOSS_RUNS", str(chain))
    return chain
