"""How far a run is: what its saved state says beside the network's and the optimizer's variables."""

import json
import math
import time
from dataclasses import dataclass, field

import numpy as np

from kdloss.errors import CheckpointError
from kdloss.files import read_npz, replacing

# No variable takes more bytes a number; logs of thousands of epochs take some megabytes.
_BYTES, _MOST_PROGRESS = 8, 64 << 20


@dataclass
class Progress:
    """How far a run is.

    Args:
        epoch: epochs that are done.
        best: the best validation NME of them.
        rows: of each, what the log says.
        step: steps that are done of the epoch after them, of which the rest tells:
        seconds: how long they took,
        loss_sum: the sum of their losses,
        metrics: what the metrics, means over the epoch, had accumulated.
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

    def stay(self, step, seconds, loss_sum, first_loss, metrics):
        """Within an epoch: notes how far it is."""
        self.step, self.seconds, self.loss_sum = step, seconds, loss_sum
        self.first_loss, self.metrics = first_loss, metrics

    def end_epoch(self, first_loss):
        """Counts one more epoch as done."""
        self.epoch += 1
        self.stay(0, 0.0, 0.0, first_loss, [])

    def to_json(self):
        """A dict for JSON: all but the arrays."""
        return {name: value for name, value in vars(self).items() if name != "metrics"}

    @classmethod
    def from_json(cls, record, metrics):
        """Of what `to_json` gave, and the arrays.

        Raises:
            TypeError, ValueError: not what `to_json` gives.
        """
        progress = cls(**record, metrics=metrics)
        if not 0 <= int(progress.epoch) == len(progress.rows) or int(progress.step) < 0:
            raise ValueError(f"{len(progress.rows)} rows of {progress.epoch} epochs")
        return progress


class OutOfTime(Exception):
    """A piece of work has ended with its state saved; the same call again goes on."""


class Deadline:
    """A point in time before which the next step must be done.

    Args:
        minutes: from now; None: there is none.
    """

    def __init__(self, minutes=None):
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def leaves(self, seconds):
        """Whether a step that takes this long can still be done."""
        return self._end is None or time.monotonic() + seconds <= self._end


def save_state(path, variables, progress):
    """Writes everything a run resumes from into one file, which appears whole or not at all.

    Args:
        path: the ``.npz`` file.
        variables: Keras variables: weights, seed generators and optimizer, in a fixed order.
        progress: a `Progress`.
    """
    import keras

    arrays = {f"v{i:05d}": keras.ops.convert_to_numpy(variable) for i, variable in enumerate(variables)}
    arrays |= {f"m{i:05d}": value for i, value in enumerate(progress.metrics)}
    with replacing(path, durable=True) as work:
        np.savez(work, progress=np.array(json.dumps(progress.to_json())), **arrays, allow_pickle=False)


def load_state(path, variables):
    """Reads `save_state`'s file back into the variables; returns the `Progress`.

    Raises:
        CheckpointError: damaged, or the variables are others.
    """
    room = sum(math.prod(variable.shape) for variable in variables) * _BYTES + _MOST_PROGRESS
    try:
        file = read_npz(path, room)
        values, metrics = ([file[name] for name in sorted(file) if name.startswith(kind)] for kind in "vm")
        progress = Progress.from_json(json.loads(str(file["progress"])), metrics)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged ({error}): remove the run, and start it anew") from error
    if any(value.dtype.kind not in "fiub" for value in (*values, *metrics)):
        raise CheckpointError(f"{path}: damaged (holds what are no numbers): remove the run, and start it anew")
    if [tuple(value.shape) for value in values] != [tuple(variable.shape) for variable in variables]:
        raise CheckpointError(f"{path}: holds the state of another network: give the run another folder")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return progress
