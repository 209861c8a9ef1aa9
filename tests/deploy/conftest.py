"""Rendered faces and a tiny student that was trained on them, in a run folder as training leaves it."""

import pytest

from kdloss.training.fit import train
from tests.training import rendered_faces
from tests.training.tiny_chain import tiny_config, use_tiny_networks

faces, tiny_networks = rendered_faces.faces, rendered_faces.tiny_networks


@pytest.fixture(scope="session")
def run(faces, tmp_path_factory):
    """The run folder of a student, ``runs/student``."""
    folder = tmp_path_factory.mktemp("runs") / "student"
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        train(tiny_config("student", epochs=3), faces, folder, verbose=0)
    return folder
