"""A picture to draw on with sub-pixel precision, its random background, and what a camera makes of it."""

import contextlib

import cv2
import numpy as np

from data_prep.face_shape import unit_circle

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


def fixed_point(points, factor):
    """Picture pixels (..., 2) -> OpenCV's fixed-point coordinates on a grid ``factor`` times as fine."""
    fine = (np.asarray(points, np.float64) + 0.5) * factor - 0.5
    return np.round(fine * (1 << _SHIFT)).astype(np.int32)


def fill(image, outline, value, factor):
    """Fills an outline (M, 2), in picture pixels, on an image ``factor`` times as fine."""
    cv2.fillPoly(image, [fixed_point(outline, factor)], value, cv2.LINE_AA, _SHIFT)


class Canvas:
    """Draws in pixels of the final picture, pixel centres at integers, on a grid twice as fine.

    Args:
        height, width: of the final picture.
        unit: pixels of the picture, in which widths of lines are given.
    """

    def __init__(self, height, width, unit):
        self.height, self.width, self.unit = height, width, unit
        self.fine = np.zeros((height * 2, width * 2, 3), np.uint8)
        self.covered = np.zeros((height, width), np.uint8)

    def fill(self, outline, colour, hides=False):
        """Fills a closed outline (M, 2); ``colour``: RGB, 0 to 255; ``hides``: points behind it count as occluded."""
        fill(self.fine, outline, colour, 2)
        if hides:
            fill(self.covered, outline, 255, 1)

    def line(self, points, colour, width, closed=False):
        """A polyline (M, 2)."""
        width = max(1, round(width * self.unit * 2))
        cv2.polylines(self.fine, [fixed_point(points, 2)], closed, colour, width, cv2.LINE_AA, _SHIFT)

    @contextlib.contextmanager
    def inside(self, outline):
        """Keeps what is painted meanwhile only within an outline (M, 2)."""
        before, mask = self.fine.copy(), np.zeros(self.fine.shape[:2], np.uint8)
        yield
        cv2.fillPoly(mask, [fixed_point(outline, 2)], 255, shift=_SHIFT)
        self.fine = cv2.copyTo(self.fine, mask, before)

    def shade(self, gain):
        """Multiplies the picture by a coarse map of factors (h, w), smoothly enlarged."""
        fine = cv2.resize(np.round(np.clip(gain, 0, 2) * 127.5).astype(np.uint8), self.fine.shape[1::-1])
        cv2.multiply(self.fine, cv2.cvtColor(fine, cv2.COLOR_GRAY2RGB), dst=self.fine, scale=1 / 127.5)

    def hidden(self, points):
        """(N,) bool: which points (N, 2) lie behind something that hides. Points outside the picture do not."""
        return cv2.remap(self.covered, points[:, None].astype(np.float32), None, cv2.INTER_NEAREST)[:, 0] > 127


def ellipse(centre, radii, angle=0.0, corners=28):
    """(corners, 2) points of an ellipse; ``angle`` in degrees, clockwise."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return unit_circle(corners) * radii @ np.array([[cos, sin], [-sin, cos]]) + centre


def random_colour(rng, *shape):
    """Colours (*shape, 3), grey ones more often than vivid ones."""
    grey, vivid = rng.uniform(20, 235, (*shape, 1)), rng.uniform(20, 235, (*shape, 3))
    return grey + (vivid - grey) * rng.beta(1, 1.5, (*shape, 1))


def paint_background(canvas, rng):
    """A gradient, shapes at random and soft texture."""
    shorter = min(canvas.height, canvas.width)
    canvas.fine = cv2.resize(random_colour(rng, 2, 2).astype(np.uint8), canvas.fine.shape[1::-1])
    for _ in range(int(rng.integers(0, 11))):
        centre, radii = rng.uniform((0, 0), (canvas.width, canvas.height)), rng.uniform(0.03, 0.4, 2) * shorter
        outline = ellipse(centre, radii, rng.uniform(0, 180), int(rng.choice([3, 4, 5, 28])))
        canvas.fill(outline, random_colour(rng))
    canvas.shade(rng.normal(1, rng.uniform(0.02, 0.2), (24, 24)))
    if rng.random() < 0.6:
        canvas.fine = cv2.blur(canvas.fine, (int(rng.uniform(1, 6) * shorter / 200 * 2) * 2 + 1,) * 2)


def photograph(canvas, p, rng):
    """The finished picture (H, W, 3) uint8 RGB: exposure, white balance, blur and noise of a camera."""
    image = cv2.resize(canvas.fine, (canvas.width, canvas.height), interpolation=cv2.INTER_AREA)
    gains = p.exposure * (1 + 0.10 * p.warmth * np.array([1, 0.1, -1], np.float32))
    level = np.minimum(np.arange(256, dtype=np.float32)[:, None] / 255 * gains, 1)
    image = cv2.LUT(image, np.round(255 * level**0.95).astype(np.uint8)[:, None])
    if p.blur:
        image = cv2.GaussianBlur(image, (0, 0), p.blur * min(canvas.height, canvas.width) / 200)
    if p.noise:
        grain = rng.standard_normal(image.shape, dtype=np.float32) * p.noise
        image = cv2.add(image, grain, dtype=cv2.CV_8U)
    return image
