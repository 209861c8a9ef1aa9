"""Rendered faces, and a run folder with a tiny student of 68 points in random weights, whatever they read."""

import pytest

from kdloss.data.schemes import SCHEMES
from kdloss.models import build_model
from kdloss.models.checkpoint import save_model
from tests.training import rendered_faces
from tests.training.tiny_chain import ARCH, SIZE, use_tiny_networks

faces, tiny_networks = rendered_faces.faces, rendered_faces.tiny_networks


@pytest.fixture(scope="session")
def student(tmp_path_factory):
    """A run folder of 300-W."""
    folder = tmp_path_factory.mktemp("runs") / "student"
    card = {"arch": ARCH, "dataset": "300w", "scheme": SCHEMES["68"].to_json(), "image_size": SIZE, "box": "gt:1.25"}
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        save_model(folder / "best.keras", build_model(ARCH, 68, SIZE), card)
    (folder / "config.json").touch()
    return folder
