"""Rendered faces and a tiny student that was trained on them, in a run folder as training leaves it."""

import pytest

from kdloss.training.fit import train
from tests.training.tiny_chain import tiny_config, use_tiny_networks, write_faces


@pytest.fixture(autouse=True, scope="module")
def tiny_networks():
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        yield


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """26 rendered faces in the 300-W layout: 17 to train, 3 to validate, 6 to test."""
    return write_faces(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="session")
def run(faces, tmp_path_factory):
    """The run folder of a student, ``runs/student``."""
    folder = tmp_path_factory.mktemp("runs") / "student"
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        train(tiny_config("student", epochs=3), faces, folder, verbose=0)
    return folder
