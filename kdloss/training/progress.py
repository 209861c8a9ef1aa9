"""How far a run is: what its saved state says beside the network's and the optimizer's variables."""

from dataclasses import dataclass, field

import numpy as np


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
