"""Batches of views of prepared faces: in numpy, as tf.data, or as a Keras PyDataset, all through the same code.

A view is one random variation of a face's crop, as `kdloss.data.augmentation` describes. `ViewBatches._draw_pixels`
draws it, or `kdloss.data.device_views` in its place; all else here decides which views a batch holds, and passes
batches on.
"""

import dataclasses
import functools
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, field

import cv2
import keras
import numpy as np

from kdloss.data.augmentation import AUGMENTATIONS, AugmentConfig, draw_changes, draw_crop, vary_pixels, view_rng
from kdloss.data.device_views import NUMBERS, view_numbers
from kdloss.data.geometry import BoxPolicy, compose, invert, to_unit, transform_each
from kdloss.data.prepared import PreparedDataset
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import ConfigError
from kdloss.machine import usable_cores


@dataclass(eq=False)
class ViewBatches:
    """Batches of views, addressed by epoch and step; a pure function of the fields.

    Raises:
        ConfigError: the batch is larger than the set.
    """

    prepared: PreparedDataset
    rows: np.ndarray  # (m,) row numbers of the faces to draw from; one that repeats is drawn as often, in other views
    _: KW_ONLY
    size: int  # side of the views, pixels
    batch_size: int  # faces per batch; an incomplete last batch is skipped, and every epoch is reshuffled
    policy: BoxPolicy | None = None  # of the unvaried crop; default gt:1.25
    augment: AugmentConfig = AUGMENTATIONS["none"]
    targets: dict | None = None  # name -> (n, N, 2) points of *all* prepared rows in stored crop pixels; default "hard"
    stored: dict = field(default_factory=dict)  # name -> (m, N, 2) unit points for each round: teachers' outputs
    seed: int = 0  # of the order and of the views
    rounds: int | None = None  # None draws new views every epoch; with a number they repeat after this many epochs
    part: tuple[int, int] = (0, 1)  # (i, n): only the i-th of n equal parts of each batch; the rest is other processes'
    scheme: LandmarkScheme | None = None  # of the targets; default: that of the prepared faces
    # Name -> (side, box policy): the same views cut again, at another side or in another box, as a teacher sees them.
    recuts: dict = field(default_factory=dict)
    # A batch holds in place of each image the numbers from which `device_views.DeviceViews` draws it.
    as_numbers: bool = False

    def __post_init__(self):
        if self.batch_size > len(self.rows):
            wrong = f"--batch-size {self.batch_size}: larger than the {len(self.rows)} faces"
            raise ConfigError(f"{wrong}: give a smaller one")
        self.rows = np.asarray(self.rows)
        self._keys = self.rows + len(self.prepared) * _earlier(self.rows)
        if self.targets is None:
            self.targets = {"hard": self.prepared.points}
        self.scheme = self.scheme or self.prepared.scheme
        self.policy = self.policy or BoxPolicy()
        self.boxes = self.prepared.boxes(self.policy)
        self.permutation = self.scheme.mirror if self.scheme.mirrorable else None
        self._recuts = {
            name: dataclasses.replace(self, size=side, policy=policy, targets={}, stored={}, recuts={})
            for name, (side, policy) in self.recuts.items()
        }

    @property
    def steps(self):
        """Batches an epoch."""
        return len(self.rows) // self.batch_size

    @property
    def shown(self):
        """Name -> the `ViewBatches` of what a batch shows of each face: "" for the view itself, and recuts."""
        return {"": self} | self._recuts

    @property
    def image(self):
        """(dtype, shape) of one view."""
        return (np.float32, (NUMBERS,)) if self.as_numbers else (np.uint8, (self.size, self.size, 3))

    @property
    def arrays(self):
        """Name -> (dtype, shape) of what a batch holds of each face besides the image; see `batch`."""
        arrays = dict.fromkeys(sorted({*self.targets, *self.stored}), (np.float32, (self.scheme.num_points, 2)))
        for name, recut in self._recuts.items():
            arrays[name] = recut.image
            if recut.policy != self.policy:
                arrays[frame_of(name)] = (np.float32, (2, 3))
        return arrays

    def round(self, epoch):
        """The round of an epoch: views of the same round are the same."""
        return epoch % self.rounds if self.rounds else epoch

    def view(self, position, round_):
        """The view of face ``rows[position]`` in a round: (S, S, 3) uint8, and its part of `batch`'s dict."""
        images, points = self._draw(np.array([position]), round_)
        return images[0], {name: array[0] for name, array in points.items()}

    def batch(self, epoch, step):
        """This process' part of a batch: (B, S, S, 3) uint8 images and a dict.

        It holds unit points (B, N, 2) float32 by the names of ``targets`` and ``stored``, and the images of each of
        ``recuts``. If these have another box, `frame_of` names the maps (B, 2, 3) from their unit points to the view's.
        """
        number, parts = self.part
        return self._draw(np.split(self._positions(epoch, step), parts)[number], self.round(epoch))

    def faces_of(self, epoch, step):
        """Names of the faces of batch ``step`` of an epoch, in its order."""
        return self.prepared.table["name"][self.rows[self._positions(epoch, step)]].tolist()

    def in_order(self, round_=0):
        """Yields batches of all faces, each once, in the order of ``rows``; the last may be smaller. Draws ahead."""
        positions, threads, ahead = np.arange(len(self.rows)), usable_cores(), deque()
        with ThreadPoolExecutor(threads) as pool:
            for start in positions[:: self.batch_size]:
                ahead.append(pool.submit(self._draw, positions[start : start + self.batch_size], round_))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    def frames_from(self, other, round_, positions=None):
        """(m, 2, 3) float64: maps from unit points of ``other``, the same views in other boxes, to those of the views.

        ``positions``: of the faces, default all.
        """
        positions = range(len(self.rows)) if positions is None else positions
        own, others = ([batches._crop(at, round_, size=1)[0].matrix for at in positions] for batches in (self, other))
        # At a size of one pixel, crop pixels are unit coordinates.
        return np.array([compose(matrix, back) for matrix, back in zip(own, invert(np.array(others)), strict=True)])

    def _positions(self, epoch, step):
        order = _order(self.seed, epoch, len(self.rows))
        return order[step * self.batch_size : (step + 1) * self.batch_size]

    def _draw(self, positions, round_):
        rows = self.rows[positions]
        crops, mirrored, rngs = zip(*(self._crop(position, round_, self.size) for position in positions), strict=True)
        if self.as_numbers:
            changes = [draw_changes(rng, self.augment, self.size) for rng in rngs]
            images = view_numbers(positions, crops, changes, self.prepared.size)
        else:
            images = self._draw_pixels(rows.tolist(), crops, rngs)
        matrices, mirrored = np.array([crop.matrix for crop in crops]), np.flatnonzero(mirrored)
        points = {}
        for name, target in self.targets.items():
            unit = to_unit(transform_each(matrices, target[rows].astype(np.float64)), self.size)
            if len(mirrored):
                unit[mirrored] = unit[mirrored][:, self.permutation]
            points[name] = unit.astype(np.float32)
        points |= {name: np.asarray(output[round_][positions]) for name, output in self.stored.items()}
        for name, recut in self._recuts.items():
            points[name], _ = recut._draw(positions, round_)
            if frame_of(name) in self.arrays:
                points[frame_of(name)] = self.frames_from(recut, round_, positions).astype(np.float32)
        return images, points

    def _crop(self, position, round_, size):
        """``(FaceCrop, mirrored, random generator)`` of one view."""
        rng, box = view_rng(self.seed, round_, self._keys[position]), self.boxes[self.rows[position]]
        return *draw_crop(rng, self.augment, box, size, self.permutation is not None), rng

    def _draw_pixels(self, rows, crops, rngs):
        faces, images = self.prepared.faces, np.empty((len(rows), self.size, self.size, 3), np.uint8)
        for row, crop, rng, image in zip(rows, crops, rngs, images, strict=True):
            part, _ = crop.sampled(*faces.shape[1:3])
            crop.image(faces.read_part(row, part), image)
            vary_pixels(rng, self.augment, image)
        return images


class MixedBatches:
    """Batches whose faces come from several `ViewBatches`, such as faces with labels and faces without.

    Each source goes through its own faces at its own pace: where it has few, they come again in the same epoch, in new
    views.

    Args:
        sources: `ViewBatches` of the same size and arrays.
        steps: batches an epoch; by default those of the first source.
    """

    def __init__(self, sources, steps=None):
        self.sources, self.steps = sources, steps or sources[0].steps
        self.image, self.arrays = sources[0].image, sources[0].arrays
        self.batch_size = sum(source.batch_size for source in sources)

    def batch(self, epoch, step):
        """As `ViewBatches.batch`: the faces of the first source, then those of the next."""
        images, arrays = zip(*(source.batch(*place) for source, place in self._places(epoch, step)), strict=True)
        return np.concatenate(images), {name: np.concatenate([one[name] for one in arrays]) for name in self.arrays}

    def faces_of(self, epoch, step):
        """As `ViewBatches.faces_of`."""
        return [name for source, place in self._places(epoch, step) for name in source.faces_of(*place)]

    def as_numbers(self):
        """The same batches with numbers in place of images."""
        return MixedBatches([dataclasses.replace(source, as_numbers=True) for source in self.sources], self.steps)

    def _places(self, epoch, step):
        number = epoch * self.steps + step
        return [(source, divmod(number, source.steps)) for source in self.sources]


def frame_of(name):
    """The name of the maps from unit points of a recut to those of the view, in the dict of `ViewBatches.batch`."""
    return f"{name} frame"


class KerasBatches(keras.utils.PyDataset):
    """`ViewBatches` for any back end of Keras, without TensorFlow. Endless: give ``fit`` its ``steps_per_epoch``.

    This class counts batches and draws them ahead itself, for two reasons: Keras calls ``on_epoch_end`` once before the
    first epoch, and its worker threads repeat batches of the first epoch. ``first_step`` counts through all epochs;
    ``threads`` batches are drawn ahead, each by a thread.
    """

    num_batches = None

    def __init__(self, batches, first_step=0, threads=1):
        super().__init__()
        self.batches, self.first, self._threads = batches, first_step, threads
        self._pool, self._ahead = ThreadPoolExecutor(threads), {}

    def __getitem__(self, number):
        for wanted in range(number, number + self._threads + 1):
            if wanted not in self._ahead:
                place = divmod(self.first + wanted, self.batches.steps)
                self._ahead[wanted] = self._pool.submit(self.batches.batch, *place)
        return self._ahead.pop(number).result()


def tf_dataset(batches, first_step, last_step):
    """`ViewBatches` of steps [first, last), counted through all epochs, as one tf.data.Dataset of (images, points).

    Batches are drawn ahead by several threads but come in order, so the same seed gives the same run. On a GPU the next
    batches wait in its memory.
    """
    import tensorflow as tf

    arrays = batches.arrays
    kinds = (batches.image, *arrays.values())

    def draw(number):
        images, drawn = batches.batch(*divmod(int(number), batches.steps))
        return [images, *(drawn[name] for name in arrays)]

    def load(number):
        images, *drawn = tf.numpy_function(draw, [number], [tf.as_dtype(dtype) for dtype, _ in kinds], stateful=False)
        for array, (_, shape) in zip((images, *drawn), kinds, strict=True):
            array.set_shape((batches.batch_size, *shape))
        return images, dict(zip(arrays, drawn, strict=True))

    dataset = tf.data.Dataset.range(first_step, last_step)
    dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    # A distribution strategy divides batches among its devices itself.
    if not tf.distribute.has_strategy() and tf.config.list_physical_devices("GPU"):
        return dataset.apply(tf.data.experimental.prefetch_to_device("/GPU:0", buffer_size=2))
    return dataset.prefetch(tf.data.AUTOTUNE)


def training_data(batches, first_step, last_step):
    """`tf_dataset` or `KerasBatches` of the same steps, whichever suits ``model.fit`` on the active back end."""
    cv2.setNumThreads(1)  # several threads draw batches already
    if keras.backend.backend() == "tensorflow":
        return tf_dataset(batches, first_step, last_step)
    return KerasBatches(batches, first_step, threads=max(1, math.ceil(usable_cores() / 2)))


def _earlier(rows):
    """How often each of (m,) rows stands before its place."""
    order = np.argsort(rows, kind="stable")
    _, counts = np.unique(rows, return_counts=True)
    earlier = np.empty(len(rows), int)
    earlier[order] = np.concatenate([np.arange(count) for count in counts])
    return earlier


@functools.lru_cache(maxsize=2)  # batches of an epoch, and of the next one, are drawn by several threads
def _order(seed, epoch, count):
    order = np.random.default_rng([seed, 1 << 32, epoch]).permutation(count)
    order.flags.writeable = False
    return order
