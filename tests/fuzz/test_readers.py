"""Each reader gets valid files that were damaged on purpose. It reads them or refuses them, within bounds.

Anything else is a finding: another exception, a warning, 5 s of the processor or 1 GB of memory for one file.
"""

import random

import pytest

from tests.fuzz.mutations import mutated
from tests.fuzz.readers import ACCEPTED, READERS, REFUSED, outcome


@pytest.mark.parametrize(("first", "last"), [(0, 40), pytest.param(40, 600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(name, first, last, tmp_path):
    reader = READERS[name]
    valid = reader.begin(tmp_path)
    readable = ACCEPTED if name != "HDF5 weights" else REFUSED
    assert {outcome(reader, tmp_path, content) for content in valid} == {readable}
    for number in range(first, last):
        rng = random.Random(f"{name}/{number}")
        content = mutated(rng.choice(valid), valid, rng)
        assert outcome(reader, tmp_path, content) in (ACCEPTED, REFUSED), f"input {number}: {content[:200]!r}"
