"""Each reader meets some damaged files and some that are nearly right; `benchmarks/fuzz_readers.py` makes many."""

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.reader import ACCEPTED, Crash, mutant, outcome
from tests.fuzz.readers import READERS

NAMES = [reader.name for reader in READERS]


@pytest.fixture(scope="module", params=READERS, ids=NAMES)
def begun(request, tmp_path_factory):
    """A reader, its folder, and valid files."""
    folder = tmp_path_factory.mktemp("reader")
    return request.param, folder, request.param.begin(folder)


def test_valid_files_are_read(begun):
    reader, folder, valid = begun
    found = [outcome(reader, folder, content) for content in valid]
    assert found.count(ACCEPTED) >= max(1, len(found) - 1) or reader.name == "HDF5 weights"
    assert not [crash for crash in found if isinstance(crash, Crash)]


def test_damaged_files_are_read_or_refused_in_order(begun):
    reader, folder, valid = begun
    found = {number: outcome(reader, folder, mutant(valid, f"test/{number}")) for number in range(12)}
    assert {number: crash for number, crash in found.items() if isinstance(crash, Crash)} == {}


def test_files_that_are_nearly_right_are_read_or_refused_in_order(begun):
    reader, folder, _ = begun

    @settings(max_examples=6, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(reader.structured)
    def check(content):
        assert not isinstance(found := outcome(reader, folder, content), Crash), found

    check()
