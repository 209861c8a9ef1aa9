"""Renders synthetic faces with 98 exactly known points, for demonstrations and tests without real photographs."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from data_prep.face_shape import Head
from data_prep.painting import Canvas, FacePainter
from kdloss.errors import ConfigError

SMALLEST = 48


@dataclass(frozen=True)
class SyntheticFace:
    """One rendered face."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    points98: np.ndarray  # (98, 2) float32, 0-based pixels, in the order of scheme 98
    parameters: SimpleNamespace  # as `draw_parameters` returns them
    occluded: np.ndarray  # (98,) bool: points behind hair, hat, dark glasses or another object

    @property
    def flags(self):
        """Name of each of the six WFLW subsets -> bool. WFLW's own flags were set by eye; these come from numbers."""
        p = self.parameters
        lids = max(p.right_eye_closure, p.left_eye_closure)
        return {
            "pose": abs(p.yaw) > 32 or abs(p.pitch) > 16 or abs(p.roll) > 24,
            "expression": p.mouth_open > 0.45 or abs(p.smile) > 0.75 or lids > 0.75 or p.pucker > 0.6,
            "illumination": p.light_strength > 0.5 or not 0.65 < p.exposure < 1.25,
            "make-up": p.makeup > 0,
            "occlusion": bool(np.mean(self.occluded) > 0.08),
            "blur": p.blur > 1.4,
        }


def draw_parameters(rng, difficulty=1.0):
    """Draws every number and choice that makes a face.

    Args:
        rng: `numpy.random.Generator`.
        difficulty: factor of the spread of pose and expression; 1 is an everyday mixture.

    Returns:
        A namespace. Sizes are factors of the average, expressions and strengths lie between 0 and 1, angles are in
        degrees. Positive yaw, pitch and roll turn to the right of the picture, up, and clockwise. The longer side of
        the landmarks' box is ``share`` of the picture's shorter side, and its centre lies ``shift_x``, ``shift_y`` of
        that side from the middle. Gaze and light run from -1 to 1, to the right and down. ``skin`` 1 is dark,
        ``hair_tone`` 1 is fair. ``blur`` is a standard deviation in pixels of a 200-pixel picture, ``noise`` one in
        grey levels.
    """

    def normal(spread):
        return float(np.clip(rng.normal(), -2.5, 2.5)) * spread

    def size(spread):
        return float(np.exp(normal(spread)))

    def sometimes(probability, low=0.0, high=1.0):
        return rng.uniform(low, high) if rng.random() < probability else 0.0

    def choice(**weights):
        return str(rng.choice(list(weights), p=list(weights.values())))

    p, lively = SimpleNamespace(), min(difficulty, 2.0)
    p.yaw, p.pitch, p.roll = (
        float(np.clip(normal(spread * difficulty), -most, most)) for spread, most in ((20, 60), (9, 28), (10, 45))
    )
    p.share, p.shift_x, p.shift_y = rng.uniform(0.48, 0.60), normal(0.025), normal(0.025)
    p.face_width, p.face_length, p.jaw_width, p.forehead = map(size, (0.055, 0.08, 0.10, 0.08))
    p.eye_spacing, p.eye_width, p.eye_height, p.eye_slant = size(0.04), size(0.06), size(0.18), normal(1.0)
    p.brow_height, p.brow_thickness = size(0.12), size(0.25)
    p.brow_arch, p.brow_slant = 1.0 + normal(0.4), normal(0.6)
    p.nose_length, p.nose_width, p.nose_height = map(size, (0.07, 0.11, 0.15))
    p.mouth_width, p.mouth_drop, p.upper_lip, p.lower_lip = map(size, (0.08, 0.07, 0.25, 0.25))
    p.mouth_open = sometimes(0.45 * lively, 0.05, 1.0) ** 1.5
    p.smile = sometimes(0.5, 0.1, 1.0) - sometimes(0.12, 0.1, 0.8)
    p.smile_skew, p.pucker, p.frown = normal(0.12), sometimes(0.08 * lively), sometimes(0.2 * lively)
    raised, squint, blink = sometimes(0.3 * lively), sometimes(0.5, 0.0, 0.35), sometimes(0.12, 0.6, 1.0)
    p.right_brow_raise, p.left_brow_raise = raised + normal(0.08), raised + normal(0.08)
    p.right_eye_closure = max(blink, squint)
    p.left_eye_closure = squint if rng.random() < 0.1 else max(blink, squint)  # a wink
    p.gaze_x, p.gaze_y = normal(0.4), normal(0.3)
    p.skin, p.hair_tone, p.iris_tone = rng.beta(1.1, 1.4), rng.beta(0.9, 1.6), rng.random()
    p.hair = choice(short=0.42, long=0.30, full=0.18, bald=0.10)
    p.fringe, p.hat = rng.random() < 0.13, rng.random() < 0.10
    p.beard, p.makeup = sometimes(0.22, 0.2, 0.9), sometimes(0.15, 0.4, 1.0)
    p.glasses = choice(none=0.82, clear=0.13, sun=0.05)
    p.occluder = choice(none=0.84, patch=0.09, hand=0.07)
    p.light_x, p.light_y, p.light_strength = rng.uniform(-1, 1), rng.uniform(-1, 0.4), rng.beta(2, 3.5)
    p.exposure, p.warmth = float(np.exp(normal(0.20) - 0.05)), normal(0.35)
    p.blur, p.noise = sometimes(0.35, 0.3, 2.6), sometimes(0.5, 1.0, 9.0)
    return p


def render_face(rng, size=200, difficulty=1.0):
    """Draws a random face and renders it; see `draw_parameters` and `render`."""
    return render(draw_parameters(rng, difficulty), rng, size)


def render(p, rng, size=200):
    """Renders one face.

    Args:
        p: parameters as `draw_parameters` returns them.
        rng: `numpy.random.Generator` for background, clothes and noise. One state gives one picture, to the last bit.
        size: pixels: a side, or (height, width); at least `SMALLEST`.
    """
    height, width = (size, size) if np.isscalar(size) else size
    if min(height, width) < SMALLEST:
        raise ConfigError(f"size {height}x{width}: expected at least {SMALLEST} pixels a side")
    head = Head(p, height, width)
    canvas = Canvas(height, width, head.scale)
    canvas.background(rng)
    FacePainter(canvas, head, p).paint(rng)
    image, occluded = canvas.photograph(p, rng), canvas.hidden(head.points)
    return SyntheticFace(image, head.points.astype(np.float32), p, occluded)
