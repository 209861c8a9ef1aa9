"""The callback that follows a run: looks at every step, and ends each epoch with validation, log and saved state."""

import csv
import io
import json
import math
import shutil
import time
from contextlib import contextmanager

import keras
import numpy as np

from kdloss.errors import Interruption, UserError
from kdloss.files import explained, write_whole
from kdloss.models.checkpoint import save_model
from kdloss.training.distribution import OneDevice
from kdloss.training.state import Deadline, Progress, save_state

# An epoch that takes longer is saved on the way.
SAVE_EVERY = 600.0


class RunRecorder(keras.callbacks.Callback):
    """Writes a run folder, epoch by epoch.

    Args:
        folder: the run folder (`pathlib.Path`).
        card: the card of the checkpoint.
        validate: ``validate(network) -> float``: NME in percent on the validation faces.
        ema: whether the optimizer keeps a moving average of the weights, which then is validated and kept.
        progress: a `Progress`: what a resumed run has behind it.
        deadline: a `Deadline`; training stops at the end of an epoch after which the next would be late.
        interruption: an `Interruption`; training stops after the step in which it was asked for.
        faces_of: ``faces_of(epoch, step)``: names of the faces of a batch.
        distribution: a `OneDevice` or what takes its place: all processes stop at the same step, the first one writes.
    """

    def __init__(
        self,
        folder,
        card,
        validate,
        *,
        ema=False,
        progress=None,
        deadline=None,
        interruption=None,
        faces_of=None,
        distribution=None,
    ):
        super().__init__()
        self.folder, self.card, self.validate, self.ema = folder, card, validate, ema
        self.progress = progress or Progress()
        self.deadline = deadline or Deadline()
        self.interruption = interruption or Interruption()
        self.distribution = distribution or OneDevice()
        self.watch = LossWatch(folder, faces_of, self.progress.first_loss)
        self.out_of_time = False
        self._open()
        self._keep_in_mind()

    @property
    def rows(self):
        """The epochs that are done, one dict each."""
        return self.progress.rows

    @property
    def best(self):
        """The best validation NME of them."""
        return self.progress.best

    def on_epoch_begin(self, epoch, logs=None):
        self.started = self.saved = time.monotonic()
        self.before, self.earlier = self.progress.step, self.progress.seconds
        self.watch.sum = self.progress.loss_sum
        if self.progress.metrics:
            for variable, value in zip(self.model.metrics_variables, self.progress.metrics, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        step = self.before + batch
        self.watch.check(self.progress.epoch, step, float(logs["loss"]))
        # The last step of an epoch is saved with what ends it.
        if batch + 1 == self.params["steps"]:
            return
        asked = self._asked()
        if asked or time.monotonic() - self.saved > SAVE_EVERY:
            self._save_within_epoch(step + 1)
        if asked:
            self._stop()

    def on_epoch_end(self, epoch, logs=None):
        seconds = self._seconds()
        student = self.model.student
        with self._averaged_weights():
            logs["val_nme"] = float(self.validate(student))
            self._require_number("validation NME", logs["val_nme"], epoch)
            if logs["val_nme"] < self.best:
                self.progress.best = logs["val_nme"]
                self._save_best(student, epoch)
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()}
        self.rows.append(row | {"learning_rate": rate, "seconds": round(seconds, 2)})
        self._log()
        self.progress.end_epoch(self.watch.first)
        self._save()
        if self._asked():
            self._stop()
        self._keep_in_mind()
        if self.distribution.agree(not self.deadline.leaves(time.monotonic() - self.started)):
            self.model.stop_training = self.out_of_time = True
        if self.before:  # an epoch that was cut off: those after it have more steps
            self.model.stop_training = True

    def close(self):
        """Ends what it writes to."""
        self.writer.close()

    def _asked(self):
        """Whether a signal has asked any process to stop; each of them then stops here."""
        self.interruption.number = self.distribution.agree(self.interruption.number) or None
        return self.interruption.asked

    def _keep_in_mind(self):
        self.distribution.keep(f"{self.folder} is saved as of {self._place()}")

    def _place(self):
        epoch, step = self.progress.epoch, self.progress.step
        if step:
            return f"step {step} of epoch {epoch + 1}"
        return f"the end of epoch {epoch}" if epoch else "its beginning"

    def _save_within_epoch(self, step):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        metrics = [keras.ops.convert_to_numpy(variable) for variable in self.model.metrics_variables]
        self.progress.stay(step, self._seconds(), self.watch.sum, self.watch.first, metrics)
        self._save()
        self.saved = time.monotonic()
        if self.distribution.is_first:  # the others do not know when this one saves within an epoch
            self._keep_in_mind()

    def _save(self):
        save_state(self.folder / "last" / "state.npz", state_variables(self.model), self.progress)

    def _stop(self):
        self.interruption.stop(f"{self.folder} is saved at {self._place()}: run the same command again to go on")

    def _seconds(self):
        """That the steps of this epoch took, those before an interruption included."""
        return self.earlier + time.monotonic() - self.started

    def _open(self):
        from tensorboard.summary import Writer

        # Written anew: what a killed run noted of an epoch that it did not save would stand there twice.
        shutil.rmtree(self.folder / "tensorboard", ignore_errors=True)
        self.writer = Writer(str(self.folder / "tensorboard"))
        for row in self.rows:
            self._note(row)

    def _log(self):
        write_history(self.folder, self.rows)
        self._note(self.rows[-1])

    def _save_best(self, student, epoch):
        with self.distribution.plain(student):
            save_model(self.folder / "best.keras", student, self.card | {"epoch": epoch + 1, "val_nme": self.best})

    def _note(self, row):
        with explained(self.folder / "tensorboard"):
            for name, value in row.items():
                self.writer.add_scalar(name, value, row["epoch"])
            self.writer.flush()

    def _require_number(self, name, value, epoch):
        if not np.isfinite(value):
            raise TrainingDiverged(
                f"{self.folder}: {name} {value} in epoch {epoch + 1}, expected a number: lower --learning-rate"
            )

    @contextmanager
    def _averaged_weights(self):
        if not self.ema:
            yield
            return
        # Under mixed_float16 Keras wraps the optimizer to scale the loss.
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        weights = self.model.trainable_variables
        kept = [keras.ops.copy(weight.value) for weight in weights]
        for weight, average in zip(weights, optimizer._model_variables_moving_average, strict=True):
            # A copy: JAX's predict gives the weights' memory away, and the average must outlive it.
            weight.assign(keras.ops.copy(average.value))
        try:
            yield
        finally:
            for weight, value in zip(weights, kept, strict=True):
                weight.assign(value)


class RunFollower(RunRecorder):
    """What `RunRecorder` does in the processes that write nothing: it counts, validates and stops as that one does."""

    def _open(self):
        pass

    def close(self):
        pass

    def _log(self):
        pass

    def _save_best(self, student, epoch):
        pass

    def _save(self):
        pass


def state_variables(trainer):
    """Everything that changes in training, in a fixed order: weights, statistics, seed generators, optimizer."""
    distillation = trainer.feature_distillation.variables if trainer.feature_distillation else []
    return [*trainer.student.variables, *distillation, *trainer.optimizer.variables]


def write_history(folder, rows):
    """Writes ``metrics.jsonl`` and ``history.csv``, one row an epoch, each file whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    contents = {"metrics.jsonl": "".join(json.dumps(row) + "\n" for row in rows), "history.csv": text.getvalue()}
    for name, content in contents.items():
        write_whole(folder / name, content)


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
