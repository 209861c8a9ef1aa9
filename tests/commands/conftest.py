"""A workplace as a user has one: prepared faces, a folder of runs, and the tiny network among the architectures."""

import pytest

from kdloss.models.regressors import REGRESSORS
from tests.training.tiny_chain import ARCH, TINY, write_faces


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
