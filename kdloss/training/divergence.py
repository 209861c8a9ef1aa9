"""Stops a run whose loss is no longer a number, or has left all bounds, and names the faces that it saw."""

import json
import math

from asm.atomic import write_whole
from kdloss.errors import UserError

# A loss so many times that of the first batch is no training any more. From the mean shape, or from another run's
# weights, errors may grow by a factor of some hundreds at most before they are as large as the picture.
EXPLODED = 1e4
_LEAST = 1e-6  # of what the first batch's loss is taken for
_NAMED = 3


class TrainingDiverged(UserError):
    """The loss is no longer a number, or has left all bounds."""


class LossWatch:
    """Looks at the loss of each batch, which it finds from the mean of an epoch's batches.

    Args:
        folder: of the run (`pathlib.Path`).
        faces_of: ``faces_of(epoch, step)``: names of the faces of a batch, or None.
        first: loss of the run's first batch, if that was earlier.
    """

    def __init__(self, folder, faces_of=None, first=None):
        self.folder, self.faces_of, self.first = folder, faces_of, first
        self.sum = 0.0

    def check(self, epoch, step, mean):
        """Takes note of the mean loss of an epoch's batches up to and including ``step``; both are counted from 0.

        Raises:
            TrainingDiverged: this batch's loss is no finite number, or more than `EXPLODED` times the first one's.
        """
        loss, self.sum = mean * (step + 1) - self.sum, mean * (step + 1)
        if self.first is None and math.isfinite(loss):
            self.first = loss
        if not math.isfinite(loss) or abs(loss) > EXPLODED * max(abs(self.first), _LEAST):
            self._stop(epoch, step, loss)

    def _stop(self, epoch, step, loss):
        expected = "a finite number"
        if math.isfinite(loss):
            expected = f"at most {EXPLODED:g} times the {self.first:g} of the first batch"
        faces, named = self.faces_of(epoch, step) if self.faces_of else [], ""
        if faces:
            # The step before is what may have spoilt the weights.
            record = {"epoch": epoch + 1, "batch": step + 1, "loss": str(loss), "faces": faces}
            record["faces_before"] = self.faces_of(epoch, step - 1) if step else []
            path = self.folder / "diverged.json"
            write_whole(path, json.dumps(record, indent=1))
            more = f" and {len(faces) - _NAMED} more, see {path}" if len(faces) > _NAMED else f", see {path}"
            named = f" ({', '.join(faces[:_NAMED])}{more})"
        raise TrainingDiverged(
            f"{self.folder}: loss {loss:g} in epoch {epoch + 1}, batch {step + 1}{named}, expected {expected}: "
            f"{self._kept()}; start a new run with a lower --learning-rate, or mend these faces"
        )

    def _kept(self):
        best = self.folder / "best.keras"
        return f"the last good checkpoint is {best}" if best.exists() else "no epoch was completed before"
