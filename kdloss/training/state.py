"""The saved state of a run: how far it is, and every variable that it resumes from."""

import json
import math
import time
from dataclasses import dataclass, field

import numpy as np

from kdloss.errors import CheckpointError
from kdloss.files import read_npz, replacing

# Bounds of a state file: bytes of one number, and of the progress of thousands of epochs.
_NUMBER_BYTES, _PROGRESS_BYTES = 8, 64 << 20


@dataclass
class Progress:
    """How far a run is.

    Args:
        epoch: number of completed epochs.
        best: their best validation NME.
        rows: their rows in the log.
        step: completed steps of the epoch that follows.
        seconds: how long these steps took.
        loss_sum: the sum of their losses.
        metrics: what the metrics, means over the epoch, have accumulated in them.
        first_loss: loss of the run's first batch.
    """

    epoch: int = 0
    best: float = float("inf")
    rows: list[dict] = field(default_factory=list)
    step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    metrics: list[np.ndarray] = field(default_factory=list)
    first_loss: float | None = None

    def end_epoch(self):
        """Counts one more completed epoch."""
        self.epoch += 1
        self.step, self.seconds, self.loss_sum, self.metrics = 0, 0.0, 0.0, []

    def to_json(self):
        """A dict for JSON, without the arrays of ``metrics``."""
        return {name: value for name, value in vars(self).items() if name != "metrics"}

    @classmethod
    def from_json(cls, record, metrics):
        """The inverse of `to_json`.

        Raises:
            TypeError, ValueError: not a record of `to_json`.
        """
        progress = cls(**record, metrics=metrics)
        if not 0 <= int(progress.epoch) == len(progress.rows) or int(progress.step) < 0:
            raise ValueError(f"{len(progress.rows)} rows of {progress.epoch} epochs")
        return progress


class OutOfTime(Exception):
    """Work ended at its deadline with its state saved; the same call continues."""


class Deadline:
    """A point in time before which the next piece of work must be done.

    Args:
        minutes: from now; None: no deadline.
    """

    def __init__(self, minutes=None):
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def leaves(self, seconds):
        """Whether work that takes this long can still be done."""
        return self._end is None or time.monotonic() + seconds <= self._end


def save_state(path, variables, progress):
    """Writes all that a run resumes from into one file, whole or not at all.

    Args:
        path: the ``.npz`` file.
        variables: Keras variables in a fixed order: weights, seed generators, optimizer.
        progress: a `Progress`.
    """
    import keras

    arrays = {f"v{i:05d}": keras.ops.convert_to_numpy(variable) for i, variable in enumerate(variables)}
    arrays |= {f"m{i:05d}": value for i, value in enumerate(progress.metrics)}
    with replacing(path, durable=True) as work:
        np.savez(work, progress=np.array(json.dumps(progress.to_json())), **arrays, allow_pickle=False)


def load_state(path, variables):
    """Reads a file of `save_state` into the variables; returns the `Progress`.

    Raises:
        CheckpointError: the file is damaged, or holds other variables.
    """
    most_bytes = sum(math.prod(variable.shape) for variable in variables) * _NUMBER_BYTES + _PROGRESS_BYTES
    try:
        file = read_npz(path, most_bytes)
        values, metrics = ([file[name] for name in sorted(file) if name.startswith(kind)] for kind in "vm")
        progress = Progress.from_json(json.loads(str(file["progress"])), metrics)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged ({error}): delete the run and start it again") from error
    if any(value.dtype.kind not in "fiub" for value in (*values, *metrics)):
        raise CheckpointError(f"{path}: damaged (not all values are numbers): delete the run and start it again")
    if [tuple(value.shape) for value in values] != [tuple(variable.shape) for variable in variables]:
        raise CheckpointError(f"{path}: holds the state of another network: give the run another folder")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return progress
