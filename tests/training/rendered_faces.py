"""Fixtures that several folders of tests take into their conftest: rendered faces, and tiny networks by name."""

import pytest

from tests.training.tiny_chain import use_tiny_networks, write_faces


@pytest.fixture(autouse=True, scope="module")
def tiny_networks():
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        yield


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """26 rendered faces in the 300-W layout: 17 to train, 3 to validate, 6 to test."""
    return write_faces(tmp_path_factory.mktemp("faces"))
