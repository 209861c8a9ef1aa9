"""Rendered faces, and the run folder of a tiny student that was trained on them."""

from tests.deploy.conftest import faces, run, tiny_networks

__all__ = ["faces", "run", "tiny_networks"]
