"""The geometry of a synthetic face: a 3-D head with 98 named points, turned and projected.

Head frame: x to the right of the picture, y down, z towards the viewer; the unit is the mean distance of the outer
eye corners, the origin lies between the eyes. Proportions are the usual ones of a drawing manual, rounded.
"""

import functools
from dataclasses import dataclass

import numpy as np

from data_prep.canvas import unit_circle
from kdloss.schemes import SCHEMES

# The head turns about this point, between the ears.
PIVOT = np.array([0.0, 0.35, -0.5])
# Depth of the middle of the face, without its nose: cheeks and brow curve from here to the contour.
MIDDLE_DEPTH = 0.10
SIDES = {"right": -1.0, "left": 1.0}


@functools.cache
def _spline_basis(count, samples, closed):
    """(M, count) weights of a Catmull-Rom spline through ``count`` points, ``samples`` points a segment."""
    t = np.arange(samples) / samples
    powers = np.stack([t**0, t, t**2, t**3], axis=-1)
    rows = powers @ (np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2)
    segments = count if closed else count - 1
    basis = np.zeros((segments * samples + (not closed), count))
    for segment in range(segments):
        for k in range(4):
            i = segment + k - 1
            block = basis[segment * samples : (segment + 1) * samples]
            if closed or 0 <= i < count:
                block[:, i % count] += rows[:, k]
            else:  # beyond an end: the curve goes on straight
                end, inner = (0, 1) if i < 0 else (count - 1, count - 2)
                block[:, end] += 2 * rows[:, k]
                block[:, inner] -= rows[:, k]
    if not closed:
        basis[-1, -1] = 1
    return basis


def spline(points, samples=6, closed=False):
    """A smooth curve (M, D) through points (N, D), every one of which lies on it."""
    return _spline_basis(len(points), samples, closed) @ points


@dataclass(frozen=True)
class Projection:
    """Scaled orthographic (weak perspective) projection of the head frame into the picture.

    Args:
        yaw, pitch, roll: degrees; positive turns to the right of the picture, up, and clockwise.
        scale: pixels a unit.
        origin: (2,) pixels of the pivot.
    """

    yaw: float
    pitch: float
    roll: float
    scale: float = 1.0
    origin: tuple[float, float] = (0.0, 0.0)

    @functools.cached_property
    def rotation(self):
        """(3, 3), head frame -> picture frame."""
        (cy, cp, cr), (sy, sp, sr) = ((f(np.radians([self.yaw, self.pitch, self.roll]))) for f in (np.cos, np.sin))
        yaw = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
        roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        return roll @ pitch @ yaw

    def __call__(self, points):
        """(..., 3) head frame -> (..., 2) pixels."""
        return (points - PIVOT) @ self.rotation[:2].T * self.scale + self.origin

    def silhouette(self, contour, side):
        """Moves contour points (N, 3) of one side of the face to the outline that the viewer sees.

        On the side that turns away the cheek hides the jaw, and annotators mark the visible outline. A slice of the
        face at one height is taken as a quarter of an ellipse from the contour to the middle; its outermost
        point has a closed form.
        """
        away = side * np.sin(np.radians(self.yaw))
        if away <= 0:
            return contour
        half_width, depth = np.abs(contour[:, 0]), np.maximum(MIDDLE_DEPTH - contour[:, 2], 0)
        angle = np.arctan2(half_width * np.cos(np.radians(self.yaw)) + 1e-9, depth * away)
        return np.stack(
            [side * half_width * np.sin(angle), contour[:, 1], contour[:, 2] + depth * np.cos(angle)], axis=-1
        )


@dataclass(frozen=True)
class HeadShape:
    """A head in its own frame. ``named``: name -> (3,) for all of the 98 points but the jaw's.

    ``jaw`` and ``hairline`` hold a side's contour, (N, 3) each: ear to chin, and ear to the middle of the forehead.
    """

    named: dict
    jaw: dict
    hairline: dict
    skull_centre: np.ndarray
    skull_radii: np.ndarray

    def project(self, projection):
        """(98, 2) float64 pixels in the order of scheme 98."""
        positions = dict(zip(self.named, projection(np.stack(list(self.named.values()))), strict=True))
        for side, sign in SIDES.items():
            outline = projection(projection.silhouette(spline(self.jaw[side], 12), sign))
            even = _evenly(outline, 17)
            positions |= {f"{side}_jaw_{i}": even[i] for i in range(16)}
            positions["chin"] = even[16]
        return np.stack([positions[name] for name in SCHEMES["98"].names])

    def face_outline(self, projection, points98):
        """(M, 2): the jaw through its 33 points and the hairline above it, closed."""
        left, right = (
            projection(projection.silhouette(spline(self.hairline[side], 4), SIDES[side])) for side in ("left", "right")
        )
        return np.concatenate([spline(points98[:33], 3), left[1:], right[:0:-1]])

    def skull_outline(self, projection, growth=1.0):
        """(48, 2): the outline of the skull's ellipsoid, ``growth`` times as large."""
        half = projection.rotation[:2] * (self.skull_radii * growth * projection.scale)
        values, vectors = np.linalg.eigh(half @ half.T)
        return (unit_circle(48) * np.sqrt(values)) @ vectors.T + projection(self.skull_centre)


def _evenly(curve, count):
    """``count`` points (count, D) at even distances along a curve (M, D)."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=-1))])
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, axis) for axis in curve.T], axis=-1)


def build_head(p):
    """The head of one person with one expression.

    Args:
        p: `FaceParameters`; its sizes are factors of the average, its expressions run from 0 (none) to 1.
    """
    named = {}
    for side, sign in SIDES.items():
        own = _brow(p, side) | _eye(p, side) | _nose_side(p) | _mouth_side(p, side)
        named |= {f"{side}_{name}": np.array(point) * (sign, 1, 1) for name, point in own.items()}
    named |= {name: np.array(point) for name, point in _midline(p).items()}
    jaw = np.array(
        [
            (0.77, -0.03, -0.60),
            (0.755, 0.27, -0.55),
            (0.70 * (0.6 + 0.4 * p.jaw_width), 0.62, -0.42),
            (0.53 * p.jaw_width, 0.97, -0.23),
            (0.28 * p.jaw_width, 1.21, -0.05),
            (0.10 * p.jaw_width, 1.28, 0.03),
            (0.0, 1.29, MIDDLE_DEPTH),
        ]
    )
    # The chin falls with the lower lip; the ear does not move.
    fall = 0.75 * _gap(p)
    share = np.clip(jaw[:, 1] / 1.29, 0, 1) ** 2
    jaw = jaw * (p.face_width, 1, 1) + share[:, None] * (0, fall + 0.3 * (p.face_length - 1) * 1.29, 0)
    hairline = np.array(
        [
            (0.77, -0.03, -0.60),
            (0.76, -0.25, -0.46),
            (0.67, -0.50 * p.forehead, -0.27),
            (0.38, -0.69 * p.forehead, -0.03),
            (0.0, -0.73 * p.forehead, MIDDLE_DEPTH),
        ]
    ) * (p.face_width, 1, 1)
    return HeadShape(
        named=named,
        jaw={side: jaw * (sign, 1, 1) for side, sign in SIDES.items()},
        hairline={side: hairline * (sign, 1, 1) for side, sign in SIDES.items()},
        skull_centre=np.array([0.0, -0.30, -0.85]),
        skull_radii=np.array([0.80 * p.face_width, 0.88, 0.95]),
    )


def _eye_centre(p):
    return 0.35 * p.eye_spacing


def _brow(p, side):
    lift = (p.right_brow_raise if side == "right" else p.left_brow_raise) * 0.13
    along = np.array([0.0, 0.25, 0.5, 0.75, 1.0])  # 0 outer end, 1 inner end
    x = 0.60 - 0.44 * along + (_eye_centre(p) - 0.35) - 0.04 * p.frown * along
    x *= 1 + 0.05 * (p.face_width - 1)
    middle = -0.19 * p.brow_height - lift * (0.6 + 0.4 * along) + 0.07 * p.frown * along**2
    middle += 0.05 * p.brow_slant * (along - 0.5) + np.array([0.05, -0.01, -0.02, -0.01, 0.015]) * p.brow_arch
    half = 0.042 * p.brow_thickness * np.array([0.0, 0.85, 1.0, 1.0, 0.85])
    depth = np.array([-0.18, -0.04, 0.03, 0.07, 0.09])
    upper = {f"brow_upper_{i}": (x[i], middle[i] - half[i], depth[i]) for i in range(5)}
    lower = {f"brow_lower_{4 - i}": (x[i], middle[i] + half[i], depth[i]) for i in range(1, 5)}
    return upper | lower


def _eye(p, side):
    closure = p.right_eye_closure if side == "right" else p.left_eye_closure
    centre, half = _eye_centre(p), 0.15 * p.eye_width
    above, below = 0.066 * p.eye_height, 0.042 * p.eye_height * (1 - 0.3 * p.smile)
    top = (1 - closure) * -above + closure * below * 0.95
    u = np.array([-0.5, 0.0, 0.5])  # towards the outer corner is positive
    arch = 1 - np.abs(u) ** 2.2
    tilt = -0.02 * p.eye_slant
    points = {
        "eye_outer": (centre + half, tilt, -0.10),
        "eye_inner": (centre - half, 0.008 - tilt, 0.0),
    }
    for k, i in ((2, 0), (1, 1), (0, 2)):  # upper_0 is next to the outer corner
        x, z = centre + half * u[i], 0.0 - 0.06 * (u[i] + 0.3) ** 2
        points[f"eye_upper_{k}"] = (x, tilt * u[i] + top * arch[i], z)
        points[f"eye_lower_{k}"] = (x, tilt * u[i] + below * arch[i], z)
    look = p.gaze_x * (1 if side == "left" else -1)
    lid = (top + below) / 2
    open_y = -0.010 * p.eye_height + 0.022 * p.gaze_y
    points["pupil"] = (centre + 0.06 * look, (1 - closure) * open_y + closure * lid, 0.0)
    return points


def _nose_y(p):
    return 0.44 * p.nose_length


def _nose_side(p):
    y, width = _nose_y(p), p.nose_width * (1 + 0.10 * max(p.smile, 0))
    return {"nostril_0": (0.175 * width, y + 0.05, 0.08), "nostril_1": (0.09 * width, y + 0.085, 0.14)}


def _gap(p):
    return 0.30 * p.mouth_open


def _mouth_y(p):
    return _nose_y(p) + 0.31 * p.mouth_drop


def _mouth_side(p, side):
    smile = p.smile + (0.5 if side == "left" else -0.5) * p.smile_skew
    half = 0.28 * p.mouth_width * (1 + 0.22 * max(smile, 0) - 0.30 * p.pucker)
    shapes = {  # name: (u, lip above the line, lip below, how far it follows the upper and the lower jaw)
        "mouth_corner": (1.0, 0.0, 0.0, 0.0, 0.35),
        "upper_lip_0": (0.62, 0.78, 0.0, 0.12, 0.0),
        "upper_lip_1": (0.20, 1.03, 0.0, 0.15, 0.0),
        "lower_lip_0": (0.74, 0.0, 0.58, 0.0, 0.68),
        "lower_lip_1": (0.38, 0.0, 0.93, 0.0, 0.84),
        "inner_corner": (0.92, 0.0, 0.0, 0.0, 0.35),
        "inner_upper_lip": (0.48, 0.06, 0.0, 0.12, 0.0),
        "inner_lower_lip": (0.48, 0.0, 0.06, 0.0, 0.78),
    }
    return {name: _lip_point(p, shape, half, smile) for name, shape in shapes.items()}


def _lip_point(p, shape, half, smile):
    u, above, below, with_upper, with_lower = shape
    thin = 1 - 0.3 * max(smile, 0) + 0.25 * p.pucker
    y = _mouth_y(p) - 0.11 * smile * u**1.7
    y += (0.095 * p.lower_lip * below - 0.072 * p.upper_lip * above) * thin + (with_lower - with_upper) * _gap(p)
    return half * u, y, 0.15 - 0.15 * u**2


def _midline(p):
    y = _nose_y(p)
    bridge = {
        f"nose_bridge_{i}": (0.0, -0.02 + (y + 0.02) * i / 3, 0.09 + (0.28 * p.nose_height - 0.02) * (i / 3) ** 1.3)
        for i in range(4)
    }
    lips = {
        "upper_lip": (0.0, 0.97, 0.0, 0.15, 0.0),
        "inner_upper_lip": (0.0, 0.06, 0.0, 0.14, 0.0),
        "inner_lower_lip": (0.0, 0.0, 0.06, 0.0, 0.90),
        "lower_lip": (0.0, 0.0, 1.0, 0.0, 0.92),
    }
    mouth = {name: _lip_point(p, shape, 0.0, p.smile) for name, shape in lips.items()}
    return bridge | mouth | {"nose_base": (0.0, y + 0.095, 0.17)}
