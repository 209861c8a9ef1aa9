"""Reads and compares run folders."""

import json
import signal

import numpy as np
import pytest

from kdloss.training import callbacks
from kdloss.training.fit import train


def rows_of(run):
    """The epochs of a run, one dict each."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_time(rows):
    """The rows without the seconds, which differ between equal runs."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def files_of(run):
    """The files of a run, relative to its folder."""
    return sorted(str(file.relative_to(run)) for file in run.rglob("*") if file.is_file())


def state_of(run):
    """The arrays from which a run resumes."""
    return {name: array for name, array in _state(run).items() if name != "progress"}


def progress_of(run):
    """The completed epochs, and the completed steps of the next one."""
    progress = json.loads(str(_state(run)["progress"]))
    return progress["epoch"], progress["step"]


def _state(run):
    with np.load(run / "last" / "state.npz", allow_pickle=False) as file:
        return dict(file)


def equal_runs(found, expected):
    """Asserts that two runs logged the same numbers and ended in the same state, to the bit."""
    assert without_time(rows_of(found)) == without_time(rows_of(expected))
    ours, theirs = state_of(found), state_of(expected)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert np.array_equal(ours[name], array), name


def signal_after(monkeypatch, steps, number=signal.SIGTERM):
    """Sends a signal to this process in the step of that number, counted from 1 through all epochs."""
    seen, check = [], callbacks.LossWatch.check

    def noticed(self, epoch, step, mean):
        check(self, epoch, step, mean)
        seen.append(step)
        if len(seen) == steps:
            signal.raise_signal(number)

    monkeypatch.setattr(callbacks.LossWatch, "check", noticed)


def refused(error, faces, folder, config, *parts, resume=False):
    """Asserts that a run is refused in one line with these parts, and leaves the folder unchanged."""
    before = files_of(folder) if folder.is_dir() else None
    with pytest.raises(error) as raised:
        train(config, faces, folder, resume=resume, verbose=0)
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    assert (files_of(folder) if folder.is_dir() else None) == before
