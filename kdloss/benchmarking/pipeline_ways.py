"""Ways to draw the same batches of views, and a training that takes them: each answers with views a second."""

import collections
import copy
import time

import keras
import numpy as np

from kdloss.benchmarking.pipeline_stages import KINDS, STAGES, draw_in_stages, vary_in_kinds
from kdloss.geometry import FaceCrop
from kdloss.models import build_model
from kdloss.pipeline import KerasBatches, tf_dataset, training_data
from kdloss.prediction import cut_faces
from kdloss.training.assembly import compiled_trainer
from kdloss.training.config import TrainConfig

CUTTING, LOOP, SHARED = "evaluation: read and cut", "ViewBatches.batch in a loop", "as training gets them"
LEAD_IN = 8  # batches: those that are drawn before the clock runs are used up


class Drawing:
    """So many batches, from any step on.

    Args:
        batches: a `ViewBatches`.
        steps: how many.
    """

    def __init__(self, batches, steps):
        self.batches, self.steps = batches, steps

    def in_stages(self, first):
        """Stage by stage, and the variation of pixels kind by kind."""
        seconds = collections.Counter()
        for epoch, step in self._places(first):
            positions = self._positions(step)
            taken, images, _ = draw_in_stages(self.batches, positions, epoch)
            seconds.update(taken)
            seconds.update(vary_in_kinds(self.batches.augment, images, step))
        titles = STAGES | {kind: f"augment: {kind} alone" for kind in KINDS}
        return {titles[stage]: self._rate(taken) for stage, taken in seconds.items()}

    def cut(self, first):
        """The unvaried crops that evaluation sees."""
        batches, seconds = self.batches, 0.0
        for _, step in self._places(first):
            rows = batches.rows[self._positions(step)]
            crops = [FaceCrop.from_box(batches.boxes[row], batches.size) for row in rows]
            started = time.perf_counter()
            cut_faces(batches.prepared.faces, rows, crops)
            seconds += time.perf_counter() - started
        return {CUTTING: self._rate(seconds)}

    def in_a_loop(self, first):
        """One after the other, in this thread."""
        started = time.perf_counter()
        for place in self._places(first):
            self.batches.batch(*place)
        return {LOOP: self._rate(time.perf_counter() - started)}

    def drained(self, title, feed, first):
        """As fast as a feed yields them, which draws ahead: ``feed(batches, first, last)`` iterates over batches."""
        drawn = feed(self.batches, first, first + LEAD_IN + self.steps)
        for _ in range(LEAD_IN):
            next(drawn)
        started = time.perf_counter()
        for _ in range(self.steps):
            next(drawn)
        return {title: self._rate(time.perf_counter() - started)}

    def _places(self, first):
        return [divmod(first + step, self.batches.steps) for step in range(self.steps)]

    def _positions(self, step):
        return np.arange(step * self.batches.batch_size, (step + 1) * self.batches.batch_size)

    def _rate(self, seconds):
        return self.steps * self.batches.batch_size / seconds


def keras_feed(threads, batches, first, last):
    """Batches of a `KerasBatches`, drawn by so many threads."""
    return _items(KerasBatches(batches, first, threads), last - first)


def tf_feed(threads, batches, first, last):
    """Batches of a tf.data.Dataset, drawn by so many threads."""
    import tensorflow as tf

    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    return iter(tf_dataset(batches, first, last).with_options(options))


def training_feed(batches, first, last):
    """Batches of `training_data`."""
    data = training_data(batches, first, last)
    return _items(data, last - first) if isinstance(data, KerasBatches) else iter(data)


def _items(data, count):
    return (data[number] for number in range(count))


class Consumer:
    """A training, fed with one batch that lies in memory: all but the drawing of views is as in any training.

    Args:
        arch: name of the network, trained on hard landmarks.
        batches: a `ViewBatches`.
        steps: of a round, after one that warms up.
    """

    def __init__(self, arch, batches, steps):
        config = TrainConfig("tough", batches.prepared.dataset, arch, image_size=batches.size)
        network = build_model(arch, batches.prepared.scheme.num_points, batches.size)
        self.title, self.steps = f"training of {arch}", steps
        self._batches, drawn = copy.copy(batches), batches.batch(0, 0)
        self._batches.batch = lambda epoch, step: drawn
        self._trainer = compiled_trainer(config, network, {}, batches.steps, {})

    def train(self, first):
        """Trains on; ``first`` changes nothing."""
        watch, steps = _Watch(), self.steps + 1
        data = training_data(self._batches, 0, steps)
        self._trainer.fit(data, steps_per_epoch=steps, callbacks=[watch], verbose=0, shuffle=False)
        return {self.title: self.steps * self._batches.batch_size / (watch.ends[-1] - watch.ends[0])}


class _Watch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.ends = []

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])  # an accelerator may still be at work
        self.ends.append(time.perf_counter())
