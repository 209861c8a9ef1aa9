"""Fixtures that several folders of tests use, and settings of all tests."""

import os
import signal
import subprocess
from pathlib import Path

import coverage
import pytest
from hypothesis import settings

from tests.random_faces import make_prepared as make_prepared
from tests.random_faces import random_faces as random_faces

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REPOSITORY = Path(__file__).resolve().parent.parent

# The same examples each time, so that only a change makes a test fail, and no deadline on a busy machine.
# --hypothesis-profile=default tries others.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")

# A shell makes background jobs ignore Ctrl-C, and their children inherit that. Tests of Ctrl-C need the default.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skips tests that need TensorFlow on another back end (make test-jax)."""
    if (backend := os.environ.get("KERAS_BACKEND", "tensorflow")) != "tensorflow":
        for mark in item.iter_markers("tensorflow"):
            pytest.skip(f"not on {backend}: {mark.args[0]}")


def pytest_sessionfinish(session):
    """Saves a worker's line coverage now: on a busy machine it takes ten seconds to end, and is then killed."""
    if hasattr(session.config, "workerinput") and (recorded := coverage.Coverage.current()):
        recorded.save()


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


@pytest.fixture
def small_disk(tmp_path):
    """The folder of a file system that holds 256 kB; tests that need it skip where mounting is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    try:
        subprocess.run(mount, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount a small disk here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
