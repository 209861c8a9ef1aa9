"""The callback that ends each epoch: validate, keep the best, write the log, save the state to resume from."""

import csv
import io
import json
import time
from contextlib import contextmanager

import keras
import numpy as np

from asm.atomic import write_whole
from kdloss.errors import UserError
from kdloss.training.checkpoint import save_model, save_state
from kdloss.training.deadline import Deadline


class TrainingDiverged(UserError):
    """The loss is no longer a number."""


class RunRecorder(keras.callbacks.Callback):
    """Writes a run folder, epoch by epoch.

    Args:
        folder: the run folder (`pathlib.Path`).
        card: the card of the checkpoint.
        validate: ``validate(network) -> float``: NME in percent on the validation faces.
        ema: whether the optimizer keeps a moving average of the weights, which then is validated and kept.
        rows: the epochs that a resumed run has behind it.
        best: their best score.
        deadline: a `Deadline`; training stops at the end of an epoch after which the next would be late.
    """

    def __init__(self, folder, card, validate, *, ema=False, rows=(), best=float("inf"), deadline=None):
        super().__init__()
        from tensorboard.summary import Writer

        self.folder, self.card, self.validate, self.ema = folder, card, validate, ema
        self.rows, self.best = list(rows), best
        self.deadline = deadline or Deadline()
        self.writer = Writer(str(folder / "tensorboard"))

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        self._require_number("loss", logs["loss"], epoch)
        seconds = time.monotonic() - self.started
        student = self.model.student
        with self._averaged_weights():
            logs["val_nme"] = float(self.validate(student))
            self._require_number("validation NME", logs["val_nme"], epoch)
            if logs["val_nme"] < self.best:
                self.best = logs["val_nme"]
                save_model(self.folder / "best.keras", student, self.card | {"epoch": epoch + 1, "val_nme": self.best})
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {"epoch": epoch + 1} | {name: float(value) for name, value in logs.items()}
        self.rows.append(row | {"learning_rate": rate, "seconds": round(seconds, 2)})
        write_history(self.folder, self.rows)
        for name, value in self.rows[-1].items():
            self.writer.add_scalar(name, value, epoch + 1)
        self.writer.flush()
        progress = {"epoch": epoch + 1, "best": self.best, "rows": self.rows}
        save_state(self.folder / "last" / "state.npz", state_variables(self.model), progress)
        if not self.deadline.leaves(time.monotonic() - self.started):
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.writer.close()

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
