"""What tests ask of a run folder."""

import json
import signal

import numpy as np
import pytest

from kdloss.training import callbacks as recorder
from kdloss.training.fit import train


def rows_of(run):
    """The epochs of a run, one dict each."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def without_time(rows):
    """The same without what differs between two runs to the same numbers."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def files_of(run):
    """Its files by their path inside it."""
    return sorted(str(file.relative_to(run)) for file in run.rglob("*") if file.is_file())


def state_of(run):
    """The arrays that it resumes from."""
    with np.load(run / "last" / "state.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name != "progress"}


def progress_of(run):
    """The epochs and steps after which it goes on."""
    with np.load(run / "last" / "state.npz", allow_pickle=False) as file:
        progress = json.loads(str(file["progress"]))
    return progress["epoch"], progress["step"]


def equal_runs(found, expected):
    """Two runs logged the same numbers and ended in the same state, to the bit."""
    assert without_time(rows_of(found)) == without_time(rows_of(expected))
    ours, theirs = state_of(found), state_of(expected)
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        assert np.array_equal(ours[name], array), name


def signal_after(monkeypatch, steps, number=signal.SIGTERM):
    """The signal comes while the step of that number (from 1, through all epochs) is computed."""
    seen, check = [], recorder.LossWatch.check

    def noticed(self, epoch, step, mean):
        check(self, epoch, step, mean)
        seen.append(step)
        if len(seen) == steps:
            signal.raise_signal(number)

    monkeypatch.setattr(recorder.LossWatch, "check", noticed)


def refused(error, faces, folder, config, *parts, resume=False):
    """The run is refused in one line that holds the parts, and leaves the folder as it was."""
    before = files_of(folder) if folder.is_dir() else None
    with pytest.raises(error) as raised:
        train(config, faces, folder, resume=resume, verbose=0)
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    assert (files_of(folder) if folder.is_dir() else None) == before
