"""What stands behind and before a synthetic face, and what the camera makes of it."""

import cv2
import numpy as np

from data_prep.canvas import ellipse_outline, unit_circle
from data_prep.face_painting import INDEX
from data_prep.face_shape import SIDES, spline


def paint_background(canvas, rng):
    """A gradient, shapes at random and soft texture."""
    height, width = canvas.height, canvas.width
    corners = _colours(rng, 4).astype(np.uint8).reshape(2, 2, 3)
    canvas.fine = cv2.resize(corners, canvas.fine.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    for _ in range(int(rng.integers(0, 11))):
        centre, radii = rng.uniform((0, 0), (width, height)), rng.uniform(0.03, 0.4, 2) * min(height, width)
        corners = int(rng.choice([3, 4, 5, 28]))
        outline = ellipse_outline(centre, radii, rng.uniform(0, 180), corners)
        canvas.fill(outline, _colours(rng, 1)[0], float(rng.uniform(0.4, 1.4)))
    grain = rng.normal(1, rng.uniform(0.02, 0.2), (24, 24))
    canvas.shade(grain)
    if rng.random() < 0.6:
        reach = rng.uniform(1, 6) * min(height, width) / 200
        canvas.fine = cv2.blur(canvas.fine, (int(reach * 2) * 2 + 1,) * 2)


def _colours(rng, count):
    """(count, 3) colours, grey ones more often than vivid ones."""
    grey, vivid = rng.uniform(20, 235, (count, 1)), rng.uniform(20, 235, (count, 3))
    return grey + (vivid - grey) * rng.beta(1, 1.5, (count, 1))


def paint_body(painter, rng):
    """Shoulders and clothes below the head."""
    canvas, unit = painter.canvas, painter.unit
    neck, colour = painter.place(0, 1.75, -0.9), _colours(rng, 1)[0]
    shoulders = [(-2.4, 1.9), (-2.1, 0.75), (-1.4, 0.35), (-0.62, 0.05), (0, 0.3), (0.62, 0.05), (1.4, 0.35)]
    outline = spline(np.array([*shoulders, (2.1, 0.75), (2.4, 1.9)]), 3) * unit + neck
    outline = np.concatenate([outline, [[outline[-1, 0], canvas.height + 5], [outline[0, 0], canvas.height + 5]]])
    canvas.fill(outline, colour)
    canvas.line(outline[6:19], colour * 0.6, 0.03 * unit, 0.7)


def paint_before(painter, rng):
    """Fringe, hat, glasses and occluders, over the face; what they hide is recorded on the canvas."""
    p = painter.p
    if p.fringe and p.hair != "bald":
        _fringe(painter, rng)
    if p.hat:
        _hat(painter, rng)
    if p.glasses != "none":
        _glasses(painter, rng)
    if p.occluder != "none":
        _occluder(painter, rng)


def _fringe(painter, rng):
    p = painter.p
    top = [painter.place(x * 0.8 * p.face_width, y, z) for x, y, z in ((-1, -0.25, -0.5), (-0.6, -1.05, -0.5))]
    top += [painter.place(x * 0.8 * p.face_width, y, z) for x, y, z in ((0.6, -1.05, -0.5), (1, -0.25, -0.5))]
    ends = []
    for x in np.linspace(0.95, -0.95, 11):
        length = -0.17 + rng.normal() * 0.07
        ends.append(painter.place(x * 0.78 * p.face_width, length, 0.12 - 0.55 * x**2))
    outline = np.concatenate([top, ends])
    painter.canvas.fill(outline, painter.hair * 1.05)
    painter.canvas.cover(outline)
    for end in ends:
        painter.canvas.line(np.stack([end, end * 0.4 + top[1] * 0.3 + top[2] * 0.3]), painter.hair * 0.85, 0.8)


def _hat(painter, rng):
    colour, brim_y = _colours(rng, 1)[0], float(rng.uniform(-0.62, -0.36))
    centre, radii = painter.head.skull_centre, painter.head.skull_radii
    rings = []
    for y in (brim_y, -0.85, -1.15, -1.32):
        wide = np.sqrt(max(0.05, 1 - ((y + 0.35) / 1.05) ** 2)) * 1.12
        rings.append([(x * radii[0] * wide, y, centre[2] + z * radii[2] * wide) for x, z in unit_circle(20)])
    hull = cv2.convexHull(painter.projection(np.array(rings)).reshape(-1, 2).astype(np.float32))[:, 0]
    painter.canvas.fill(hull, colour)
    painter.canvas.cover(hull)
    front = painter.projection(np.array(rings[0]))[1:10]
    painter.canvas.line(spline(front, 3), colour * 0.5, 0.10 * painter.unit)


def _glasses(painter, rng):
    canvas, unit, p = painter.canvas, painter.unit, painter.p
    colour = rng.uniform(10, 90, 3)
    wide, high, power = rng.uniform(0.23, 0.28), rng.uniform(0.15, 0.21), rng.uniform(2, 4)
    shape = unit_circle(24)
    shape = shape / (np.abs(shape) ** power).sum(-1, keepdims=True) ** (1 / power)
    lenses = {}
    for side, sign in SIDES.items():
        x = sign * (0.345 * p.eye_spacing) + shape[:, 0] * wide
        depth = 0.16 - 0.25 * np.maximum(0, np.abs(x) - 0.25)
        lenses[side] = painter.projection(np.stack([x, 0.02 + shape[:, 1] * high, depth], axis=-1))
    for side, lens in lenses.items():
        if p.glasses == "sun":
            canvas.fill(lens, colour * 0.5, 0.97)
            canvas.cover(lens)
        else:
            canvas.fill(lens, (225, 235, 245), 0.10)
        canvas.line(lens, colour, 0.035 * unit, closed=True)
        outer = lens[0 if side == "left" else 12]
        sign = SIDES[side]
        if sign * p.yaw < 15:
            canvas.line(np.stack([outer, painter.place(sign * 0.80 * p.face_width, 0.0, -0.65)]), colour, 0.03 * unit)
    canvas.line(np.stack([lenses["right"][0], lenses["left"][12]]), colour, 0.035 * unit)


def _occluder(painter, rng):
    canvas, unit, p = painter.canvas, painter.unit, painter.p
    at = painter.points[rng.integers(98)]
    if p.occluder == "hand":
        at = painter.points[rng.choice([INDEX["chin"], INDEX["lower_lip"], 6, 26, INDEX["nose_base"], 10, 22])]
        _hand(painter, rng, at)
        return
    if p.occluder == "bar":
        angle, half = rng.uniform(0, np.pi), rng.uniform(0.08, 0.2) * unit
        along = np.array([np.cos(angle), np.sin(angle)]) * 8 * unit
        across = np.array([-np.sin(angle), np.cos(angle)]) * half
        outline = np.stack([at - along - across, at + along - across, at + along + across, at - along + across])
    else:
        corners = int(rng.choice([4, 5, 6, 28]))
        outline = ellipse_outline(at, rng.uniform(0.2, 0.5, 2) * unit, rng.uniform(0, 90), corners)
    canvas.fill(outline, _colours(rng, 1)[0])
    canvas.cover(outline)


def _hand(painter, rng, at):
    canvas, unit = painter.canvas, painter.unit
    skin = painter.skin * rng.uniform(0.85, 1.0)
    lean = rng.uniform(-35, 35)
    turn = np.radians(lean)
    right, down = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    arm = np.stack([at + 0.2 * unit * down - 0.25 * unit * right, at + 0.2 * unit * down + 0.25 * unit * right])
    parts = [np.concatenate([arm, arm[::-1] + 4 * unit * down])]
    parts.append(ellipse_outline(at + down * 0.32 * unit, (0.34 * unit, 0.36 * unit), lean))
    for k in range(4):
        centre = at + right * (k - 1.5) * 0.17 * unit - down * (0.12 + 0.05 * (k in (1, 2))) * unit
        parts.append(ellipse_outline(centre, (0.085 * unit, 0.34 * unit), lean + (k - 1.5) * 5))
    for part in parts:
        canvas.line(part, skin * 0.6, 0.035 * unit, closed=True)
        canvas.cover(part)
    for part in parts:
        canvas.fill(part, skin)
    for part in parts[2:]:
        canvas.line(part[7:22], skin * 0.7, 0.015 * unit, 0.7)


def photograph(canvas, p, rng):
    """The finished picture (H, W, 3) uint8 RGB: exposure, white balance, blur and noise of a camera."""
    image = canvas.picture()
    level = np.arange(256, dtype=np.float32) / 255
    gains = p.exposure * (1 + 0.10 * p.warmth * np.array([1, 0.1, -1], np.float32))
    curve = np.clip(np.round(255 * np.minimum(level[:, None] * gains, 1) ** 0.95), 0, 255).astype(np.uint8)
    image = cv2.LUT(image, curve[:, None, :])
    sigma = p.blur * min(canvas.height, canvas.width) / 200
    if p.blur:
        if p.motion:
            image = cv2.filter2D(image, -1, _streak(sigma * 3, rng.uniform(0, np.pi)))
        else:
            image = cv2.GaussianBlur(image, (0, 0), sigma)
    if p.noise:
        grain = rng.standard_normal(image.shape, dtype=np.float32) * p.noise
        image = cv2.add(image, grain, dtype=cv2.CV_8U)
    return image


def _streak(length, angle):
    """The kernel of a straight, centred movement by ``length`` pixels."""
    side = int(np.ceil(length)) // 2 * 2 + 3
    kernel = np.zeros((side, side), np.float32)
    for t in np.linspace(-0.5, 0.5, 33):
        x, y = (side // 2 + t * length * f(angle) for f in (np.cos, np.sin))
        kernel[round(y), round(x)] += 1
    return kernel / kernel.sum()
