"""Aligned faces: cut upright, with eyes and mouth at fixed places, as face recognition wants them.

The layout is that of ArcFace (Deng et al., CVPR 2019), without the nose: four places in a crop of 112 pixels, enlarged
with the crop. The similarity that takes the face's own four points nearest to them (least squares) cuts it.
"""

import numpy as np

from asm.procrustes import ShapeError, fit_similarity
from kdloss.data.geometry import FaceCrop, from_unit, to_unit
from kdloss.errors import ConfigError

_SIDE = 112
# Middles of the eyes and corners of the mouth, left and right as the picture shows them.
LAYOUT = np.array([(38.2946, 51.6963), (73.5318, 51.5014), (41.5493, 92.3655), (70.7299, 92.2041)])
SMALLEST, LARGEST = 16, 2048  # pixels, sides of a crop


class Aligner:
    """Cuts faces of a `LandmarkScheme` into crops of ``size`` pixels.

    Raises:
        ConfigError: another size than `SMALLEST` to `LARGEST`, or a scheme that names no eyes or corners of the mouth.
    """

    def __init__(self, scheme, size):
        if not SMALLEST <= size <= LARGEST:
            raise ConfigError(f"--crops {size}: expected {SMALLEST} to {LARGEST} pixels")
        stems = ("right_eye_", "left_eye_", "right_mouth_corner", "left_mouth_corner")
        self._points = [[i for i, name in enumerate(scheme.names) if name.startswith(stem)] for stem in stems]
        self._size, self._layout = size, from_unit(to_unit(LAYOUT, _SIDE), size)
        if not all(self._points):
            missing = ", ".join(stem for stem, points in zip(stems, self._points, strict=True) if not points)
            expected = "a model of 29, 68 or 98 points, or points with these names"
            raise ConfigError(f"--crops: scheme {scheme.name} has no points {missing}: expected {expected}")

    def crop(self, landmarks):
        """The `FaceCrop` of landmarks (N, 2), pixels; None if their eyes and mouth coincide."""
        own = np.array([landmarks[points].mean(axis=0) for points in self._points])
        try:
            fit = fit_similarity(own, self._layout)
        except ShapeError:
            return None
        cos, sin = fit.factor.real, fit.factor.imag
        return FaceCrop(np.array([[cos, -sin, fit.shift.real], [sin, cos, fit.shift.imag]]), self._size)
