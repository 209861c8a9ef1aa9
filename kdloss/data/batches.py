"""From prepared faces to batches of views: numpy, tf.data, or a Keras PyDataset, all through the same code."""

import functools
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import cv2
import keras
import numpy as np

from kdloss.data.augmentation import AugmentConfig, draw_crop, vary_pixels, view_rng
from kdloss.data.geometry import BoxPolicy, to_unit, transform_each
from kdloss.errors import ConfigError
from kdloss.machine import usable_cores


class ViewBatches:
    """Batches of views, addressed by epoch and step; a pure function of the arguments.

    Args:
        prepared: a `PreparedDataset`.
        rows: (m,) row numbers of the faces to draw from.
        size: side of the views, pixels.
        batch_size: faces a batch. Faces that do not fill a batch are left to the next epoch's shuffle.
        policy: the `BoxPolicy` of the unvaried crop.
        augment: an `AugmentConfig`.
        targets: name -> (n, N, 2) points of *all* prepared rows in stored crop pixels; they move with the image.
        stored: name -> for each round (m, N, 2) unit points of the views themselves, such as cached teachers' outputs.
        seed: of the order and of the views.
        rounds: views are drawn anew every epoch, or (a number) repeat after this many epochs.
        part: ``(i, n)``: of each batch only the i-th of n equal parts is drawn; the others are other processes'.

    Raises:
        ConfigError: the batch is larger than the set.
    """

    def __init__(
        self,
        prepared,
        rows,
        *,
        size,
        batch_size,
        policy=None,
        augment=None,
        targets=None,
        stored=None,
        seed=0,
        rounds=None,
        part=(0, 1),
    ):
        if batch_size > len(rows):
            raise ConfigError(f"--batch-size {batch_size}: larger than the {len(rows)} faces: give a smaller one")
        self.prepared, self.rows, self.size, self.batch_size = prepared, np.asarray(rows), size, batch_size
        self.augment = augment or AugmentConfig()
        self.targets = {"hard": prepared.points} if targets is None else targets
        self.stored = stored or {}
        self.seed, self.rounds, self.part = seed, rounds, part
        self.boxes = prepared.boxes(policy or BoxPolicy())
        self.permutation = prepared.scheme.mirror if prepared.scheme.mirrorable else None

    @property
    def steps(self):
        """Batches an epoch."""
        return len(self.rows) // self.batch_size

    def round(self, epoch):
        """Which drawing of the views an epoch sees."""
        return epoch % self.rounds if self.rounds else epoch

    def view(self, position, round_):
        """One view.

        Args:
            position: index into ``rows``.
            round_: number of the drawing.

        Returns:
            ``(image, points)``: (S, S, 3) uint8 and a dict name -> (N, 2) float32 unit points.
        """
        images, points = self._draw(np.array([position]), round_)
        return images[0], {name: unit[0] for name, unit in points.items()}

    def batch(self, epoch, step):
        """Batch ``step`` of an epoch: (B, S, S, 3) uint8 and a dict name -> (B, N, 2) float32 unit points.

        Of a part of it, with fewer faces.
        """
        number, parts = self.part
        return self._draw(np.split(self._positions(epoch, step), parts)[number], self.round(epoch))

    def faces_of(self, epoch, step):
        """Names of the faces of batch ``step`` of an epoch, in its order."""
        return self.prepared.table["name"][self.rows[self._positions(epoch, step)]].tolist()

    def _positions(self, epoch, step):
        order = _order(self.seed, epoch, len(self.rows))
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def in_order(self, round_=0):
        """Yields all faces once, in the order of ``rows``; the last batch may be smaller. The next are drawn ahead."""
        starts, threads, ahead = range(0, len(self.rows), self.batch_size), usable_cores(), deque()
        with ThreadPoolExecutor(threads) as pool:
            for start in starts:
                positions = np.arange(start, min(start + self.batch_size, len(self.rows)))
                ahead.append(pool.submit(self._draw, positions, round_))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def _draw(self, positions, round_):
        images = np.empty((len(positions), self.size, self.size, 3), np.uint8)
        rows = self.rows[positions].tolist()
        drawn = [self._draw_image(row, round_, image) for row, image in zip(rows, images, strict=True)]
        return images, self.points(positions, round_, *zip(*drawn, strict=True))

    def points(self, positions, round_, crops, mirrored):
        """The points of views: a dict name -> (B, N, 2) float32 unit points.

        Args:
            positions: (B,) indices into ``rows``.
            round_: number of the drawing.
            crops, mirrored: of each view, as `kdloss.data.augmentation.draw_crop` says.
        """
        rows, matrices = self.rows[positions], np.array([crop.matrix for crop in crops])
        turned, found = np.flatnonzero(mirrored), {}
        for name, target in self.targets.items():
            unit = to_unit(transform_each(matrices, target[rows].astype(np.float64)), self.size)
            if len(turned):
                unit[turned] = unit[turned][:, self.permutation]
            found[name] = unit.astype(np.float32)
        return found | {name: np.asarray(output[round_][positions]) for name, output in self.stored.items()}

    def _draw_image(self, row, round_, image):
        """Draws into ``image``; returns ``(FaceCrop, mirrored)``."""
        rng, faces = view_rng(self.seed, round_, row), self.prepared.faces
        crop, mirrored = draw_crop(rng, self.augment, self.boxes[row], self.size, self.permutation is not None)
        rows, _ = crop.sampled(*faces.shape[1:3])
        crop.image(faces.read_part(row, rows), image)
        vary_pixels(rng, self.augment, image)
        return crop, mirrored

    @property
    def names(self):
        """Names of the point sets in each batch, sorted."""
        return sorted({*self.targets, *self.stored})


@functools.lru_cache(maxsize=2)  # batches of an epoch, and of the next one, are drawn by several threads
def _order(seed, epoch, count):
    order = np.random.default_rng([seed, 1 << 32, epoch]).permutation(count)
    order.flags.writeable = False
    return order


class KerasBatches(keras.utils.PyDataset):
    """`ViewBatches` for any back end of Keras; needs no TensorFlow. Endless: give ``fit`` its ``steps_per_epoch``.

    Batches are numbered through all epochs and drawn ahead here. Keras' own epochs can't be counted by a data set
    (``fit`` ends one before the first begins), and its worker threads hand out batches of the first epoch twice.

    Args:
        batches: a `ViewBatches`.
        first_step: where training starts or resumes, counted through all epochs.
        threads: how many batches are drawn ahead, each by a thread.
    """

    num_batches = None

    def __init__(self, batches, first_step=0, threads=1):
        super().__init__()
        self.batches, self.first = batches, first_step
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads)
        self._ahead = {}

    def __getitem__(self, number):
        for wanted in range(number, number + self._threads + 1):
            if wanted not in self._ahead:
                place = divmod(self.first + wanted, self.batches.steps)
                self._ahead[wanted] = self._pool.submit(self.batches.batch, *place)
        return self._ahead.pop(number).result()


def tf_dataset(batches, first_step, last_step):
    """`ViewBatches` of steps [first, last), counted through all epochs, as one tf.data.Dataset of (images, points).

    Batches are drawn ahead, and come in order however many threads draw them, so a run is the same under the same
    seed. On a GPU the next batches wait in its memory.
    """
    import tensorflow as tf

    names, size, points = batches.names, batches.size, batches.prepared.scheme.num_points

    def draw(number):
        images, drawn = batches.batch(*divmod(int(number), batches.steps))
        return [images, *(drawn[name] for name in names)]

    def load(number):
        images, *drawn = tf.numpy_function(draw, [number], [tf.uint8] + [tf.float32] * len(names), stateful=False)
        images.set_shape((batches.batch_size, size, size, 3))
        for unit in drawn:
            unit.set_shape((batches.batch_size, points, 2))
        return images, dict(zip(names, drawn, strict=True))

    dataset = tf.data.Dataset.range(first_step, last_step)
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    # Several replicas divide the batches themselves.
    if not tf.distribute.has_strategy() and tf.config.list_physical_devices("GPU"):
        return dataset.apply(tf.data.experimental.prefetch_to_device("/GPU:0", buffer_size=2))
    return dataset.prefetch(tf.data.AUTOTUNE)


def training_data(batches, first_step, last_step):
    """What ``model.fit`` takes, for the active back end: tf.data on TensorFlow, a PyDataset elsewhere.

    From then on OpenCV uses one thread: those that draw batches are as many as there should be.

    Args:
        batches: a `ViewBatches`.
        first_step, last_step: the steps [first, last), counted through all epochs.
    """
    cv2.setNumThreads(1)
    if keras.backend.backend() == "tensorflow":
        return tf_dataset(batches, first_step, last_step)
    return KerasBatches(batches, first_step, threads=max(1, math.ceil(usable_cores() / 2)))
