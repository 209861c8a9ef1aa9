"""Crops: which box of a picture is cut (`BoxPolicy`), and how image and points get into the crop (`FaceCrop`).

This is the only cropping code of the project. Pixel centres lie at integers, so an image of width W covers
[-0.5, W - 0.5]. *Unit* coordinates span [-0.5, 0.5] over a crop, whatever its size in pixels; networks read and write
them. A box is x, y, width, height; a *turned* box has a fifth number, by how much it is turned about its own centre:
radians, clockwise as seen on the screen.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from kdloss.errors import ConfigError

_MARGIN = 2  # interpolation reads this many pixels around what a crop shows


@dataclass(frozen=True)
class BoxPolicy:
    """Decides which box of a face is cut: ``--box``, written ``gt:1.25``, ``dataset:1.1`` or ``paper``."""

    source: str = "gt"  # "gt": the bounding box of the landmarks; "dataset": the box that the data set ships
    scale: float = 1.25  # the sides of the box are multiplied by this
    margin: float = 0.0  # pixels of the source image added on each side (the paper adds 10)
    square: bool = True  # extends the shorter side to the longer; False stretches the box to the square crop

    @classmethod
    def parse(cls, text):
        """Reads ``gt:1.25``, ``dataset:1.0`` or ``paper`` (KD-Loss: gt box + 10 px, stretched to a square).

        Raises a `ConfigError` for anything else.
        """
        if text == "paper":
            return cls("gt", 1.0, 10.0, False)
        source, _, scale = text.partition(":")
        try:
            factor = float(scale or 1.25)
        except ValueError:
            factor = -1.0
        if source not in ("gt", "dataset") or not 0.1 < factor < 10:
            raise ConfigError(f"--box {text}: expected gt:SCALE, dataset:SCALE (scale 0.1 to 10) or paper")
        return cls(source, factor)

    def __str__(self):
        return f"{self.source}:{self.scale:g}" if self.square else "paper"

    def grow(self, box):
        """Boxes (..., 4) or turned boxes (..., 5), as the source gives them -> the boxes to cut."""
        box = np.asarray(box, np.float64)
        sides, turn = box[..., 2:4], box[..., 4:]
        centre = box[..., :2] + sides / 2
        if self.square:
            sides = np.repeat(sides.max(axis=-1, keepdims=True), 2, axis=-1)
        sides = np.maximum(sides * self.scale + 2 * self.margin, 1e-3)
        return np.concatenate([centre - sides / 2, sides, turn], axis=-1)


@dataclass(frozen=True)
class FaceCrop:
    """A (2, 3) transform from image pixels to the pixels of a ``size`` x ``size`` crop."""

    matrix: np.ndarray
    size: int

    @classmethod
    def from_box(cls, box, size, *, rotation=0.0, scale=1.0, shift=(0.0, 0.0), mirror=False):
        """The crop of a box, as it is or varied.

        Args:
            box: a box or a turned box; its edges land on the edges of the crop.
            size: side of the crop, pixels.
            rotation: radians, clockwise as seen on the screen; the face turns by this much.
            scale: the face appears this much larger.
            shift: the face moves by this share of the crop's side, right and down.
            mirror: flips the crop left to right, last of all. Its points then need the scheme's mirror permutation.
        """
        x, y, width, height, *turn = (float(value) for value in box)
        cos, sin = math.cos(rotation) * scale, math.sin(rotation) * scale
        # The box is stretched first, to unit coordinates, and then turned. Written out in numbers, because products of
        # matrices take ten times the time.
        left, top = -x / width - 0.5, -y / height - 0.5
        across = (cos / width, -sin / height, cos * left - sin * top + shift[0])
        down = (sin / width, cos / height, sin * left + cos * top + shift[1])
        if mirror:
            across = tuple(-value for value in across)
        middle = size / 2 - 0.5
        matrix = np.array([[size * row[0], size * row[1], size * row[2] + middle] for row in (across, down)])
        if any(turn):
            matrix = compose(matrix, turning(-turn[0], (x + width / 2, y + height / 2)))
        return cls(matrix, size)

    def image(self, image, out=None):
        """Cuts the crop (size, size, 3) out of a uint8 RGB image (H, W, 3), into ``out`` if given; 0 outside."""
        out = np.empty((self.size, self.size, 3), np.uint8) if out is None else out
        if self.divisor == 1:
            return _warp(image, self, out)
        small = shrunk(image, self.divisor)
        sx, sy = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
        from_small = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2]])
        return _warp(small, FaceCrop(compose(self.matrix, from_small), self.size), out)

    def sampled(self, height, width):
        """Two slices: the rows and columns of an image (H, W) that contain every pixel that `image` reads."""
        if self.zoom < 0.5:
            return slice(0, height), slice(0, width)
        (a, b, c), (d, e, f) = self.matrix.tolist()
        determinant, middle = a * e - b * d, (self.size - 1) / 2
        x, y = (e * (middle - c) - b * (middle - f)) / determinant, (a * (middle - f) - d * (middle - c)) / determinant
        reach_x = middle * (abs(b) + abs(e)) / abs(determinant) + _MARGIN
        reach_y = middle * (abs(a) + abs(d)) / abs(determinant) + _MARGIN
        return _part(y - reach_y, y + reach_y, height), _part(x - reach_x, x + reach_x, width)

    @property
    def divisor(self):
        """The number by which `image` divides the sides of a picture before it samples, see `divisor_of`."""
        return divisor_of(self.zoom)

    @property
    def zoom(self):
        """Crop pixels per image pixel (geometric mean of both axes)."""
        (a, b, _), (c, d, _) = self.matrix.tolist()
        return math.sqrt(abs(a * d - b * c))

    def points(self, points):
        """Image points (..., 2) -> crop pixels."""
        return transform_points(self.matrix, points)

    def unit_points(self, points):
        """Image points (..., 2) -> unit coordinates of the crop."""
        return to_unit(self.points(points), self.size)

    def inverse_points(self, points):
        """Crop pixels (..., 2) -> image points."""
        return transform_points(invert(self.matrix), points)

    def inverse_unit(self, unit):
        """Unit coordinates (..., 2) -> image points."""
        return self.inverse_points(from_unit(unit, self.size))


def divisor_of(zoom):
    """Below a zoom of a half, bilinear sampling would skip pixels: pictures are first averaged, and this much smaller.

    1 from a half on.
    """
    return 1 if zoom >= 0.5 else int(1 / zoom)


def shrunk(image, divisor):
    """An image (H, W, 3) uint8 with its sides divided by a whole number; each pixel is an average of its area."""
    height, width = (max(1, side // divisor) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def to_unit(points, size):
    """Crop pixels (..., 2) -> unit coordinates; ``size`` is the side of the crop in pixels."""
    return (points + 0.5) / size - 0.5


def from_unit(unit, size):
    """Unit coordinates (..., 2) -> crop pixels. Inverse of `to_unit`."""
    return (unit + 0.5) * size - 0.5


def transform_points(matrix, points):
    """Applies a (2, 3) affine matrix to points (..., 2)."""
    matrix = np.asarray(matrix)
    return points @ matrix[:, :2].T + matrix[:, 2]


def transform_each(matrices, points):
    """Applies each of n affine matrices (n, 2, 3) to its own points (n, N, 2); bit-identical to `transform_points`."""
    return points @ np.swapaxes(matrices[:, :, :2], 1, 2) + matrices[:, None, :, 2]


def invert(matrix):
    """The inverse of a (..., 2, 3) affine matrix, as (..., 2, 3)."""
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], axis=-1)


def compose(outer, inner):
    """The (2, 3) matrix of ``outer`` after ``inner``."""
    return np.concatenate([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]], axis=1)


def turning(angle, centre=(0.0, 0.0)):
    """The (2, 3) matrix that turns points about a centre, by radians, clockwise as seen on the screen."""
    cos, sin = math.cos(angle), math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([linear, centre - linear @ centre])


def landmark_box(points):
    """(..., N, 2) points -> (..., 4) the bounding box x, y, width, height of those that are known, that is not NaN."""
    low, high = np.fmin.reduce(points, axis=-2), np.fmax.reduce(points, axis=-2)
    return np.concatenate([low, high - low], axis=-1)


def turned_landmark_box(points, turn):
    """(N, 2) points -> (5,) the box turned by ``turn`` around them."""
    box = landmark_box(transform_points(turning(-turn), np.asarray(points, np.float64)))
    centre = transform_points(turning(turn), box[:2] + box[2:] / 2)
    return np.array([*(centre - box[2:] / 2), *box[2:], turn])


def box_iou(a, b):
    """Intersection over union of boxes (..., 4), or of turned boxes as if they were not turned; shapes broadcast ->
    (...) float64, 0 to 1."""
    a, b = np.asarray(a, np.float64)[..., :4], np.asarray(b, np.float64)[..., :4]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    return shared / (np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - shared)


def mirror_points(points, width, permutation):
    """Points (..., N, 2) of an image of ``width`` pixels after the image is mirrored."""
    flipped = np.stack([width - 1 - points[..., 0], points[..., 1]], axis=-1)
    return flipped[..., permutation, :]


def _part(first, last, side):
    """A slice of the pixels from ``first`` to ``last``, cut to an image with ``side`` pixels."""
    return slice(min(max(int(first), 0), side), min(max(int(last) + 1, 0), side))


def _warp(image, crop, out):
    # OpenCV samples four channels almost twice as fast as three, to the same values.
    seen = crop.sampled(*image.shape[:2])
    if not image[seen].size:
        out[:] = 0
        return out
    four = np.empty((*image.shape[:2], 4), np.uint8)
    cv2.cvtColor(image[seen], cv2.COLOR_RGB2RGBA, dst=four[seen])
    sampled = cv2.warpAffine(four, crop.matrix, (crop.size, crop.size), flags=cv2.INTER_LINEAR)
    return cv2.cvtColor(sampled, cv2.COLOR_RGBA2RGB, dst=out)
