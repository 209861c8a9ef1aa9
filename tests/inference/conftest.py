"""A landmarker for videos; and a student, its run folder and its exported files, shared with `tests.deploy`."""

import numpy as np
import pytest

from tests.deploy.conftest import exported, faces, run, student, tiny_networks
from tests.inference.scripted_landmarker import ScriptedLandmarker

__all__ = ["exported", "faces", "landmarker", "run", "student", "tiny_networks"]
FACE = np.array([20.0, 16, 40, 40])


@pytest.fixture
def landmarker():
    return ScriptedLandmarker(FACE, sure=0.9)
