"""Paints a person onto a canvas: body, hair, face, and what hides parts of it."""

import cv2
import numpy as np

from data_prep.canvas import ellipse, fill, random_colour, turned
from data_prep.face_shape import SIDES, SKULL_CENTRE, along, spline, unit_circle
from kdloss.schemes import SCHEMES

INDEX = {name: i for i, name in enumerate(SCHEMES["98"].names)}
_SKIN = np.array([[236, 202, 182], [228, 184, 154], [196, 142, 108], [140, 92, 64], [82, 52, 38]])
_HAIR = np.array([[24, 20, 20], [60, 40, 28], [108, 72, 44], [168, 128, 78], [222, 192, 138]])
_IRIS = np.array([[40, 24, 16], [84, 54, 30], [96, 104, 60], [92, 124, 150], [120, 150, 176]])
_HAIR_VOLUME = {"bald": 1.0, "short": 1.05, "full": 1.20, "long": 1.12}


class FacePainter:
    """Paints one person.

    Args:
        canvas: `Canvas`.
        head: `Head`.
        p: the parameters that the head was made from.
    """

    def __init__(self, canvas, head, p):
        self.canvas, self.head, self.p = canvas, head, p
        self.points, self.unit, self.project = head.points, head.scale, head.project
        self.skin = along(_SKIN, p.skin)
        self.hair = along(_HAIR, p.hair_tone * (1 - 0.6 * p.skin))

    def paint(self, rng):
        """Everything, from the back to the front; ``rng`` draws clothes and what hides the face."""
        p = self.p
        self._hair_and_neck()
        self._body(rng)
        self.canvas.fill(self.head.outline, self.skin)
        if p.beard:
            self._beard()
        # The eye that turns away comes first: at large yaw the nose stands before it.
        for side in ("left", "right") if p.yaw > 0 else ("right", "left"):
            self._eye(side)
            self._brow(side)
        self._nose()
        self._mouth()
        self.canvas.shade(self._light())
        if p.fringe and p.hair != "bald":
            self._fringe(rng)
        if p.hat:
            self._hat(rng)
        if p.glasses != "none":
            self._glasses(rng)
        if p.occluder != "none":
            self._occluder(rng)

    def at(self, *names):
        """Points by name: (2,) for one, (n, 2) for several."""
        found = self.points[[INDEX[name] for name in names]]
        return found[0] if len(names) == 1 else found

    def _line(self, points, shade, width, closed=False):
        """A line of darker skin, its width in units of the head."""
        self.canvas.line(points, self.skin * shade, width * self.unit, closed)

    def _disc(self, centre, radii, colour, angle=0.0):
        """An ellipse whose radii are in units of the head."""
        self.canvas.fill(ellipse(centre, np.multiply(radii, self.unit), angle), colour)

    def _hair_and_neck(self):
        p, canvas = self.p, self.canvas
        crown = self.head.skull(_HAIR_VOLUME[p.hair])
        if p.hair == "long":
            ends = self.project([[x, 1.5 + 0.3 * p.forehead, -0.9] for x in (0.98, -0.98)])
            mane = cv2.convexHull(np.concatenate([crown, ends]).astype(np.float32))[:, 0]
            canvas.fill(spline(mane[:: max(1, len(mane) // 14)], 4, closed=True), self.hair * 0.8)
        neck = [[-0.50, 0.6, -0.8], [0.50, 0.6, -0.8], [0.56, 2.6, -0.9], [-0.56, 2.6, -0.9]]
        canvas.fill(self.project(neck), self.skin * 0.78)
        ears = p.hair in ("bald", "short")
        if ears:
            for sign in SIDES.values():
                self._ear(sign)
        canvas.fill(crown, self.skin * 0.97 if p.hair == "bald" else self.hair)
        if ears and abs(p.yaw) > 20:  # the ear of the near side lies over the hair
            self._ear(-np.sign(p.yaw))

    def _ear(self, sign):
        centre = self.project([sign * 0.80 * self.p.face_width, 0.12, -0.75])
        wide = 0.09 + 0.09 * abs(np.sin(np.radians(self.p.yaw)))
        for size, tone in ((1.0, 0.92), (0.6, 0.74)):
            self._disc(centre, (wide * size, 0.21 * size), self.skin * tone, self.p.roll)

    def _body(self, rng):
        """Shoulders and clothes."""
        neck, colour = self.project([0, 1.75, -0.9]), random_colour(rng)
        half = np.array([[-2.4, 1.9], [-2.1, 0.75], [-1.4, 0.35], [-0.62, 0.05], [0, 0.3]])
        shoulders = spline(np.concatenate([half, half[3::-1] * (-1, 1)]), 3) * self.unit + neck
        bottom = self.canvas.height + 5
        self.canvas.fill([*shoulders, (shoulders[-1, 0], bottom), (shoulders[0, 0], bottom)], colour)
        self.canvas.line(shoulders[6:19], colour * 0.7, 0.03 * self.unit)

    def _light(self):
        """A map of gains at a quarter of the fine grid: light on a rounded head, hollows and ridges."""
        p, unit = self.p, self.unit / 2
        shape = (self.canvas.height // 2, self.canvas.width // 2)
        mask, relief = np.zeros(shape, np.uint8), np.zeros(shape, np.float32)
        head = np.concatenate([self.head.outline, self.head.skull()]).astype(np.float32)
        fill(mask, cv2.convexHull(head)[:, 0], 255, 0.5)
        soft = cv2.GaussianBlur(mask, (0, 0), 0.10 * unit + 0.3).astype(np.float32) / 255
        centre = self.project([0, 0.25, -0.2]) / 2
        y, x = np.ogrid[: shape[0], : shape[1]]
        u = ((x - centre[0]) / (0.95 * unit)).astype(np.float32)
        v = ((y - centre[1]) / (1.25 * unit)).astype(np.float32)
        z = np.sqrt(np.maximum(1 - 0.8 * (u**2 + v**2), 0.05))
        lambert = 0.75 * z + (u * p.light_x + v * p.light_y) * (0.2 + 0.75 * p.light_strength)
        gain = 0.55 + 0.5 * np.clip(lambert, -0.55, 1.0) + 0.30 * (soft - 0.5)
        for outline, depth in self._relief():
            fill(relief, outline, depth, 0.5)
        return 1 + soft * (gain + cv2.GaussianBlur(relief, (0, 0), 0.045 * unit + 0.3) - 1)

    def _relief(self):
        """Outlines with what they add to the light: hollows of the eyes, sides of the nose, cheeks, chin."""
        unit, p = self.unit, self.p
        tip, bridge, base = self.at("nose_bridge_3", "nose_bridge_0", "nose_base")
        for side, sign in SIDES.items():
            names = ("pupil", "eye_inner", "brow_lower_0", "nostril_0", "mouth_corner")
            pupil, inner, brow, wing, corner = self.at(*(f"{side}_{name}" for name in names))
            yield ellipse(pupil, (0.23 * unit, 0.15 * unit), p.roll), -0.10
            yield ellipse(self.project([sign * 0.42, 0.42, -0.08]), (0.2 * unit, 0.16 * unit), p.roll), 0.07
            dark = -0.10 - 0.16 * max(0.0, -sign * p.light_x) * (0.4 + p.light_strength)
            yield [bridge, brow, inner * 0.6 + bridge * 0.4, wing, tip], dark
            aside = np.array([sign * unit, 0])
            fold = spline(np.stack([wing, wing * 0.45 + corner * 0.55 + 0.06 * aside, corner]), 4)
            yield [*fold, *(fold[::-1] + 0.035 * aside)], -0.10 - 0.14 * max(p.smile, 0)
        wings = self.at("right_nostril_0", "left_nostril_0")
        yield [wings[0], base, wings[1], base + (tip - bridge) * 0.20], -0.22
        across = (wings[1] - wings[0]) * 0.09
        yield [bridge - across, bridge + across, tip + across, tip - across], 0.13
        yield ellipse(tip, (0.065 * unit, 0.055 * unit)), 0.16
        lip, chin = self.at("lower_lip", "chin")
        yield ellipse(lip * 0.8 + chin * 0.2, (0.17 * unit, 0.05 * unit), p.roll), -0.16

    def _eye(self, side):
        canvas, p = self.canvas, self.p
        upper = self.at(*(f"{side}_eye_{name}" for name in ("outer", "upper_0", "upper_1", "upper_2", "inner")))
        lower = self.at(*(f"{side}_eye_{name}" for name in ("outer", "lower_0", "lower_1", "lower_2", "inner")))
        lids = spline(np.concatenate([upper, lower[3:0:-1]]), 4, closed=True)
        pupil, brow = self.at(f"{side}_pupil", f"{side}_brow_lower_2")
        crease = spline(upper + (brow - upper[2]) * np.array([[0.05], [0.22], [0.28], [0.22], [0.05]]), 3)
        if p.makeup:
            shadow = 1 - 0.7 * p.makeup * np.array([0.4, 0.5, 0.3])
            canvas.fill([*crease, *spline(upper, 3)[::-1]], self.skin * shadow)
        self._line(crease, 0.75, 0.018)
        iris, turn = along(_IRIS, p.iris_tone), np.cos(np.radians(p.yaw))
        with canvas.inside(lids):
            canvas.fill(lids, np.array([238, 234, 228]) * (1 - 0.15 * p.light_strength))
            for radius, colour in ((0.074, iris * 0.55), (0.060, iris), (0.032, (10, 8, 8))):
                self._disc(pupil, (radius * turn, radius), colour, p.roll)
            glint = pupil + np.array([p.light_x, p.light_y]) * 0.022 * self.unit
            self._disc(glint, (0.013, 0.013), (250, 250, 250))
        self._line(spline(lower, 4), 0.62, 0.015)
        self._line(spline(upper, 4), 0.25, 0.046 if p.makeup else 0.030)

    def _brow(self, side):
        upper = self.at(*(f"{side}_brow_upper_{i}" for i in range(5)))
        lower = self.at(*(f"{side}_brow_lower_{i}" for i in range(4)))
        outline = np.concatenate([spline(upper, 4), spline(np.concatenate([lower, upper[:1]]), 4)])
        self.canvas.fill(outline, np.minimum(self.hair * 0.8, self.skin * 0.62))

    def _nose(self):
        p, skin = self.p, self.skin
        wings = self.at("right_nostril_0", "right_nostril_1", "nose_base", "left_nostril_1", "left_nostril_0")
        bridge = self.at(*(f"nose_bridge_{i}" for i in range(4)))
        far = 1.0 if p.yaw > 0 else -1.0
        if abs(p.yaw) > 24:  # the ridge hides what lies beyond it
            tip = self.project([[far * 0.05, 0.515 * p.nose_length, 0.31 * p.nose_height]])
            edge = spline(np.concatenate([bridge, tip]), 4)
            self.canvas.fill([*edge, wings[2], bridge[2]], skin * 0.93)
            self._line(edge, 0.65, 0.018)
            self._line([edge[-1], wings[4 if far > 0 else 0], wings[2]], 0.75, 0.018)
        for sign, wing, low in ((-1, wings[0], wings[1]), (1, wings[4], wings[3])):
            radii = (0.045 * max(0.3, 1 - sign * far * abs(p.yaw) / 60), 0.022 * max(0.5, 1 + p.pitch / 40))
            self._disc(low * 0.80 + bridge[3] * 0.20, radii, skin * 0.32, p.roll - sign * 12)
            bend = wing + (bridge[3] - low) * 0.55 + (wing - low) * 0.05
            self._line(spline(np.stack([bend, wing, low]), 4), 0.62, 0.020)
        self._line(spline(wings, 4), 0.62, 0.018)

    def _mouth(self):
        canvas, p = self.canvas, self.p
        colour = self.skin * (0.86, 0.58, 0.60) + (18, 0, 4)
        colour = colour * (1 - p.makeup) + np.array([170, 24, 48]) * p.makeup
        outer, inner = self._lips(), self.points[INDEX["right_inner_corner"] :][:8]
        outline, hole = spline(outer, 4, closed=True), spline(inner, 4, closed=True)
        canvas.fill(outline, colour)
        canvas.fill([*outer[6:], outer[0], inner[0], *inner[:3:-1]], colour * 1.08 + 6)
        down = inner[6] - inner[2]
        with canvas.inside(hole):
            canvas.fill(hole, (58, 18, 20))
            size = (0.16 * self.unit, 0.55 * np.linalg.norm(down))
            canvas.fill(ellipse(inner[6] + down * 0.15, size, p.roll), (150, 70, 70))  # the tongue
            canvas.fill([*inner[:5], inner[4] + down * 0.05, *(inner[3:0:-1] + down * 0.42)], (236, 232, 220))
        canvas.line(hole, colour * 0.5, 0.014 * self.unit, closed=True)
        canvas.line(outline, colour * 0.8, 0.012 * self.unit, closed=True)

    def _lips(self):
        """(12, 2): their outer outline."""
        return self.points[INDEX["right_mouth_corner"] :][:12]

    def _beard(self):
        jaw, lips = self.points[:33], self._lips()
        upper = [jaw[4], jaw[8] * 0.55 + lips[0] * 0.45, *self.at("right_nostril_1", "left_nostril_1")]
        upper += [jaw[24] * 0.55 + lips[6] * 0.45, jaw[28]]
        self.canvas.fill(
            [*jaw[4:29], *spline(np.array(upper), 4)[::-1]], self.skin + (self.hair * 0.75 - self.skin) * self.p.beard
        )
        around = lips.mean(0) + (lips - lips.mean(0)) * 1.15
        self.canvas.fill(spline(around, 3, closed=True), self.skin * 0.9)

    def _fringe(self, rng):
        wide = self.p.face_width
        top = [[-0.8, -0.25], [-0.48, -1.05], [0.48, -1.05], [0.8, -0.25]]
        top = self.project([[x * wide, y, -0.5] for x, y in top])
        places = np.linspace(0.95, -0.95, 11)
        ends = [[x * 0.78 * wide, -0.17 + rng.normal() * 0.07, 0.12 - 0.55 * x**2] for x in places]
        ends = self.project(ends)
        self.canvas.fill([*top, *ends], self.hair * 1.05, hides=True)
        for end in ends:
            self.canvas.line([end, end * 0.4 + top[1] * 0.3 + top[2] * 0.3], self.hair * 0.85, 0.8)

    def _hat(self, rng):
        colour, brim_y = random_colour(rng), float(rng.uniform(-0.62, -0.36))
        centre, radii = SKULL_CENTRE, self.head.skull_radii
        rings = []
        for y in (brim_y, -0.85, -1.15, -1.32):
            wide = np.sqrt(max(0.05, 1 - ((y + 0.35) / 1.05) ** 2)) * 1.12
            rings.append([(x * radii[0] * wide, y, centre[2] + z * radii[2] * wide) for x, z in unit_circle(20)])
        rings = self.project(rings)
        self.canvas.fill(cv2.convexHull(rings.reshape(-1, 2).astype(np.float32))[:, 0], colour, hides=True)
        self.canvas.line(spline(rings[0, 1:10], 3), colour * 0.5, 0.10 * self.unit)

    def _glasses(self, rng):
        p, canvas, colour, width = self.p, self.canvas, rng.uniform(10, 90, 3), 0.035 * self.unit
        wide, high, power = rng.uniform(0.23, 0.28), rng.uniform(0.15, 0.21), rng.uniform(2, 4)
        shape = unit_circle(24) / (np.abs(unit_circle(24)) ** power).sum(-1, keepdims=True) ** (1 / power)
        ends = []
        for sign in SIDES.values():
            x = sign * (0.345 * p.eye_spacing) + shape[:, 0] * wide
            depth = 0.16 - 0.25 * np.maximum(0, np.abs(x) - 0.25)
            lens = self.project(np.stack([x, 0.02 + shape[:, 1] * high, depth], axis=-1))
            if p.glasses == "sun":
                canvas.fill(lens, colour * 0.5, hides=True)
            canvas.line(lens, colour, width, closed=True)
            inner, outer = lens[[12, 0]] if sign > 0 else lens[[0, 12]]
            ends.append(inner)
            if sign * p.yaw < 15:
                ear = self.project([sign * 0.80 * p.face_width, 0.0, -0.65])
                canvas.line([outer, ear], colour, width)
        canvas.line(ends, colour, width)

    def _occluder(self, rng):
        at = self.points[rng.integers(98)]
        if self.p.occluder == "hand":
            places = [INDEX["chin"], INDEX["lower_lip"], 6, 26, INDEX["nose_base"], 10, 22]
            self._hand(self.points[rng.choice(places)], rng)
            return
        if self.p.occluder == "bar":
            angle, half = np.degrees(rng.uniform(0, np.pi)), rng.uniform(0.08, 0.2)
            outline = turned(np.array([[-8, -half], [8, -half], [8, half], [-8, half]]) * self.unit, angle) + at
        else:
            corners = int(rng.choice([4, 5, 6, 28]))
            outline = ellipse(at, rng.uniform(0.2, 0.5, 2) * self.unit, rng.uniform(0, 90), corners)
        self.canvas.fill(outline, random_colour(rng), hides=True)

    def _hand(self, at, rng):
        unit, skin, lean = self.unit, self.skin * rng.uniform(0.85, 1.0), rng.uniform(-35, 35)
        right, down = turned(np.eye(2), lean) * unit
        wrist = at + 0.2 * down
        arm = np.stack([wrist - 0.25 * right, wrist + 0.25 * right])
        parts = [np.concatenate([arm, arm[::-1] + 4 * down])]
        parts.append(ellipse(at + 0.32 * down, (0.34 * unit, 0.36 * unit), lean))
        for k in (-1.5, -0.5, 0.5, 1.5):
            centre = at + 0.17 * k * right - (0.17 if abs(k) < 1 else 0.12) * down
            parts.append(ellipse(centre, (0.085 * unit, 0.34 * unit), lean + k * 5))
        for part in parts:
            self.canvas.line(part, skin * 0.6, 0.035 * unit, closed=True)
        for part in parts:
            self.canvas.fill(part, skin, hides=True)
        for part in parts[2:]:
            self.canvas.line(part[7:22], skin * 0.75, 0.015 * unit)
