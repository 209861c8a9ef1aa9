"""Crops: from a box to a transform, applied to image and points alike. The only cropping code of the project.

Pixel centres lie at integers, so an image of width W covers [-0.5, W - 0.5]. *Unit* coordinates are those of a
crop scaled to [-0.5, 0.5]; networks read and write them, whatever the size of the crop in pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from kdloss.errors import ConfigError


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
    """Applies the (n, 2, 3) affine matrices to points (n, N, 2), each to its own; as `transform_points` to the bit."""
    return points @ np.swapaxes(matrices[:, :, :2], 1, 2) + matrices[:, None, :, 2]


def invert(matrix):
    """The inverse of a (..., 2, 3) affine matrix, as (..., 2, 3)."""
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -linear @ matrix[..., 2:]], axis=-1)


def compose(outer, inner):
    """The (2, 3) matrix of ``outer`` after ``inner``."""
    return np.concatenate([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2:] + outer[:, 2:]], axis=1)


def landmark_box(points):
    """(..., N, 2) points -> (..., 4) box x, y, width, height that just holds them."""
    low, high = np.min(points, axis=-2), np.max(points, axis=-2)
    return np.concatenate([low, high - low], axis=-1)


def mirror_points(points, width, permutation):
    """Points (..., N, 2) of an image of ``width`` pixels after the image is mirrored."""
    flipped = np.stack([width - 1 - points[..., 0], points[..., 1]], axis=-1)
    return flipped[..., permutation, :]


@dataclass(frozen=True)
class BoxPolicy:
    """Which box a crop is cut from, and how it grows. Written ``gt:1.25``, ``dataset:1.1`` or ``paper``.

    Args:
        source: ``gt`` (around the landmarks) or ``dataset`` (the box the data set ships).
        scale: the box's sides are multiplied by this.
        margin: pixels of the source image added on each side (the paper's +10).
        square: widen the shorter side to the longer (aspect kept), or stretch the box as it is.
    """

    source: str = "gt"
    scale: float = 1.25
    margin: float = 0.0
    square: bool = True

    @classmethod
    def parse(cls, text):
        """Reads ``gt:1.25``, ``dataset:1.0`` or ``paper`` (KD-Loss: gt box + 10 px, stretched to a square)."""
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
        """Boxes (..., 4) of x, y, width, height -> the boxes to cut."""
        box = np.asarray(box, np.float64)
        centre = box[..., :2] + box[..., 2:] / 2
        sides = box[..., 2:]
        if self.square:
            sides = np.repeat(sides.max(axis=-1, keepdims=True), 2, axis=-1)
        sides = np.maximum(sides * self.scale + 2 * self.margin, 1e-3)
        return np.concatenate([centre - sides / 2, sides], axis=-1)


@dataclass(frozen=True)
class FaceCrop:
    """A (2, 3) transform from image pixels to the pixels of a ``size`` x ``size`` crop."""

    matrix: np.ndarray
    size: int

    @classmethod
    def from_box(cls, box, size, *, rotation=0.0, scale=1.0, shift=(0.0, 0.0), mirror=False):
        """The crop of a box, as it is or varied.

        Args:
            box: x, y, width, height; its edges land on the edges of the crop.
            size: side of the crop, pixels.
            rotation: radians, clockwise as seen on the screen; the face turns by this much.
            scale: the face appears this much larger.
            shift: the face moves by this share of the crop's side, right and down.
            mirror: flips the crop left to right, after all else. Points then need their permutation.
        """
        x, y, width, height = (float(value) for value in box)
        cos, sin = np.cos(rotation) * scale, np.sin(rotation) * scale
        # Unit coordinates of the box first, so that a stretched box is turned after it is stretched.
        to_box = np.array([[1 / width, 0, -x / width - 0.5], [0, 1 / height, -y / height - 0.5]])
        turn = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])
        flip = np.array([[-1.0 if mirror else 1.0, 0, 0], [0, 1.0, 0]])
        to_pixels = np.array([[size, 0, size / 2 - 0.5], [0, size, size / 2 - 0.5]])
        return cls(compose(to_pixels, compose(flip, compose(turn, to_box))), size)

    def image(self, image):
        """Cuts the crop (size, size, 3) out of an image (H, W, 3); zero outside the image."""
        if self.zoom >= 0.5:
            return cv2.warpAffine(image, self.matrix, (self.size, self.size), flags=cv2.INTER_LINEAR)
        # Below a half bilinear sampling skips pixels: average first, then sample the smaller image.
        factor = int(1 / self.zoom)
        height, width = (max(1, side // factor) for side in image.shape[:2])
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        sx, sy = image.shape[1] / width, image.shape[0] / height
        from_small = np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2]])
        matrix = compose(self.matrix, from_small)
        return cv2.warpAffine(small, matrix, (self.size, self.size), flags=cv2.INTER_LINEAR)

    @property
    def zoom(self):
        """Crop pixels per image pixel (geometric mean of both axes)."""
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))

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
