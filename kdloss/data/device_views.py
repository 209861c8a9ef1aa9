"""Views that the device draws in the compiled step: its memory holds the faces, and a batch only numbers of each view.

The numbers are those that `kdloss.data.augmentation` draws, so a view has the same points as on the host, and the same
crop, colours, patches and noise. Its pixels differ by rounding.
"""

import functools

import keras
import numpy as np
from keras import ops

from kdloss.data.augmentation import blur_reach, normal_numbers
from kdloss.data.geometry import divisor_of, invert, shrunk
from kdloss.errors import ConfigError
from kdloss.machine import accelerators, device_memory

_PATCHES, _PATCH = 2, 8  # a patch: left, top, right, bottom, whether it has a colour of its own, and this
_WIDTHS = {"face": 1, "divisor": 1, "matrix": 6, "curve": 6, "grey": 1, "blur": 1, "patches": _PATCHES * _PATCH}
_WIDTHS |= {"noise": 1, "noise_start": 1}
NUMBERS = sum(_WIDTHS.values())
_ENDS = np.cumsum([*_WIDTHS.values()])
_PLACES = {name: slice(end - width, end) for (name, width), end in zip(_WIDTHS.items(), _ENDS, strict=True)}


def view_numbers(faces, crops, changes, side):
    """(B, NUMBERS) float32: all that `DeviceViews` needs to know of views.

    Args:
        faces: (B,) places of the faces among those in the device's memory.
        crops: a `FaceCrop` each.
        changes: a `Changes` each.
        side: of the stored faces, pixels.
    """
    numbers = np.zeros((len(crops), NUMBERS), np.float32)
    divisors = np.array([crop.divisor for crop in crops])
    # Pixel centres lie at integers, so a picture that is smaller by a factor also moves.
    factors = (np.maximum(side // divisors, 1) / side)[:, None, None]
    back = invert(np.array([crop.matrix for crop in crops])) * factors
    back[..., 2:] += (factors - 1) / 2
    numbers[:, _PLACES["face"]], numbers[:, _PLACES["divisor"]] = np.asarray(faces)[:, None], divisors[:, None]
    numbers[:, _PLACES["matrix"]] = back.reshape(-1, 6)
    for row, change in zip(numbers, changes, strict=True):
        if change.curve:
            row[_PLACES["curve"]] = change.curve
        if change.patches:
            patches = row[_PLACES["patches"]].reshape(_PATCHES, _PATCH)
            for patch, (*place, colour) in zip(patches, change.patches, strict=False):
                patch[:] = *place, colour is not None, *(colour or (0, 0, 0))
        for name in ("grey", "blur", "noise", "noise_start"):
            row[_PLACES[name]] = getattr(change, name)
    return numbers


class DeviceViews(keras.layers.Layer):
    """Draws views from numbers, on any back end.

    Args:
        batches: a `MixedBatches` of `ViewBatches` with ``as_numbers``. The faces of its sources stay in the device's
            memory: uint8, also in smaller copies where views are that small.
    """

    def __init__(self, batches):
        super().__init__(trainable=False, dtype="float32", autocast=False)
        self.counts = [source.batch_size for source in batches.sources]
        self.augment = batches.sources[0].augment
        self.sides = {name: views.size for name, views in batches.sources[0].shown.items()}
        self.levels = [_levels(source) for source in batches.sources]
        fixed = {"trainable": False, "autocast": False}
        self.faces = [keras.Variable(_stored(source), dtype="uint8", **fixed) for source in batches.sources]
        self.noise = {}
        if self.augment.noise:
            sizes = {3 * side**2 for side in self.sides.values()}
            self.noise = {str(size): keras.Variable(normal_numbers(size), dtype="float32", **fixed) for size in sizes}

    def call(self, numbers, name=""):
        """(B, NUMBERS) float32 of `ViewBatches.batch` -> (B, S, S, 3) float32, whole numbers from 0 to 255.

        ``name``: of a recut, whose numbers these are; by default they are of the views themselves.
        """
        side, how, parts, start = self.sides[name], self.augment, [], 0
        for count, faces, levels in zip(self.counts, self.faces, self.levels, strict=True):
            part = numbers[start : start + count]
            parts.append(_sampled(faces, levels, part, side))
            start += count
        images = parts[0] if len(parts) == 1 else ops.concatenate(parts)
        taken = {place: numbers[:, part] for place, part in _PLACES.items()}
        if how.colour:
            images = _coloured(images, taken["curve"])
        if how.grey:
            grey = ops.round(ops.sum(images * np.float32([0.299, 0.587, 0.114]), axis=-1, keepdims=True))
            images = ops.where(taken["grey"][:, :, None, None] > 0, grey, images)
        if how.blur:
            images = _blurred(images, taken["blur"], blur_reach(0.015 * side))
        if how.occlusion:
            for patch in range(_PATCHES):
                images = _covered(images, taken["patches"][:, patch * _PATCH : (patch + 1) * _PATCH])
        if how.noise:
            size = 3 * side**2
            # float32 rounds the places in tables of views of 900 px and more.
            first = ops.minimum(ops.cast(taken["noise_start"], "int32"), 7 * size)
            noise = ops.take(self.noise[str(size)], first + np.arange(size, dtype=np.int32))
            noise = ops.reshape(noise, ops.shape(images))
            images = ops.clip(ops.round(images + taken["noise"][:, :, None, None] * noise), 0, 255)
        return images


def placed(batches, where, devices=1):
    """Where the views of a `MixedBatches` are drawn: ``(batches, None)`` on the host, else its batches of numbers and
    their `DeviceViews`.

    Args:
        where: ``host``, ``device``, or ``auto``: the device if it is an accelerator, alone, and has room for the faces.
        devices: number of devices that share each batch.

    Raises:
        ConfigError: ``device``, and its memory has no room for the faces.
    """
    if where == "host" or (where == "auto" and (devices > 1 or not accelerators())):
        return batches, None
    numbered, room = batches.as_numbers(), device_memory()
    needed = sum(3 * len(source.rows) * _pixels(_levels(source)) for source in numbered.sources)
    try:
        # At least half of the memory is for the networks.
        if room and needed > room / 2:
            raise MemoryError
        return numbered, DeviceViews(numbered)
    except Exception as error:
        said = f"{type(error).__name__} {error}".lower().replace("_", "")
        if not isinstance(error, MemoryError) and "resourceexhausted" not in said:
            raise
    problem = f"--views {where}: the device's memory has no room for {needed / 1e9:.2g} GB of faces"
    if where == "device":
        raise ConfigError(f"{problem}: give --views host")
    print(f"{problem}: the host draws the views")
    return batches, None


def _levels(source):
    """Divisor -> side of the copies of a source's faces that its views are sampled from, see `FaceCrop.image`."""
    zooms = [views.size / np.sqrt(views.boxes[views.rows, 2:].prod(axis=1)) for views in source.shown.values()]
    vary = (1 + source.augment.scale) * 1.001  # a little more, for rounding
    first, last = divisor_of(np.max(zooms) * vary), divisor_of(np.min(zooms) / vary)
    return {divisor: max(source.prepared.size // divisor, 1) for divisor in range(first, last + 1)}


def _pixels(levels):
    return sum((side + 2) ** 2 for side in levels.values())


def _stored(source):
    """(m, P, 3) uint8: the pixels of all copies of each face, one after the other, each with a black edge."""
    levels = _levels(source)
    stored = np.zeros((len(source.rows), _pixels(levels), 3), np.uint8)
    for row, pixels in zip(source.rows, stored, strict=True):
        face, start = source.prepared.faces[row], 0
        for divisor, side in levels.items():
            framed = pixels[start : start + (side + 2) ** 2].reshape(side + 2, side + 2, 3)
            framed[1:-1, 1:-1] = face if divisor == 1 else shrunk(face, divisor)
            start += (side + 2) ** 2
    return stored


def _sampled(faces, levels, numbers, size):
    """Bilinear samples of stored faces; 0 outside. (m, P, 3), (B, NUMBERS) -> (B, size, size, 3) float32."""
    sides = np.zeros(max(levels) + 1, np.int32)
    sides[[*levels]] = [*levels.values()]
    starts = np.zeros_like(sides)
    starts[[*levels]] = np.cumsum([0, *((side + 2) ** 2 for side in levels.values())])[:-1]
    face, divisor = (ops.cast(numbers[:, _PLACES[name]], "int32")[:, 0] for name in ("face", "divisor"))
    own = ops.take(faces, face, axis=0)
    # From here on the faces of the batch follow each other in one array of pixels.
    count, pixels = numbers.shape[0], faces.shape[1]
    own = ops.reshape(own, (count * pixels, 3))
    start = ops.take(starts, divisor) + np.arange(count, dtype=np.int32) * pixels
    start, side = start[:, None, None], ops.take(sides, divisor)[:, None, None]
    along = np.arange(size, dtype=np.float32)
    a, b, c, d, e, f = (numbers[:, i, None, None] for i in range(_PLACES["matrix"].start, _PLACES["matrix"].stop))

    def split(where):
        """Whole and fractional part of coordinates of the framed face; far outside lies the frame."""
        where = ops.clip(where + 1, 0, ops.cast(side + 1, "float32"))
        whole = ops.minimum(ops.cast(where, "int32"), side)
        return whole, (where - ops.cast(whole, "float32"))[..., None]

    x, right = split(a * along + b * along[:, None] + c)
    y, down = split(d * along + e * along[:, None] + f)
    first = start + y * (side + 2) + x

    def at(place):
        return ops.cast(ops.take(own, place, axis=0), "float32")

    upper = at(first) * (1 - right) + at(first + 1) * right
    lower = at(first + side + 2) * (1 - right) + at(first + side + 3) * right
    return ops.round(upper * (1 - down) + lower * down)


def _coloured(images, curve):
    gamma, contrast, brightness = (curve[:, i, None, None, None] for i in range(3))
    ramp = (ops.power(images / 255, gamma) - 0.5) * contrast + (0.5 + brightness)
    return ops.floor(ops.clip(255 * curve[:, None, None, 3:] * ramp, 0, 255))


def _blurred(images, sigma, reach):
    size, taps = images.shape[1], np.arange(-reach, reach + 1, dtype=np.float32)
    own_reach = ops.floor(ops.round(6 * sigma + 1) / 2)
    # Of deviation 0, which stands for no blur, only the middle remains.
    kernel = ops.exp(-(taps**2) / (2 * ops.maximum(sigma, 1e-3) ** 2))
    kernel = ops.where(np.abs(taps) <= own_reach, kernel, 0)
    kernel = (kernel / ops.sum(kernel, axis=1, keepdims=True))[:, :, None, None, None]
    for axis in (2, 1):
        pad = [(0, 0)] * 4
        pad[axis] = (reach, reach)
        padded = ops.pad(images, pad, mode="reflect")
        parts = ((slice(None),) * axis + (slice(tap, tap + size),) for tap in range(2 * reach + 1))
        images = functools.reduce(ops.add, (kernel[:, tap] * padded[part] for tap, part in enumerate(parts)))
    return ops.round(images)


def _covered(images, patch):
    along = np.arange(images.shape[1], dtype=np.float32)
    across, down = along[:, None], along[:, None, None]
    left, top, right, bottom, flat = (patch[:, i, None, None, None] for i in range(5))
    inside = ops.logical_and(across >= left, across < right)
    inside = ops.logical_and(inside, ops.logical_and(down >= top, down < bottom))
    cover = ops.where(flat > 0, patch[:, None, None, 5:], ops.flip(images, axis=(1, 2)))
    return ops.where(inside, cover, images)
