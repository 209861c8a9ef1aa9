"""One training of the benchmark ``time-to-accuracy``, in a process of its own: its clock, and when it ends."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import keras

from kdloss.prepared import PreparedDataset
from kdloss.training.checkpoint import read_card
from kdloss.training.deadline import OutOfTime
from kdloss.training.fit import train


@dataclass(frozen=True)
class Run:
    """What is trained and when it ends.

    Args:
        data: the prepared folder.
        teacher: the `TrainConfig` of a tough teacher that is trained first, or None.
        student: the `TrainConfig` of the network whose accuracy counts; with a teacher, all but the teacher's file.
        target: validation NME in percent; reached at the student's image size, it ends the run.
        minutes: after which no further epoch is begun.
        folder: a new one.
    """

    data: Path
    teacher: object
    student: object
    target: float
    minutes: float
    folder: Path


class EpochClock(keras.callbacks.Callback):
    """Notes what each epoch took, keeps the checkpoint that was the best until then, and ends the run.

    Args:
        run: the `Run`.
        faces: how many an epoch has.
        counts: whether the network's accuracy counts; a teacher's does not.
        before: the `EpochClock` of the training before this one, or None.
    """

    def __init__(self, run, config, counts, before=None):
        super().__init__()
        self.run, self.config, self.counts = run, config, counts
        self.started, self.cpu_started = (before.started, before.cpu_started) if before else _now()
        self.steps_seconds, self.images = (before.steps_seconds, before.images) if before else (0.0, 0)
        self.rows = before.rows if before else []
        self.warm = True

    def on_train_begin(self, logs=None):
        self.warm = False  # the first step of a network is traced and compiled

    def on_epoch_begin(self, epoch, logs=None):
        self.mark = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        now = time.monotonic()
        if self.warm:
            self.steps_seconds += now - self.mark
        self.mark, self.warm = now, True
        self.images += self.config.batch_size

    def on_epoch_end(self, epoch, logs=None):
        now, cpu = _now()
        best = self.run.folder / "student" / "best.keras"
        row = {
            "role": "student" if self.counts else "teacher",
            "epoch": epoch + 1,
            "side": self.model.student.input_shape[1],
            "val_nme": logs["val_nme"],
            "seconds": now - self.started,
            "steps_seconds": self.steps_seconds,
            "cpu_seconds": cpu - self.cpu_started,
            "images": self.images,
            "checkpoint": None,
        }
        self.rows.append(row)
        if not self.counts:
            return
        if read_card(best)["epoch"] == epoch + 1:
            row["checkpoint"] = f"epoch-{epoch + 1}.keras"
            shutil.copyfile(best, self.run.folder / row["checkpoint"])
        if row["side"] == self.config.image_size and row["val_nme"] <= self.run.target:
            raise OutOfTime("the target is reached")
        if now - self.started > 60 * self.run.minutes:
            raise OutOfTime("the minutes are over")


def _now():
    """Seconds of a clock, and of the process on all cores."""
    return time.monotonic(), time.process_time()


def train_timed(run):
    """Trains as a `Run` says.

    Returns:
        For each epoch a dict for JSON. ``seconds`` and ``cpu_seconds`` count from the beginning of the training:
        networks, first weights, teachers' points, compilation, validation and files included. ``steps_seconds`` are
        those of the training steps alone, without the first of each network, which is compiled. ``checkpoint`` is the
        file in the run's folder that was the best of its side from this epoch on, or None: the one before still is.
    """
    prepared = PreparedDataset(run.data)
    student, clock = run.student, None
    try:
        if run.teacher:
            clock = EpochClock(run, run.teacher, counts=False)
            train(run.teacher, prepared, run.folder / "teacher", verbose=0, callbacks=[clock])
        clock = EpochClock(run, student, counts=True, before=clock)
        train(student, prepared, run.folder / "student", verbose=0, callbacks=[clock])
    except OutOfTime:
        pass
    return clock.rows


def serve(connection):
    """Answers the questions of `kdloss.benchmarking.worker.Server`, each a `Run`."""
    while True:
        (run,) = connection.recv()
        connection.send(train_timed(run))
