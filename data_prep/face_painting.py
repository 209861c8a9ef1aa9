"""Draws the features of a face where its 98 projected points say."""

import cv2
import numpy as np

from data_prep.canvas import ellipse_outline, fixed_point
from data_prep.face_shape import SIDES, spline
from kdloss.schemes import SCHEMES

INDEX = {name: i for i, name in enumerate(SCHEMES["98"].names)}
_SKIN = np.array([[236, 202, 182], [228, 184, 154], [196, 142, 108], [140, 92, 64], [82, 52, 38]], float)
_HAIR = np.array([[24, 20, 20], [60, 40, 28], [108, 72, 44], [168, 128, 78], [222, 192, 138]], float)
_IRIS = np.array([[40, 24, 16], [84, 54, 30], [96, 104, 60], [92, 124, 150], [120, 150, 176]], float)


def tone(palette, position):
    """A colour (3,) of a palette (n, 3) at 0 to 1."""
    return _along(palette, position)


class FacePainter:
    """Paints one face onto a canvas.

    Args:
        canvas: `Canvas`.
        p: `FaceParameters`.
        head: `HeadShape`.
        projection: `Projection`.
        points: (98, 2) pixels of the picture.
    """

    def __init__(self, canvas, p, head, projection, points):
        self.canvas, self.p, self.head, self.projection, self.points = canvas, p, head, projection, points
        self.unit = projection.scale
        self.skin = tone(_SKIN, p.skin)
        self.hair = tone(_HAIR, p.hair_tone * (1 - 0.6 * p.skin))
        self.outline = head.face_outline(projection, points)

    def at(self, *names):
        """Points by name: (2,) for one, (n, 2) for several."""
        found = self.points[[INDEX[name] for name in names]]
        return found[0] if len(names) == 1 else found

    def place(self, x, y, z):
        """Pixels (2,) of a point of the head frame."""
        return self.projection(np.array([x, y, z], float))

    def behind(self):
        """What the face hides: hair, neck, ears, skull."""
        p, canvas = self.p, self.canvas
        volume = {"bald": 1.0, "short": 1.05, "full": 1.20, "long": 1.12}[p.hair]
        crown = self.head.skull_outline(self.projection, volume)
        if p.hair == "long":
            ends = [self.place(sign * 0.98, 1.5 + 0.3 * p.forehead, -0.9) for sign in (1, -1)]
            mane = cv2.convexHull(np.concatenate([crown, ends]).astype(np.float32))[:, 0]
            canvas.fill(spline(mane[:: max(1, len(mane) // 14)], 4, closed=True), self.hair * 0.8)
        neck = [self.place(x, y, z) for x, y, z in ((-0.50, 0.6, -0.8), (0.50, 0.6, -0.8), (0.56, 2.6, -0.9))]
        canvas.fill([*neck, self.place(-0.56, 2.6, -0.9)], self.skin * 0.78)
        ears = p.hair in ("bald", "short")
        if ears:
            for sign in SIDES.values():
                self._ear(sign)
        canvas.fill(crown, self.skin * 0.97 if p.hair == "bald" else self.hair)
        if ears and abs(p.yaw) > 20:  # the ear of the near side lies over the hair
            self._ear(-np.sign(p.yaw))

    def _ear(self, sign):
        turned = abs(np.sin(np.radians(self.p.yaw)))
        centre = self.place(sign * 0.80 * self.p.face_width, 0.12, -0.75)
        radii = np.array([0.09 + 0.09 * turned, 0.21]) * self.unit
        self.canvas.ellipse(centre, radii, self.skin * 0.92, self.p.roll)
        self.canvas.ellipse(centre, radii * 0.6, self.skin * 0.74, self.p.roll)

    def face(self):
        """Skin, shading and every feature."""
        self.canvas.fill(self.outline, self.skin)
        self.canvas.shade(self._shading())
        if self.p.beard:
            self._beard()
        # The eye that turns away comes first: at large yaw the nose stands before it.
        near, far = ("right", "left") if self.p.yaw > 0 else ("left", "right")
        for side in (far, near):
            self._eye(side)
            self._brow(side)
        self._nose()
        self._mouth()

    def _shading(self):
        """A map of gains at a quarter of the fine grid: light on a rounded head, hollows and ridges."""
        p, unit = self.p, self.unit / 2
        shape = (self.canvas.height // 2, self.canvas.width // 2)
        mask = np.zeros(shape, np.uint8)
        head = np.concatenate([self.outline, self.head.skull_outline(self.projection)]).astype(np.float32)
        cv2.fillPoly(mask, [fixed_point(cv2.convexHull(head)[:, 0], 0.5)], 255, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(mask, (0, 0), 0.10 * unit + 0.3).astype(np.float32) / 255
        centre = self.place(0, 0.25, -0.2) / 2
        y, x = np.ogrid[: shape[0], : shape[1]]
        u = ((x - centre[0]) / (0.95 * unit)).astype(np.float32)
        v = ((y - centre[1]) / (1.25 * unit)).astype(np.float32)
        z = np.sqrt(np.maximum(1 - 0.8 * (u**2 + v**2), 0.05))
        lambert = 0.75 * z + (u * p.light_x + v * p.light_y) * (0.2 + 0.75 * p.light_strength)
        gain = 0.55 + 0.5 * np.clip(lambert, -0.55, 1.0) + 0.30 * (soft - 0.5)
        relief = np.zeros(shape, np.float32)
        for outline, depth in self._relief():
            cv2.fillPoly(relief, [fixed_point(np.asarray(outline), 0.5)], depth, cv2.LINE_AA, 4)
        relief = cv2.GaussianBlur(relief, (0, 0), 0.045 * unit + 0.3)
        return 1 + soft * (gain + relief - 1)

    def _relief(self):
        """Outlines with what they add to the light: hollows of the eyes, sides of the nose, cheeks, chin."""
        unit, p = self.unit, self.p
        tip, bridge, base = self.at("nose_bridge_3", "nose_bridge_0", "nose_base")
        for side, sign in SIDES.items():
            brow, eye = self.at(f"{side}_brow_lower_0", f"{side}_brow_lower_2"), self.at(f"{side}_pupil")
            wing, corner = self.at(f"{side}_nostril_0", f"{side}_mouth_corner")
            yield ellipse_outline(eye, (0.23 * unit, 0.15 * unit), p.roll), -0.10
            yield ellipse_outline(self.place(sign * 0.42, 0.42, -0.08), (0.2 * unit, 0.16 * unit), p.roll), 0.07
            dark = -0.10 - 0.16 * max(0.0, -sign * p.light_x) * (0.4 + p.light_strength)
            yield [bridge, brow[0], self.at(f"{side}_eye_inner") * 0.6 + bridge * 0.4, wing, tip], dark
            fold = spline(np.stack([wing, wing * 0.45 + corner * 0.55 + np.array([sign * 0.06 * unit, 0]), corner]), 4)
            aside = np.array([sign * 0.035 * unit, 0])
            yield np.concatenate([fold, fold[::-1] + aside]), -0.10 - 0.14 * max(p.smile, 0)
        wings = self.at("right_nostril_0", "left_nostril_0")
        yield [wings[0], base, wings[1], base + (tip - bridge) * 0.20], -0.22
        across = (wings[1] - wings[0]) * 0.09
        yield [bridge - across, bridge + across, tip + across, tip - across], 0.13
        yield ellipse_outline(tip, (0.065 * unit, 0.055 * unit)), 0.16
        lip, chin = self.at("lower_lip", "chin")
        yield ellipse_outline(lip * 0.8 + chin * 0.2, (0.17 * unit, 0.05 * unit), p.roll), -0.16

    def _eye(self, side):
        canvas, p, unit = self.canvas, self.p, self.unit
        upper = self.at(*(f"{side}_eye_{name}" for name in ("outer", "upper_0", "upper_1", "upper_2", "inner")))
        lower = self.at(*(f"{side}_eye_{name}" for name in ("outer", "lower_0", "lower_1", "lower_2", "inner")))
        lids = spline(np.concatenate([upper, lower[3:0:-1]]), 4, closed=True)
        pupil = self.at(f"{side}_pupil")
        brow = self.at(f"{side}_brow_lower_2")
        crease = upper + (brow - upper[2]) * np.array([0.05, 0.22, 0.28, 0.22, 0.05])[:, None]
        if p.makeup:
            shadow = np.concatenate([spline(crease, 3), spline(upper, 3)[::-1]])
            canvas.fill(shadow, self.skin * (0.6, 0.5, 0.7), 0.7 * p.makeup)
        canvas.line(spline(crease, 3), self.skin * 0.6, 0.018 * unit, 0.6)

        def inside():
            canvas.fill(lids, np.array([238, 234, 228]) * (1 - 0.15 * p.light_strength))
            turn = np.cos(np.radians(p.yaw))
            canvas.ellipse(pupil, np.array([0.074 * turn, 0.074]) * unit, tone(_IRIS, p.iris_tone) * 0.55, p.roll)
            canvas.ellipse(pupil, np.array([0.060 * turn, 0.060]) * unit, tone(_IRIS, p.iris_tone), p.roll)
            canvas.ellipse(pupil, np.array([0.032 * turn, 0.032]) * unit, (10, 8, 8), p.roll)
            canvas.ellipse(pupil + np.array([p.light_x, p.light_y]) * 0.022 * unit, [0.013 * unit] * 2, (250, 250, 250))

        canvas.inside(lids, inside)
        lash = (0.030 + 0.016 * (p.makeup > 0)) * unit
        canvas.line(spline(lower, 4), self.skin * 0.55, 0.015 * unit, 0.8)
        canvas.line(spline(upper, 4), np.minimum(self.skin * 0.3, 60), lash)

    def _brow(self, side):
        upper = self.at(*(f"{side}_brow_upper_{i}" for i in range(5)))
        lower = self.at(*(f"{side}_brow_lower_{i}" for i in range(4)))
        outline = np.concatenate([spline(upper, 4), spline(np.concatenate([lower, upper[:1]]), 4)])
        colour = np.minimum(self.hair * 0.8, self.skin * 0.62)
        self.canvas.fill(outline, colour, 0.88)
        for start in (0.1, 0.27, 0.44, 0.61, 0.78, 0.95):  # hairs
            low, high = (_along(line, start) for line in (lower[::-1], upper[1:]))
            self.canvas.line(np.stack([low, high * 0.8 + low * 0.2]), colour * 0.85, 0.01 * self.unit)

    def _nose(self):
        canvas, p, unit = self.canvas, self.p, self.unit
        wings = self.at("right_nostril_0", "right_nostril_1", "nose_base", "left_nostril_1", "left_nostril_0")
        bridge = self.at(*(f"nose_bridge_{i}" for i in range(4)))
        far = 1.0 if p.yaw > 0 else -1.0
        if abs(p.yaw) > 24:  # the ridge hides what lies beyond it
            wing = wings[4 if far > 0 else 0]
            ridge = np.concatenate([bridge, self.place(far * 0.05, 0.515 * p.nose_length, 0.31 * p.nose_height)[None]])
            edge = spline(ridge, 4)
            canvas.fill(np.concatenate([edge, wings[2:3], self.at("nose_bridge_2")[None]]), self.skin * 0.93)
            canvas.line(edge, self.skin * 0.55, 0.018 * unit, 0.75)
            canvas.line(np.stack([edge[-1], wing, wings[2]]), self.skin * 0.6, 0.018 * unit, 0.6)
        tilt = max(0.5, 1 + p.pitch / 40)
        for side, sign in SIDES.items():
            hole = self.at(f"{side}_nostril_1") * 0.80 + bridge[3] * 0.20
            radius = np.array([0.045 * max(0.3, 1 - sign * far * abs(p.yaw) / 60), 0.022 * tilt]) * unit
            canvas.ellipse(hole, radius, self.skin * 0.28, p.roll - sign * 12, 0.9)
            wing, low = self.at(f"{side}_nostril_0", f"{side}_nostril_1")
            bend = wing + (bridge[3] - low) * 0.55 + (wing - low) * 0.05
            canvas.line(spline(np.stack([bend, wing, low]), 4), self.skin * 0.52, 0.020 * unit, 0.8)
        canvas.line(spline(wings, 4), self.skin * 0.5, 0.018 * unit, 0.75)

    def _mouth(self):
        canvas, p, unit, points = self.canvas, self.p, self.unit, self.points
        colour = self.skin * (0.86, 0.58, 0.60) + (18, 0, 4)
        if p.makeup:
            colour = colour * (1 - p.makeup) + np.array([170, 24, 48]) * p.makeup
        first = INDEX["right_mouth_corner"]
        outer, inner = points[first : first + 12], points[first + 12 : first + 20]
        canvas.fill(spline(outer, 4, closed=True), colour)
        lower = np.concatenate([outer[6:], outer[:1], inner[:1], inner[7:4:-1], inner[4:5]])
        canvas.fill(lower, colour * 1.08 + 6)
        hole = spline(inner, 4, closed=True)
        down = (self.at("inner_lower_lip") - self.at("inner_upper_lip"))[None]

        def inside():
            canvas.fill(hole, (58, 18, 20))
            tongue = self.at("inner_lower_lip") + down[0] * 0.15
            size = np.array([0.16 * unit, 0.55 * np.linalg.norm(down)])
            canvas.ellipse(tongue, size, (150, 70, 70), p.roll)
            teeth = np.concatenate([inner[:5], (inner[4:0:-1] + down * 0.05)[:1], inner[3:0:-1] + down * 0.42])
            canvas.fill(teeth, (236, 232, 220))

        canvas.inside(hole, inside)
        canvas.line(hole, colour * 0.38, 0.014 * unit, 0.8, closed=True)
        canvas.line(spline(outer, 4, closed=True), colour * 0.72, 0.012 * unit, 0.7, closed=True)

    def _beard(self):
        jaw, mouth = self.points[:33], INDEX["right_mouth_corner"]
        upper = [self.points[4], self.points[8] * 0.55 + self.at("right_mouth_corner") * 0.45]
        upper += [self.at("right_nostril_1"), self.at("left_nostril_1")]
        upper += [self.points[24] * 0.55 + self.at("left_mouth_corner") * 0.45, self.points[28]]
        outline = np.concatenate([jaw[4:29], spline(np.array(upper), 4)[::-1]])
        lips = self.points[mouth : mouth + 12]
        keep = lips.mean(0) + (lips - lips.mean(0)) * 1.15
        self.canvas.fill(outline, self.hair * 0.75, self.p.beard)
        self.canvas.fill(spline(keep, 3, closed=True), self.skin * 0.9)


def _along(line, share):
    """The row at ``share``, 0 to 1, of the way along the rows of ``line`` (n, D)."""
    at = share * (len(line) - 1)
    i = min(int(at), len(line) - 2)
    return line[i] + (at - i) * (line[i + 1] - line[i])
