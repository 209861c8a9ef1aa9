"""Rendered faces, the tiny networks, and finished runs that the tests of training share."""

import pytest

from kdloss.models import build_model
from kdloss.models.checkpoint import save_model
from kdloss.training.fit import train
from tests.training.tiny_chain import ARCH, SIZE, student_config, tiny_config, use_tiny_networks
from tests.training.tiny_chain import faces as faces
from tests.training.tiny_chain import tiny_networks as tiny_networks


@pytest.fixture(scope="session")
def taught(faces, tmp_path_factory):
    """A folder with the checkpoints of two untrained teachers, ``tough`` and ``tolerant``."""
    folder = tmp_path_factory.mktemp("teachers")
    card = {"dataset": "300w", "arch": ARCH, "scheme": faces.scheme.to_json(), "image_size": SIZE, "box": "gt:1.25"}
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        for kind in ("tough", "tolerant"):
            (folder / kind).mkdir()
            save_model(folder / kind / "best.keras", build_model(ARCH, faces.scheme.num_points, SIZE), card)
    return folder


@pytest.fixture(scope="session")
def runs(faces, tmp_path_factory):
    """A folder of finished runs: ``tough``, ``tolerant``, and ``student``, two epochs with both teachers online."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        train(tiny_config("tough"), faces, folder / "tough", verbose=0)
        train(tiny_config("tolerant"), faces, folder / "tolerant", verbose=0)
        train(student_config(folder), faces, folder / "student", verbose=0)
    return folder
