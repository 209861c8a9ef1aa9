"""Rendered faces, the tiny network, and one chain of runs that all tests of training look at."""

import pytest

from kdloss.models.regressors import REGRESSORS
from kdloss.training.fit import train
from tests.training.tiny_chain import ARCH, TINY, student_config, tiny_config, write_faces


@pytest.fixture(autouse=True)
def tiny_network(monkeypatch):
    monkeypatch.setitem(REGRESSORS, ARCH, TINY)


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """26 rendered faces in the 300-W layout: 17 to train, 3 to validate, 6 to test."""
    return write_faces(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="session")
def runs(faces, tmp_path_factory):
    """A folder of finished runs: ``tough``, ``tolerant``, and ``student``, two epochs with both teachers online."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGRESSORS, ARCH, TINY)
        train(tiny_config("tough"), faces, folder / "tough", verbose=0)
        train(tiny_config("tolerant"), faces, folder / "tolerant", verbose=0)
        train(student_config(folder), faces, folder / "student", verbose=0)
    return folder
