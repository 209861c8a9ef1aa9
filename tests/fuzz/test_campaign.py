"""What the fuzzer notices, and that the same seed gives the same inputs."""

import pytest

from tests.fuzz.campaign import MUTATED, STRUCTURED, Job, combined, plan, run_jobs
from tests.fuzz.odd_readers import READERS
from tests.fuzz.reader import ACCEPTED, REFUSED, Crash, mutant, outcome

ODD, PLAIN = READERS
_VALID = [b"some 12.5 numbers\n", b'{"and": [1, 2, 3]}']


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"e", "KeyError"), (b"w", "warning"), (b"m", "memory")],
    ids=["exception", "warning", "memory"],
)
def test_a_crash_is_noticed(content, kind, tmp_path):
    found = outcome(ODD, tmp_path, content)
    assert isinstance(found, Crash)
    assert found.kind == kind


def test_files_that_are_read_or_refused_are_none(tmp_path):
    assert outcome(ODD, tmp_path, b"a") == ACCEPTED
    assert outcome(ODD, tmp_path, b"r") == REFUSED


def test_a_process_that_dies_or_never_ends_is_noticed_and_the_rest_goes_on(tmp_path):
    job = Job("odd", STRUCTURED, "0", 40)
    (result,) = run_jobs("tests.fuzz.odd_readers", [job], 1, keep=tmp_path / "kept", patience=5)
    kinds = {crash["kind"] for crash in result.crashes}
    assert kinds == {"KeyError", "warning", "memory", "killed", "slow"}
    assert "exit status -11" in {crash["text"] for crash in result.crashes}
    assert result.accepted > 0
    assert result.refused > 0
    kept = {path.name: path.read_bytes() for path in (tmp_path / "kept").iterdir()}
    assert set(kept.values()) == {b"e", b"w", b"m", b"s", b"h"}
    assert {crash["file"] for crash in result.crashes if "file" in crash} == set(kept)


def test_the_same_seed_gives_the_same_mutants():
    mutants = [mutant(_VALID, f"3/{number}") for number in range(200)]
    assert mutants == [mutant(_VALID, f"3/{number}") for number in range(200)]
    assert mutants != [mutant(_VALID, f"4/{number}") for number in range(200)]
    assert len(set(mutants)) > 150


def test_inputs_are_the_same_in_every_campaign():
    jobs = plan([PLAIN], 600, number=5)
    assert [(job.way, job.count) for job in jobs] == [(MUTATED, 250), (MUTATED, 230), (STRUCTURED, 120)]
    (first,), (second,) = (combined([PLAIN], run_jobs("tests.fuzz.odd_readers", jobs, n)) for n in (1, 2))
    assert first["accepted"] == first["inputs"] == 600
    assert first | {"seconds": 0} == second | {"seconds": 0}
