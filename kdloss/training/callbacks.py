"""The callback of a run: it checks the loss of each step, and validates, logs and saves at the end of each epoch."""

import csv
import io
import json
import math
import shutil
import time
from contextlib import contextmanager

import keras
import numpy as np

from kdloss.errors import UserError
from kdloss.files import explained, write_whole
from kdloss.models.checkpoint import save_model
from kdloss.training.state import save_state

# Seconds. The state is also saved within an epoch that takes longer.
SAVE_EVERY = 600.0
# A loss this many times that of the run's first batch has diverged. A good start has a small loss, which can grow
# several hundredfold before the errors reach the size of the picture.
EXPLODED = 1e4
_SMALLEST_FIRST_LOSS = 1e-6  # a first loss near zero is no scale to compare with
_NAMED_FACES = 3


class TrainingDiverged(UserError):
    """The loss is no longer a finite number, or has grown out of bounds."""


class RunRecorder(keras.callbacks.Callback):
    """Validates each epoch, keeps the best checkpoint, and writes logs and state into the run folder.

    In a distributed run every process has one. All of them validate and stop at the same step; only the first writes.

    Args:
        folder: the run folder (`pathlib.Path`).
        card: the card of the checkpoint.
        validate: ``validate(network) -> float``: NME in percent on the validation faces; None: every epoch's checkpoint
            replaces the one before.
        progress: the `Progress` of the run; the recorder keeps it up to date.
        ema: whether the optimizer keeps a moving average of the weights, which is then validated and saved.
        last_epoch: training stops when this many epochs are done.
        deadline: a `Deadline`; training stops after an epoch if another one would end too late.
        interruption: an `Interruption`; training stops after the step in which a signal came.
        faces_of: ``faces_of(epoch, step)``: names of the faces of a batch.
        distribution: a `OneDevice` or another class of `kdloss.training.distribution`.
    """

    def __init__(
        self, folder, card, validate, progress, *, ema, last_epoch, deadline, interruption, faces_of, distribution
    ):
        super().__init__()
        self.folder, self.card, self.validate, self.progress = folder, card, validate, progress
        self.ema, self.last_epoch, self.deadline = ema, last_epoch, deadline
        self.interruption, self.distribution = interruption, distribution
        self.loss_watch = LossWatch(folder, progress, faces_of)
        self.out_of_time = False
        self.writer = self._open_tensorboard() if distribution.is_first else None
        self._report_saved()

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch_started = self.saved_at = time.monotonic()
        self.first_step, self.seconds_before = self.progress.step, self.progress.seconds
        if self.progress.metrics:
            for variable, value in zip(self.model.metrics_variables, self.progress.metrics, strict=True):
                variable.assign(value)

    def on_train_batch_end(self, batch, logs=None):
        step = self.first_step + batch
        self.loss_watch.check(self.progress.epoch, step, float(logs["loss"]))
        if batch + 1 == self.params["steps"]:
            return  # on_epoch_end saves this step
        asked = self._asked_to_stop()
        if asked or time.monotonic() - self.saved_at > SAVE_EVERY:
            self._save_within_epoch(step + 1)
        if asked:
            self._stop()

    def on_epoch_end(self, epoch, logs=None):
        seconds, student = self._epoch_seconds(), self.model.student
        with self._averaged_weights():
            if self.validate is None:
                self._save_best(student, epoch)
            else:
                logs["val_nme"] = self._validated(student, epoch)
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()}
        self.progress.rows.append(row | {"learning_rate": rate, "seconds": round(seconds, 2)})
        if self.distribution.is_first:
            write_history(self.folder, self.progress.rows)
            self._write_tensorboard(self.writer, self.progress.rows[-1:])
        self.progress.end_epoch()
        self._save_state()
        if self._asked_to_stop():
            self._stop()
        self._report_saved()
        if self.distribution.agree(not self.deadline.leaves(time.monotonic() - self.epoch_started)):
            self.out_of_time = True
        # The rest of an interrupted epoch was a fit of its own, because whole epochs have more steps.
        if self.out_of_time or self.first_step or self.progress.epoch == self.last_epoch:
            self.model.stop_training = True

    def _validated(self, student, epoch):
        """The validation NME of the student, whose checkpoint is saved if it is the best so far."""
        found = float(self.validate(student))
        if not np.isfinite(found):
            reason = f"validation NME {found} in epoch {epoch + 1}, expected a number: lower --learning-rate"
            raise TrainingDiverged(f"{self.folder}: {reason}")
        if found < self.progress.best:
            self.progress.best = found
            self._save_best(student, epoch)
        return found

    def close(self):
        """Closes TensorBoard's file."""
        if self.writer:
            with explained(self.folder / "tensorboard"):
                self.writer.close()

    def _asked_to_stop(self):
        """Whether any process received a signal; then all stop at this step."""
        self.interruption.number = self.distribution.agree(self.interruption.number) or None
        return self.interruption.asked

    def _stop(self):
        self.interruption.stop(f"{self.folder} is saved at {self._saved_step()}: run the same command again to go on")

    def _report_saved(self):
        self.distribution.saved = f"{self.folder} is saved as of {self._saved_step()}"

    def _saved_step(self):
        epoch, step = self.progress.epoch, self.progress.step
        if step:
            return f"step {step} of epoch {epoch + 1}"
        return f"the end of epoch {epoch}" if epoch else "its beginning"

    def _epoch_seconds(self):
        """Duration of this epoch's steps, including those before an interruption."""
        return self.seconds_before + time.monotonic() - self.epoch_started

    def _save_within_epoch(self, step):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        self.progress.step, self.progress.seconds = step, self._epoch_seconds()
        self.progress.metrics = [keras.ops.convert_to_numpy(variable) for variable in self.model.metrics_variables]
        self._save_state()
        self.saved_at = time.monotonic()
        if self.distribution.is_first:  # each process has a clock of its own; only the first reports
            self._report_saved()

    def _save_state(self):
        if self.distribution.is_first:
            save_state(self.folder / "last" / "state.npz", state_variables(self.model), self.progress)

    def _save_best(self, student, epoch):
        if self.distribution.is_first:
            card = self.card | {"epoch": epoch + 1} | ({"val_nme": self.progress.best} if self.validate else {})
            with self.distribution.as_on_one_device(student):
                save_model(self.folder / "best.keras", student, card)

    def _open_tensorboard(self):
        from tensorboard.summary import Writer

        # It is rewritten: otherwise an epoch that a killed run logged but did not save would appear twice.
        shutil.rmtree(self.folder / "tensorboard", ignore_errors=True)
        with explained(self.folder / "tensorboard"):
            writer = Writer(str(self.folder / "tensorboard"))
        self._write_tensorboard(writer, self.progress.rows)
        return writer

    def _write_tensorboard(self, writer, rows):
        with explained(self.folder / "tensorboard"):
            for row in rows:
                for name, value in row.items():
                    writer.add_scalar(name, value, row["epoch"])
            writer.flush()

    @contextmanager
    def _averaged_weights(self):
        """Within this context the network has the averaged weights, if the optimizer keeps them."""
        if not self.ema:
            yield
            return
        # Under mixed_float16 Keras wraps the optimizer to scale the loss.
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        weights = self.model.trainable_variables
        trained = [keras.ops.copy(weight.value) for weight in weights]
        for weight, average in zip(weights, optimizer._model_variables_moving_average, strict=True):
            # A copy: JAX's predict frees the memory of the weights, and the average must outlive it.
            weight.assign(keras.ops.copy(average.value))
        try:
            yield
        finally:
            for weight, value in zip(weights, trained, strict=True):
                weight.assign(value)


class LossWatch:
    """Stops a run whose loss diverges, and names the faces of that batch.

    Keras reports the mean loss of the epoch so far. The loss of the last batch follows from two such means.

    Args:
        folder: the run folder (`pathlib.Path`).
        progress: the `Progress` of the run, whose first loss and sum of losses are kept up to date.
        faces_of: ``faces_of(epoch, step)``: names of the faces of a batch.
    """

    def __init__(self, folder, progress, faces_of):
        self.folder, self.progress, self.faces_of = folder, progress, faces_of

    def check(self, epoch, step, mean):
        """Takes the mean loss of an epoch's batches up to and including ``step``; both are counted from 0.

        Raises:
            TrainingDiverged: this batch's loss is not finite, or more than `EXPLODED` times that of the first batch.
        """
        progress, loss_sum = self.progress, mean * (step + 1)
        loss, progress.loss_sum = loss_sum - progress.loss_sum, loss_sum
        if progress.first_loss is None and math.isfinite(loss):
            progress.first_loss = loss
        if not math.isfinite(loss) or abs(loss) > EXPLODED * max(abs(progress.first_loss), _SMALLEST_FIRST_LOSS):
            self._stop(epoch, step, loss)

    def _stop(self, epoch, step, loss):
        expected = "a finite number"
        if math.isfinite(loss):
            expected = f"at most {EXPLODED:g} times the {self.progress.first_loss:g} of the first batch"
        faces, path = self.faces_of(epoch, step), self.folder / "diverged.json"
        # The step before may be the one that spoilt the weights.
        record = {"epoch": epoch + 1, "batch": step + 1, "loss": str(loss), "faces": faces}
        record["faces_before"] = self.faces_of(epoch, step - 1) if step else []
        write_whole(path, json.dumps(record, indent=1))
        more = f" and {len(faces) - _NAMED_FACES} more" if len(faces) > _NAMED_FACES else ""
        named = f"({', '.join(faces[:_NAMED_FACES])}{more}, see {path})"
        best = self.folder / "best.keras"
        kept = f"the last good checkpoint is {best}" if best.exists() else "no epoch was completed before"
        raise TrainingDiverged(
            f"{self.folder}: loss {loss:g} in epoch {epoch + 1}, batch {step + 1} {named}, expected {expected}: "
            f"{kept}; start a new run with a lower --learning-rate, or mend these faces"
        )


def state_variables(trainer):
    """Everything that training changes, in a fixed order: weights, statistics, seed generators, optimizer."""
    distillation = trainer.feature_distillation.variables if trainer.feature_distillation else []
    average = trainer.average.variables if trainer.average else []
    return [*trainer.student.variables, *average, *distillation, *trainer.optimizer.variables]


def write_history(folder, rows):
    """Writes ``metrics.jsonl`` and ``history.csv``, one row per epoch."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    contents = {"metrics.jsonl": "".join(json.dumps(row) + "\n" for row in rows), "history.csv": text.getvalue()}
    for name, content in contents.items():
        write_whole(folder / name, content)
