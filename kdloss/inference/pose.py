"""Head pose: yaw, pitch and roll of a face, from its landmarks and those of a 3-D head.

The head is fitted in weak perspective: the affine map that takes its points nearest to the landmarks (least squares),
and then the rotation nearest to that map. It needs no camera, and no first guess. Points that hardly move with the
expression take part: corners of the eyes, nose, corners of the mouth.
"""

from typing import NamedTuple

import numpy as np

# Name -> x to the right of the picture, y down, z towards the viewer, from between the eyes. The unit is the distance
# of the outer eye corners. The head is that of `data_prep.face_shape`: the proportions of a drawing manual, rounded.
_MIDDLE = {
    "nose_bridge_0": (0.0, -0.02, 0.09),
    "nose_bridge_1": (0.0, 0.133, 0.152),
    "nose_bridge_2": (0.0, 0.287, 0.243),
    "nose_bridge_3": (0.0, 0.44, 0.35),
    "nose_tip": (0.0, 0.44, 0.35),
    "nose_base": (0.0, 0.535, 0.17),
}
_LEFT = {
    "eye_outer": (0.5, 0.0, -0.1),
    "eye_inner": (0.2, 0.008, 0.0),
    "nostril_0": (0.178, 0.49, 0.08),
    "nostril_1": (0.091, 0.525, 0.14),
    "mouth_corner": (0.289, 0.739, 0.0),
}
HEAD = _MIDDLE | {f"left_{name}": point for name, point in _LEFT.items()}
HEAD |= {f"right_{name}": (-x, y, z) for name, (x, y, z) in _LEFT.items()}
_FEWEST = 4  # points that do not lie in one plane


class Pose(NamedTuple):
    """Angles of a head in degrees: yaw to the right of the picture, pitch up, roll clockwise; 0 looks at the viewer."""

    yaw: float
    pitch: float
    roll: float


class PoseEstimator:
    """Estimates the pose of faces.

    Args:
        scheme: the `LandmarkScheme` of the landmarks.
        head: name of point -> (x, y, z), see `HEAD`, which is the default. Points of other names take no part.

    Attributes:
        possible: whether enough points of the scheme have a place on the head.
    """

    def __init__(self, scheme, head=HEAD):
        self._indices = [i for i, name in enumerate(scheme.names) if name in head]
        model = np.array([head[scheme.names[i]] for i in self._indices]).reshape(-1, 3)
        self._model = model - model.mean(axis=0) if len(model) else model
        self.possible = len(model) >= _FEWEST and np.linalg.matrix_rank(self._model, tol=1e-3) == 3

    def __call__(self, landmarks):
        """The `Pose` of landmarks (N, 2), pixels of a picture; None where it is not `possible`, or they coincide."""
        if not self.possible:
            return None
        points = np.asarray(landmarks, np.float64)[self._indices]
        affine = np.linalg.lstsq(self._model, points - points.mean(axis=0))[0].T  # (2, 3)
        left, sizes, right = np.linalg.svd(affine, full_matrices=False)
        if not sizes[1] > 1e-9:
            return None
        across, down = left @ right
        towards = np.cross(across, down)
        # The rows of roll about z, after pitch about x, after yaw about y.
        roll, pitch = np.arctan2(-across[1], down[1]), np.arcsin(np.clip(towards[1], -1, 1))
        yaw = np.arctan2(-towards[0], towards[2])
        return Pose(*np.degrees([yaw, pitch, roll]).tolist())
