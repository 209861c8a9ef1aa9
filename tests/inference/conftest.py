"""The student, its run folder and its exported files, as the tests of `kdloss.deploy` have them."""

from tests.deploy.conftest import exported, faces, run, student, tiny_networks

__all__ = ["exported", "faces", "run", "student", "tiny_networks"]
