"""Fixtures that more than one folder of tests uses."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def raw_faces():
    """The folder of real data sets; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("KDLOSS_RAW", REPOSITORY.parent / "shared" / "data" / "raw"))
    if not folder.is_dir():
        pytest.skip(f"no real faces at {folder}: set KDLOSS_RAW to the folder that holds 300w/")
    return folder


@pytest.fixture(scope="session")
def raw_300w(raw_faces):
    """Real 300-W faces in the official layout."""
    return raw_faces / "300w"
