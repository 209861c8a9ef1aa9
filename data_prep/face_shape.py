"""The geometry of a synthetic face: a 3-D head with 98 named points, turned and projected.

Head frame: x to the right of the picture, y down, z towards the viewer. The unit is the mean distance between the outer
eye corners, and the origin lies between the eyes. The proportions are those of a drawing manual, rounded.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from kdloss.data.geometry import landmark_box
from kdloss.data.schemes import SCHEMES

# The head turns about this point, between the ears.
PIVOT = np.array([0.0, 0.35, -0.5])
# Depth of the middle of the face without its nose. Cheeks and brow curve from here to the contour.
MIDDLE_DEPTH = 0.10
SKULL_CENTRE = np.array([0.0, -0.30, -0.85])
SIDES = {"right": -1.0, "left": 1.0}
# Points of the lips: distance from the middle (1: the corner), height above the line of the mouth, depth below it, and
# how far the point follows the upper and the lower jaw. Points at distance 0 belong to neither side.
_LIPS = (
    ("mouth_corner", 1.0, 0.0, 0.0, 0.0, 0.35),
    ("upper_lip_0", 0.62, 0.78, 0.0, 0.12, 0.0),
    ("upper_lip_1", 0.20, 1.03, 0.0, 0.15, 0.0),
    ("upper_lip", 0.0, 0.97, 0.0, 0.15, 0.0),
    ("lower_lip_0", 0.74, 0.0, 0.58, 0.0, 0.68),
    ("lower_lip_1", 0.38, 0.0, 0.93, 0.0, 0.84),
    ("lower_lip", 0.0, 0.0, 1.0, 0.0, 0.92),
    ("inner_corner", 0.92, 0.0, 0.0, 0.0, 0.35),
    ("inner_upper_lip", 0.48, 0.06, 0.0, 0.12, 0.0),
    ("inner_upper_lip", 0.0, 0.06, 0.0, 0.14, 0.0),
    ("inner_lower_lip", 0.48, 0.0, 0.06, 0.0, 0.78),
    ("inner_lower_lip", 0.0, 0.0, 0.06, 0.0, 0.90),
)


def spline(points, samples=6, closed=False):
    """A smooth (Catmull-Rom) curve (M, D) through all of the points (N, D)."""
    # The curve continues straight beyond an open end.
    ends = (points[-1:], points[:2]) if closed else (2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1])
    controls = np.concatenate([ends[0], points, ends[1]])
    segments = np.stack([controls[:-3], controls[1:-2], controls[2:-1], controls[3:]], axis=1)
    powers = np.vander(np.arange(samples) / samples, 4, increasing=True)
    weights = powers @ np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    curve = (weights @ segments).reshape(-1, points.shape[1])
    return curve if closed else np.concatenate([curve, points[-1:]])


def interpolate(rows, at, knots):
    """Rows (N, D) that stand at the positions ``knots``, interpolated at a position (D,) or at several (M, D)."""
    return np.stack([np.interp(at, knots, column) for column in np.asarray(rows).T], axis=-1)


def unit_circle(count):
    """(count, 2) points of the unit circle, clockwise in a picture, the first at (1, 0)."""
    t = np.arange(count) * (2 * np.pi / count)
    return np.stack([np.cos(t), np.sin(t)], axis=-1)


class Head:
    """The head of one person with one expression, turned and projected (weak perspective) into a picture.

    Args:
        p: parameters as `data_prep.synthetic.draw_parameters` returns them.
        height, width: size of the picture, pixels.

    Attributes:
        points: (98, 2) float64 pixels in the order of scheme 98.
        outline: (M, 2) pixels, the closed outline of the jaw through its 33 points and of the hairline.
        scale: pixels in one unit of the head frame.
    """

    def __init__(self, p, height, width):
        self.yaw = np.radians(p.yaw)
        self.rotation = Rotation.from_euler("ZXY", [p.roll, p.pitch, p.yaw], degrees=True).as_matrix()
        self.skull_radii = np.array([0.80 * p.face_width, 0.88, 0.95])
        self.scale, self.origin = 1.0, np.zeros(2)
        jaw, hairline = _contours(p)
        points = self._landmarks(p, jaw)
        # The parameters set the place and the size of the landmarks' box.
        x, y, box_width, box_height = landmark_box(points)
        shorter = min(height, width)
        self.scale = p.share * shorter / max(box_width, box_height)
        centre = np.array([width - 1, height - 1]) / 2 + np.array([p.shift_x, p.shift_y]) * shorter
        self.origin = centre - self.scale * np.array([x + box_width / 2, y + box_height / 2])
        self.points = points * self.scale + self.origin
        right, left = (self._visible(spline(hairline * (sign, 1, 1), 4), sign) for sign in SIDES.values())
        self.outline = np.concatenate([spline(self.points[:33], 3), left[1:], right[:0:-1]])

    def project(self, points):
        """Points (..., 3) of the head frame -> pixels (..., 2)."""
        return (points - PIVOT) @ self.rotation[:2].T * self.scale + self.origin

    def skull(self, growth=1.0):
        """(48, 2) pixels: the outline of the skull's ellipsoid, ``growth`` times as large."""
        half = self.rotation[:2] * (self.skull_radii * growth * self.scale)
        values, vectors = np.linalg.eigh(half @ half.T)
        return (unit_circle(48) * np.sqrt(values)) @ vectors.T + self.project(SKULL_CENTRE)

    def _landmarks(self, p, jaw):
        named = _ridge(p) | _lips(p, p.smile, middle=True)
        for side, sign in SIDES.items():
            smile = p.smile + 0.5 * sign * p.smile_skew
            own = _brow(p, side) | _eye(p, side) | _nostril(p) | _lips(p, smile, middle=False)
            named |= {f"{side}_{name}": (sign * x, y, z) for name, (x, y, z) in own.items()}
        placed = dict(zip(named, self.project(np.array(list(named.values()))), strict=True))
        for side, sign in SIDES.items():
            outline = self._visible(spline(jaw * (sign, 1, 1), 12), sign)
            length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(outline, axis=0), axis=-1))])
            even = interpolate(outline, np.linspace(0, length[-1], 17), length)
            placed |= {f"{side}_jaw_{i}": even[i] for i in range(16)} | {"chin": even[16]}
        return np.stack([placed[name] for name in SCHEMES["98"].names])

    def _visible(self, contour, sign):
        """The visible outline (N, 2) of the side of the face with the contour (N, 3).

        On the side that turns away the cheek hides the jaw, and annotators mark the visible outline. A horizontal slice
        of the face is a quarter of an ellipse from the contour to the middle. Its outermost point has a closed form.
        """
        away = sign * np.sin(self.yaw)
        if away > 0:
            x, y, z = contour.T
            depth = np.maximum(MIDDLE_DEPTH - z, 0)
            angle = np.arctan2(np.abs(x) * np.cos(self.yaw) + 1e-9, depth * away)
            contour = np.stack([x * np.sin(angle), y, z + depth * np.cos(angle)], axis=-1)
        return self.project(contour)


def _contours(p):
    """The contours of one side: (7, 3) from the ear to the chin, (5, 3) from the ear to the middle of the forehead."""
    wide = p.jaw_width
    x = np.array([0.77, 0.755, 0.70 * (0.6 + 0.4 * wide), 0.53 * wide, 0.28 * wide, 0.10 * wide, 0.0])
    y = np.array([-0.03, 0.27, 0.62, 0.97, 1.21, 1.28, 1.29])
    # The chin falls with the lower lip; the ear does not move.
    y = y + np.clip(y / 1.29, 0, 1) ** 2 * (0.225 * p.mouth_open + 0.3 * (p.face_length - 1) * 1.29)
    jaw = np.stack([x, y, [-0.60, -0.55, -0.42, -0.23, -0.05, 0.03, MIDDLE_DEPTH]], axis=-1)
    y = [-0.03, -0.25, -0.50 * p.forehead, -0.69 * p.forehead, -0.73 * p.forehead]
    hairline = np.stack([[0.77, 0.76, 0.67, 0.38, 0.0], y, [-0.60, -0.46, -0.27, -0.03, MIDDLE_DEPTH]], axis=-1)
    return jaw * (p.face_width, 1, 1), hairline * (p.face_width, 1, 1)


def _brow(p, side):
    lift = (p.right_brow_raise if side == "right" else p.left_brow_raise) * 0.13
    inwards = np.array([0.0, 0.25, 0.5, 0.75, 1.0])  # 0 outer end, 1 inner end
    x = 0.60 - 0.44 * inwards + 0.35 * (p.eye_spacing - 1) - 0.04 * p.frown * inwards
    x *= 1 + 0.05 * (p.face_width - 1)
    middle = -0.19 * p.brow_height - lift * (0.6 + 0.4 * inwards) + 0.07 * p.frown * inwards**2
    middle += 0.05 * p.brow_slant * (inwards - 0.5) + np.array([0.05, -0.01, -0.02, -0.01, 0.015]) * p.brow_arch
    half = 0.042 * p.brow_thickness * np.array([0.0, 0.85, 1.0, 1.0, 0.85])
    depth = np.array([-0.18, -0.04, 0.03, 0.07, 0.09])
    upper = {f"brow_upper_{i}": (x[i], middle[i] - half[i], depth[i]) for i in range(5)}
    return upper | {f"brow_lower_{4 - i}": (x[i], middle[i] + half[i], depth[i]) for i in range(1, 5)}


def _eye(p, side):
    closure = p.right_eye_closure if side == "right" else p.left_eye_closure
    centre, half, tilt = 0.35 * p.eye_spacing, 0.15 * p.eye_width, -0.02 * p.eye_slant
    above, below = 0.066 * p.eye_height, 0.042 * p.eye_height * (1 - 0.3 * p.smile)
    top = (1 - closure) * -above + closure * below * 0.95
    points = {"eye_outer": (centre + half, tilt, -0.10), "eye_inner": (centre - half, 0.008 - tilt, 0.0)}
    for i, u in enumerate((0.5, 0.0, -0.5)):  # towards the outer corner is positive
        x, z, arch = centre + half * u, -0.06 * (u + 0.3) ** 2, 1 - abs(u) ** 2.2
        points[f"eye_upper_{i}"] = (x, tilt * u + top * arch, z)
        points[f"eye_lower_{i}"] = (x, tilt * u + below * arch, z)
    open_y, shut_y = -0.010 * p.eye_height + 0.022 * p.gaze_y, (top + below) / 2
    x = centre + 0.06 * p.gaze_x * SIDES[side]
    return points | {"pupil": (x, (1 - closure) * open_y + closure * shut_y, 0.0)}


def _ridge(p):
    y = 0.44 * p.nose_length
    ridge = [(-0.02 + (y + 0.02) * i / 3, 0.09 + (0.28 * p.nose_height - 0.02) * (i / 3) ** 1.3) for i in range(4)]
    return {f"nose_bridge_{i}": (0.0, *point) for i, point in enumerate(ridge)} | {"nose_base": (0.0, y + 0.095, 0.17)}


def _nostril(p):
    y, width = 0.44 * p.nose_length, p.nose_width * (1 + 0.10 * max(p.smile, 0))
    return {"nostril_0": (0.175 * width, y + 0.05, 0.08), "nostril_1": (0.09 * width, y + 0.085, 0.14)}


def _lips(p, smile, middle):
    half = 0.28 * p.mouth_width * (1 + 0.22 * max(smile, 0) - 0.30 * p.pucker)
    thin, gap = 1 - 0.3 * max(smile, 0) + 0.25 * p.pucker, 0.30 * p.mouth_open
    points = {}
    for name, u, above, below, with_upper, with_lower in _LIPS:
        if (u == 0) == middle:
            y = 0.44 * p.nose_length + 0.31 * p.mouth_drop - 0.11 * smile * u**1.7
            y += (0.095 * p.lower_lip * below - 0.072 * p.upper_lip * above) * thin + (with_lower - with_upper) * gap
            points[name] = (half * u, y, 0.15 - 0.15 * u**2)
    return points
