"""Paints a synthetic face: background, body, hair, face and what hides parts of it, then blur and noise of a camera."""

import contextlib

import cv2
import numpy as np

from data_prep.face_shape import SKULL_CENTRE, interpolate, spline, unit_circle
from kdloss.data.schemes import SCHEMES

_SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
_TONES = np.linspace(0, 1, 5)
_SKIN = np.array([[236, 202, 182], [228, 184, 154], [196, 142, 108], [140, 92, 64], [82, 52, 38]])
_HAIR = np.array([[24, 20, 20], [60, 40, 28], [108, 72, 44], [168, 128, 78], [222, 192, 138]])
_IRIS = np.array([[40, 24, 16], [84, 54, 30], [96, 104, 60], [92, 124, 150], [120, 150, 176]])
_HAIR_VOLUME = {"bald": 1.0, "short": 1.05, "full": 1.20, "long": 1.12}
# Indices of the parts among the 98 points. Of parts that come in pairs, these are those of the right side.
_CHIN, _LOWER_LIP, _RIDGE, _WINGS = 16, 85, slice(51, 55), slice(55, 60)
_JAW, _LIPS, _MOUTH = slice(0, 33), slice(76, 88), slice(88, 96)
_BROW, _EYE, _PUPIL = slice(33, 42), slice(60, 68), 96


class Canvas:
    """A picture to draw on, in pixels with centres at integers, on a grid twice as fine; ``unit``: of line widths."""

    def __init__(self, height, width, unit):
        self.height, self.width, self.unit = height, width, unit
        self.fine = np.zeros((height * 2, width * 2, 3), np.uint8)
        self.covered = np.zeros((height, width), np.uint8)

    def fill(self, outline, colour, hides=False):
        """Fills a closed outline (M, 2) with an RGB colour (0 to 255); ``hides``: points behind it are occluded."""
        _fill(self.fine, outline, colour, 2)
        if hides:
            _fill(self.covered, outline, 255, 1)

    def line(self, points, colour, width, closed=False):
        """Draws a polyline (M, 2)."""
        width = max(1, round(width * self.unit * 2))
        cv2.polylines(self.fine, [_fixed_point(points, 2)], closed, colour, width, cv2.LINE_AA, _SHIFT)

    @contextlib.contextmanager
    def inside(self, outline):
        """Within the block, paint stays inside an outline (M, 2)."""
        before, mask = self.fine.copy(), np.zeros(self.fine.shape[:2], np.uint8)
        yield
        cv2.fillPoly(mask, [_fixed_point(outline, 2)], 255, shift=_SHIFT)
        self.fine = cv2.copyTo(self.fine, mask, before)

    def shade(self, gain):
        """Multiplies the picture by a coarse map of factors (h, w), enlarged smoothly."""
        fine = cv2.resize(np.round(np.clip(gain, 0, 2) * 127.5).astype(np.uint8), self.fine.shape[1::-1])
        cv2.multiply(self.fine, cv2.cvtColor(fine, cv2.COLOR_GRAY2RGB), dst=self.fine, scale=1 / 127.5)

    def background(self, rng):
        """Paints a gradient, random shapes and soft texture."""
        shorter = min(self.height, self.width)
        self.fine = cv2.resize(_random_colour(rng, 2, 2).astype(np.uint8), self.fine.shape[1::-1])
        for _ in range(int(rng.integers(0, 11))):
            centre, radii = rng.uniform((0, 0), (self.width, self.height)), rng.uniform(0.03, 0.4, 2) * shorter
            outline = _ellipse(centre, radii, rng.uniform(0, 180), int(rng.choice([3, 4, 5, 28])))
            self.fill(outline, _random_colour(rng))
        self.shade(rng.normal(1, rng.uniform(0.02, 0.2), (24, 24)))
        if rng.random() < 0.6:
            self.fine = cv2.blur(self.fine, (int(rng.uniform(1, 6) * shorter / 200 * 2) * 2 + 1,) * 2)

    def hidden(self, points):
        """(N,) bool: which points (N, 2) are occluded. Points outside the picture are not."""
        return cv2.remap(self.covered, points[:, None].astype(np.float32), None, cv2.INTER_NEAREST)[:, 0] > 127

    def photograph(self, p, rng):
        """The picture (H, W, 3) uint8 RGB with the exposure, white balance, blur and noise of a camera."""
        image = cv2.resize(self.fine, (self.width, self.height), interpolation=cv2.INTER_AREA)
        gains = p.exposure * (1 + 0.10 * p.warmth * np.array([1, 0.1, -1], np.float32))
        level = np.minimum(np.arange(256, dtype=np.float32)[:, None] / 255 * gains, 1)
        image = cv2.LUT(image, np.round(255 * level**0.95).astype(np.uint8)[:, None])
        if p.blur:
            image = cv2.GaussianBlur(image, (0, 0), p.blur * min(self.height, self.width) / 200)
        if p.noise:
            image = cv2.add(image, rng.standard_normal(image.shape, dtype=np.float32) * p.noise, dtype=cv2.CV_8U)
        return image


class FacePainter:
    """Paints the person with the `Head` ``head``, made from the parameters ``p``, onto a `Canvas`."""

    def __init__(self, canvas, head, p):
        self.canvas, self.head, self.p = canvas, head, p
        self.points, self.project = head.points, head.project
        # Both sides' points in the order of the right side, so that an index means the same place on each.
        self.sides = {-1: self.points, 1: self.points[list(SCHEMES["98"].mirror)]}
        self.skin = interpolate(_SKIN, p.skin, _TONES)
        self.hair = interpolate(_HAIR, p.hair_tone * (1 - 0.6 * p.skin), _TONES)

    def paint(self, rng):
        """Paints everything from the back to the front; ``rng`` draws the clothes and what hides the face."""
        p = self.p
        self._hair_and_neck()
        self._body(rng)
        self.canvas.fill(self.head.outline, self.skin)
        if p.beard:
            self._beard()
        # The side that turns away comes first: at large yaw the nose stands in front of it.
        for sign in (1, -1) if p.yaw > 0 else (-1, 1):
            self._eye(self.sides[sign])
        self._nose()
        self._mouth()
        self.canvas.shade(self._light())
        if p.fringe and p.hair != "bald":
            self._fringe(rng)
        if p.hat:
            self._hat(rng)
        if p.glasses != "none":
            self._glasses(rng)
        if p.occluder == "hand":
            self._hand(rng)
        elif p.occluder == "patch":
            at, radii = self.points[rng.integers(98)], rng.uniform(0.1, 0.6, 2) * self.head.scale
            outline = _ellipse(at, radii, rng.uniform(0, 180), int(rng.choice([4, 5, 6, 28])))
            self.canvas.fill(outline, _random_colour(rng), hides=True)

    def _line(self, points, tone, width):
        self.canvas.line(spline(np.array(points), 4), self.skin * tone, width)

    def _ellipse(self, centre, wide, high, angle=0.0):
        """The outline of an ellipse that turns with the head; its radii are in units of the head."""
        return _ellipse(centre, np.array([wide, high]) * self.head.scale, self.p.roll + angle)

    def _hair_and_neck(self):
        p, canvas = self.p, self.canvas
        crown = self.head.skull(_HAIR_VOLUME[p.hair])
        if p.hair == "long":
            ends = self.project([[x, 1.5 + 0.3 * p.forehead, -0.9] for x in (0.98, -0.98)])
            canvas.fill(_hull([*crown, *ends]), self.hair * 0.8)
        neck = [[-0.50, 0.6, -0.8], [0.50, 0.6, -0.8], [0.56, 2.6, -0.9], [-0.56, 2.6, -0.9]]
        canvas.fill(self.project(neck), self.skin * 0.78)
        ears = (-1, 1) if p.hair in ("bald", "short") else ()
        self._ears(ears)
        canvas.fill(crown, self.skin * 0.97 if p.hair == "bald" else self.hair)
        self._ears(sign for sign in ears if sign * p.yaw < -20)  # the ear on the near side lies over the hair

    def _ears(self, signs):
        wide = 0.09 + 0.09 * abs(np.sin(self.head.yaw))
        for sign in signs:
            centre = self.project([sign * 0.80 * self.p.face_width, 0.12, -0.75])
            self.canvas.fill(self._ellipse(centre, wide, 0.21), self.skin * 0.92)
            self.canvas.fill(self._ellipse(centre, wide * 0.6, 0.126), self.skin * 0.74)

    def _body(self, rng):
        half = np.array([[-2.4, 6.0], [-2.4, 1.9], [-2.1, 0.75], [-1.4, 0.35], [-0.62, 0.05], [0, 0.3]])
        outline = spline(np.concatenate([half, half[4::-1] * (-1, 1)]), 3)
        outline = outline * self.head.scale + self.project([0, 1.75, -0.9])
        colour = _random_colour(rng)
        self.canvas.fill(outline, colour)
        self.canvas.line(outline, colour * 0.7, 0.03)

    def _light(self):
        """A map of factors at half the picture's resolution: light on a rounded head, hollows and ridges."""
        p, unit = self.p, self.head.scale / 2
        mask, relief = np.zeros((2, self.canvas.height // 2, self.canvas.width // 2), np.float32)
        _fill(mask, _hull([*self.head.outline, *self.head.skull()]), 1, 0.5)
        soft = cv2.GaussianBlur(mask, (0, 0), 0.10 * unit + 0.3)
        y, x = np.ogrid[: mask.shape[0], : mask.shape[1]]
        centre = self.project([0, 0.25, -0.2]) / 2
        u, v = ((x - centre[0]) / np.float32(0.95 * unit), (y - centre[1]) / np.float32(1.25 * unit))
        z = np.sqrt(np.maximum(1 - 0.8 * (u**2 + v**2), 0.05))
        lambert = 0.75 * z + (u * p.light_x + v * p.light_y) * (0.2 + 0.75 * p.light_strength)
        for outline, depth in self._relief():
            _fill(relief, outline, depth, 0.5)
        relief = cv2.GaussianBlur(relief, (0, 0), 0.045 * unit + 0.3)
        return 1 + soft * (0.5 * np.clip(lambert, -0.55, 1.0) + 0.30 * (soft - 0.5) + relief - 0.45)

    def _relief(self):
        """Yields outlines of hollows and ridges, each with what it adds to the light."""
        p, points = self.p, self.points
        ridge, wings = points[_RIDGE], points[_WINGS]
        for sign, own in self.sides.items():
            wing, corner = own[_WINGS][0], own[_LIPS][0]
            yield self._ellipse(own[_PUPIL], 0.23, 0.15), -0.10
            yield self._ellipse(self.project([sign * 0.42, 0.42, -0.08]), 0.2, 0.16), 0.07
            dark = -0.10 - 0.16 * max(0.0, -sign * p.light_x) * (0.4 + p.light_strength)
            yield [ridge[0], own[_BROW][5], own[_EYE][4] * 0.6 + ridge[0] * 0.4, wing, ridge[3]], dark
            aside = np.array([sign * self.head.scale, 0])
            fold = spline(np.array([wing, wing * 0.45 + corner * 0.55 + 0.06 * aside, corner]), 4)
            yield [*fold, *(fold[::-1] + 0.035 * aside)], -0.10 - 0.14 * max(p.smile, 0)
        yield [wings[0], wings[2], wings[4], wings[2] + (ridge[3] - ridge[0]) * 0.20], -0.22
        across = (wings[4] - wings[0]) * 0.09
        yield [ridge[0] - across, ridge[0] + across, ridge[3] + across, ridge[3] - across], 0.13
        yield self._ellipse(ridge[3], 0.065, 0.055), 0.16
        yield self._ellipse(points[_LOWER_LIP] * 0.8 + points[_CHIN] * 0.2, 0.17, 0.05), -0.16

    def _eye(self, points):
        canvas, p = self.canvas, self.p
        eye, brow, pupil = points[_EYE], points[_BROW], points[_PUPIL]
        lids, upper = spline(eye, 4, closed=True), eye[:5]
        crease = upper + (brow[7] - eye[2]) * np.array([[0.05], [0.22], [0.28], [0.22], [0.05]])
        if p.makeup:
            canvas.fill([*crease, *upper[::-1]], self.skin * (1 - p.makeup * np.array([0.28, 0.35, 0.21])))
        self._line(crease, 0.75, 0.018)
        iris, turn = interpolate(_IRIS, p.iris_tone, _TONES), np.cos(self.head.yaw)
        with canvas.inside(lids):
            canvas.fill(lids, np.array([238, 234, 228]) * (1 - 0.15 * p.light_strength))
            for radius, colour in ((0.074, iris * 0.55), (0.060, iris), (0.032, (10, 8, 8))):
                canvas.fill(self._ellipse(pupil, radius * turn, radius), colour)
            glint = pupil + np.array([p.light_x, p.light_y]) * 0.022 * self.head.scale
            canvas.fill(self._ellipse(glint, 0.013, 0.013), (250, 250, 250))
        self._line(eye[[0, 7, 6, 5, 4]], 0.62, 0.015)
        self._line(upper, 0.25, 0.046 if p.makeup else 0.030)
        outline = [*spline(brow[:5], 4), *spline(brow[[5, 6, 7, 8, 0]], 4)]
        canvas.fill(outline, np.minimum(self.hair * 0.8, self.skin * 0.62))

    def _nose(self):
        p, ridge, wings = self.p, self.points[_RIDGE], self.points[_WINGS]
        far = 1 if p.yaw > 0 else -1
        if abs(p.yaw) > 24:  # the ridge hides what lies beyond it
            tip = self.project([far * 0.05, 0.515 * p.nose_length, 0.31 * p.nose_height])
            self.canvas.fill([*spline(np.array([*ridge, tip]), 4), wings[2], ridge[2]], self.skin * 0.93)
            self._line([*ridge, tip], 0.65, 0.018)
            self._line([tip, self.sides[far][_WINGS][0], wings[2]], 0.75, 0.018)
        for sign, points in self.sides.items():
            wing, low = points[_WINGS][:2]
            wide, high = 0.045 * max(0.3, 1 - sign * far * abs(p.yaw) / 60), 0.022 * max(0.5, 1 + p.pitch / 40)
            self.canvas.fill(self._ellipse(low * 0.80 + ridge[3] * 0.20, wide, high, sign * -12), self.skin * 0.32)
            self._line([wing + (ridge[3] - low) * 0.55 + (wing - low) * 0.05, wing, low], 0.62, 0.020)
        self._line(wings, 0.62, 0.018)

    def _mouth(self):
        canvas, p, outer, inner = self.canvas, self.p, self.points[_LIPS], self.points[_MOUTH]
        colour = (self.skin * (0.86, 0.58, 0.60) + (18, 0, 4)) * (1 - p.makeup)
        colour += np.array([170, 24, 48]) * p.makeup
        outline, hole = spline(outer, 4, closed=True), spline(inner, 4, closed=True)
        canvas.fill(outline, colour)
        canvas.fill([*outer[6:], outer[0], inner[0], *inner[:3:-1]], colour * 1.08 + 6)
        down = inner[6] - inner[2]
        tongue = self._ellipse(inner[6] + down * 0.15, 0.16, 0.55 * np.linalg.norm(down) / self.head.scale)
        with canvas.inside(hole):
            canvas.fill(hole, (58, 18, 20))
            canvas.fill(tongue, (150, 70, 70))
            canvas.fill([*inner[:5], inner[4] + down * 0.05, *(inner[3:0:-1] + down * 0.42)], (236, 232, 220))
        canvas.line(hole, colour * 0.5, 0.014, closed=True)
        canvas.line(outline, colour * 0.8, 0.012, closed=True)

    def _beard(self):
        jaw, lips, wings = self.points[_JAW], self.points[_LIPS], self.points[_WINGS]
        cheeks = jaw[[8, 24]] * 0.55 + lips[[0, 6]] * 0.45
        upper = spline(np.array([jaw[4], cheeks[0], wings[1], wings[3], cheeks[1], jaw[28]]), 4)
        self.canvas.fill([*jaw[4:29], *upper[::-1]], self.skin + (self.hair * 0.75 - self.skin) * self.p.beard)
        around = lips.mean(0) + (lips - lips.mean(0)) * 1.15
        self.canvas.fill(spline(around, 3, closed=True), self.skin * 0.9)

    def _fringe(self, rng):
        x, wide = np.linspace(0.95, -0.95, 11), self.p.face_width * 0.8
        top = [[-wide, -0.25, -0.5], [-0.6 * wide, -1.05, -0.5], [0.6 * wide, -1.05, -0.5], [wide, -0.25, -0.5]]
        top = self.project(top)
        ends = self.project(np.stack([0.97 * wide * x, 0.07 * rng.normal(size=11) - 0.17, 0.12 - 0.55 * x**2], axis=-1))
        self.canvas.fill([*top, *ends], self.hair * 1.05, hides=True)
        for end in ends:
            self.canvas.line([end, end * 0.4 + (top[1] + top[2]) * 0.3], self.hair * 0.85, 0.01)

    def _hat(self, rng):
        colour, (x, z) = _random_colour(rng), unit_circle(20).T
        y = np.array([[rng.uniform(-0.62, -0.36)], [-0.85], [-1.15], [-1.32]])
        wide = 1.12 * np.sqrt(np.maximum(0.05, 1 - ((y + 0.35) / 1.05) ** 2))
        wide_x, _, wide_z = self.head.skull_radii
        rings = np.stack([x * wide * wide_x, y + 0 * x, SKULL_CENTRE[2] + z * wide * wide_z], axis=-1)
        self.canvas.fill(_hull(self.project(rings.reshape(-1, 3))), colour, hides=True)
        self.canvas.line(spline(self.project(rings[0, 1:10]), 3), colour * 0.5, 0.10)

    def _glasses(self, rng):
        p, colour = self.p, rng.uniform(10, 90, 3)
        wide, high, power = rng.uniform(0.23, 0.28), rng.uniform(0.15, 0.21), rng.uniform(2, 4)
        shape = unit_circle(24) / (np.abs(unit_circle(24)) ** power).sum(-1, keepdims=True) ** (1 / power)
        bridge = []
        for sign in self.sides:
            x = sign * (0.345 * p.eye_spacing + shape[:, 0] * wide)
            depth = 0.16 - 0.25 * np.maximum(0, np.abs(x) - 0.25)
            lens = self.project(np.stack([x, 0.02 + shape[:, 1] * high, depth], axis=-1))
            if p.glasses == "sun":
                self.canvas.fill(lens, colour * 0.5, hides=True)
            self.canvas.line(lens, colour, 0.035, closed=True)
            if sign * p.yaw < 15:
                self.canvas.line([lens[0], self.project([sign * 0.80 * p.face_width, 0.0, -0.65])], colour, 0.03)
            bridge.append(lens[12])
        self.canvas.line(bridge, colour, 0.035)

    def _hand(self, rng):
        at, skin, lean = self.points[rng.choice([6, 10, 16, 22, 26, 57, 85])], self.skin * 0.9, rng.uniform(-35, 35)
        turn = np.radians(self.p.roll + lean)
        right, down = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) * self.head.scale
        shapes = [(0, 2.2, 0.25, 2.0, 0), (0, 0.32, 0.34, 0.36, 0)]  # arm and palm
        shapes += [(0.17 * k, 0.06 * abs(k) - 0.2, 0.085, 0.34, 5 * k) for k in (-1.5, -0.5, 0.5, 1.5)]
        parts = [self._ellipse(at + x * right + y * down, w, h, lean + angle) for x, y, w, h, angle in shapes]
        for part in parts:
            self.canvas.line(part, skin * 0.6, 0.035, closed=True)
        for part in parts:
            self.canvas.fill(part, skin, hides=True)
        for finger in parts[2:]:
            self.canvas.line(finger[7:22], skin * 0.75, 0.015)


def _fill(image, outline, value, factor):
    """Fills an outline (M, 2), in picture pixels, on an image that is ``factor`` times as fine."""
    cv2.fillPoly(image, [_fixed_point(outline, factor)], value, cv2.LINE_AA, _SHIFT)


def _fixed_point(points, factor):
    """Picture pixels (..., 2) -> OpenCV's fixed-point coordinates on a grid that is ``factor`` times as fine."""
    fine = (np.asarray(points, np.float64) + 0.5) * factor - 0.5
    return np.round(fine * (1 << _SHIFT)).astype(np.int32)


def _ellipse(centre, radii, angle, corners=28):
    """(corners, 2) points of an ellipse; ``angle`` in degrees, clockwise."""
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return unit_circle(corners) * radii @ np.array([[cos, sin], [-sin, cos]]) + centre


def _hull(points):
    return cv2.convexHull(np.array(points, np.float32))[:, 0]


def _random_colour(rng, *shape):
    """Random colours (*shape, 3), muted ones more often than vivid ones."""
    grey, vivid = rng.uniform(20, 235, (*shape, 1)), rng.uniform(20, 235, (*shape, 3))
    return grey + (vivid - grey) * rng.beta(1, 1.5, (*shape, 1))
