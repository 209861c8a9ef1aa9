"""A picture to draw on with sub-pixel precision: anti-aliased shapes on a grid twice as fine as the result."""

import functools
import math

import cv2
import numpy as np

SUPERSAMPLING = 2
_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


def fixed_point(points, factor):
    """Picture pixels (..., 2) -> OpenCV's fixed-point coordinates on a grid ``factor`` times as fine."""
    fine = (np.asarray(points, np.float64) + 0.5) * factor - 0.5
    return np.round(fine * (1 << _SHIFT)).astype(np.int32)


class Canvas:
    """Draws in pixels of the final picture, pixel centres at integers.

    Args:
        height, width: of the final picture.
    """

    def __init__(self, height, width):
        self.height, self.width = height, width
        self.fine = np.zeros((height * SUPERSAMPLING, width * SUPERSAMPLING, 3), np.uint8)
        self.covered = np.zeros((height, width), np.uint8)

    def fill(self, outline, colour, opacity=1.0):
        """Fills a closed outline (M, 2); ``colour``: RGB, 0 to 255."""
        shape = fixed_point(outline, SUPERSAMPLING)
        colour = _rgb(colour)
        if opacity >= 1:
            cv2.fillPoly(self.fine, [shape], colour, cv2.LINE_AA, _SHIFT)
            return
        self._through(shape, 0, opacity, lambda image, moved: cv2.fillPoly(image, [moved], colour, cv2.LINE_AA, _SHIFT))

    def line(self, points, colour, width, opacity=1.0, closed=False):
        """A polyline (M, 2), ``width`` in picture pixels."""
        shape, colour = fixed_point(points, SUPERSAMPLING), _rgb(colour)
        width = max(1, round(width * SUPERSAMPLING))

        def draw(image, moved):
            cv2.polylines(image, [moved], closed, colour, width, cv2.LINE_AA, _SHIFT)

        if opacity >= 1:
            draw(self.fine, shape)
        else:
            self._through(shape, width, opacity, draw)

    def ellipse(self, centre, radii, colour, angle=0.0, opacity=1.0):
        """A filled ellipse; ``angle`` in degrees, clockwise."""
        self.fill(ellipse_outline(centre, radii, angle), colour, opacity)

    def inside(self, outline, draw):
        """Lets ``draw()`` paint and keeps its work only within the outline (M, 2)."""
        shape = fixed_point(outline, SUPERSAMPLING)
        window = self._window(shape, 2)
        before = self.fine.copy()
        draw()
        painted, self.fine = self.fine[window].astype(np.float32), before
        if painted.size:
            mask = np.zeros(painted.shape[:2], np.uint8)
            cv2.fillPoly(mask, [self._moved(shape, window)], 255, cv2.LINE_AA, _SHIFT)
            weight = cv2.merge([mask] * 3).astype(np.float32) / 255
            before[window] = np.round(before[window] * (1 - weight) + weight * painted).astype(np.uint8)

    def cover(self, outline):
        """Records that an outline (M, 2) hides what lies behind it."""
        cv2.fillPoly(self.covered, [fixed_point(outline, 1)], 255, cv2.LINE_AA, _SHIFT)

    def shade(self, gain):
        """Multiplies the picture by a coarse map of factors (h, w), smoothly enlarged."""
        fine = cv2.resize(np.round(np.clip(gain, 0, 2) * 127.5).astype(np.uint8), self.fine.shape[1::-1])
        cv2.multiply(self.fine, cv2.cvtColor(fine, cv2.COLOR_GRAY2RGB), dst=self.fine, scale=1 / 127.5)

    def picture(self):
        """(height, width, 3) uint8: every pixel the mean of its finer ones."""
        return cv2.resize(self.fine, (self.width, self.height), interpolation=cv2.INTER_AREA)

    def hidden(self, points):
        """(N,) bool: which points (N, 2) lie behind something covered. Points outside the picture are not."""
        x, y = np.round(points).astype(int).T
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        return inside & (self.covered[y.clip(0, self.height - 1), x.clip(0, self.width - 1)] > 127)

    def _through(self, shape, margin, opacity, draw):
        window = self._window(shape, margin + 2)
        before = self.fine[window]
        if not before.size:
            return
        painted = before.copy()
        draw(painted, self._moved(shape, window))
        self.fine[window] = cv2.addWeighted(painted, opacity, before, 1 - opacity, 0)

    def _window(self, shape, margin):
        limit = (self.fine.shape[1], self.fine.shape[0])
        low = ((shape.min(0) >> _SHIFT) - margin).tolist()
        high = ((shape.max(0) >> _SHIFT) + margin + 2).tolist()
        x, y = (slice(*(min(max(end[k], 0), limit[k]) for end in (low, high))) for k in range(2))
        return y, x

    def _moved(self, shape, window):
        return shape - np.array([window[1].start, window[0].start], np.int32) * (1 << _SHIFT)


def ellipse_outline(centre, radii, angle=0.0, count=28):
    """(count, 2) points of an ellipse; ``angle`` in degrees, clockwise."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cos * radii[0], sin * radii[0]], [-sin * radii[1], cos * radii[1]]])
    return unit_circle(count) @ turn + centre


@functools.cache
def unit_circle(count):
    """(count, 2) points of the unit circle, from (1, 0) on clockwise as seen in a picture."""
    t = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(t), np.sin(t)], axis=-1)


def _rgb(colour):
    return tuple(min(max(float(value), 0.0), 255.0) for value in colour)
