"""The one name in front of all commands."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdloss.__main__ import VERBS, main

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_verbs_are_listed(words, capsys):
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: kdloss VERB")
    for verb, (_, about) in VERBS.items():
        assert f"  {verb} " in text
        assert about in text


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_is_a_command_with_help(verb, capsys):
    assert callable(importlib.import_module(VERBS[verb][0]).main)
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_a_verb_hands_its_words_and_its_status_on(capsys):
    assert main(["train_teacher", "--kind", "tough", "--data", "absent"]) == 2
    assert capsys.readouterr().err.startswith("error: --data absent: no such folder")


def test_as_typed():
    def typed(*words):
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "kdloss", *words]
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)

    listed = typed()
    assert listed.returncode == 0
    assert all(verb in listed.stdout for verb in VERBS)
    unknown = typed("dance")
    assert unknown.returncode == 2
    assert unknown.stdout == ""
    assert unknown.stderr.startswith("error: kdloss dance: no such verb: expected one of prepare, ")
    assert unknown.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m kdloss evaluate --help | head -n 1"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    finished = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.stdout.startswith("usage: ")
    assert finished.stderr == ""
    assert finished.returncode in (0, 141)  # 0 where all fits into the pipe before head leaves
