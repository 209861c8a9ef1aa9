"""What makes one synthetic face: every number and choice, drawn from a seeded generator and recorded with the face."""

from dataclasses import dataclass

import numpy as np

# Thresholds of the subset flags. WFLW's own were set by eye; these say as much about a rendered face.
POSE_YAW, POSE_PITCH, POSE_ROLL = 32.0, 16.0, 24.0
OCCLUDED_SHARE = 0.08


@dataclass(frozen=True)
class FaceParameters:
    """Sizes are factors of the average (1), expressions run from 0 to 1, angles are degrees.

    Args:
        yaw, pitch, roll: positive turns to the right of the picture, up, and clockwise.
        share: longer side of the landmarks' box over the shorter side of the picture.
        shift_x, shift_y: of that box from the middle, in the same unit.
        smile: negative turns the mouth's corners down. gaze_x, gaze_y: -1 to 1, right and down.
        skin: 0 light to 1 dark. hair_tone: 0 black, 0.5 brown, 1 fair. beard: opacity. makeup: 0 to 1.
        light_x, light_y: where the light comes from, -1 to 1, right and down.
        light_strength: contrast of that light, 0 to 1. exposure: factor of brightness. warmth: -1 blue to 1 yellow.
        blur: standard deviation in pixels of a 200-pixel picture; ``motion`` makes it a streak. noise: grey levels.
    """

    yaw: float
    pitch: float
    roll: float
    share: float
    shift_x: float
    shift_y: float
    face_width: float
    face_length: float
    jaw_width: float
    forehead: float
    eye_spacing: float
    eye_width: float
    eye_height: float
    eye_slant: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    brow_slant: float
    nose_length: float
    nose_width: float
    nose_height: float
    mouth_width: float
    mouth_drop: float
    upper_lip: float
    lower_lip: float
    mouth_open: float
    smile: float
    smile_skew: float
    pucker: float
    frown: float
    right_brow_raise: float
    left_brow_raise: float
    right_eye_closure: float
    left_eye_closure: float
    gaze_x: float
    gaze_y: float
    skin: float
    hair_tone: float
    iris_tone: float
    hair: str
    fringe: bool
    hat: bool
    beard: float
    makeup: float
    glasses: str
    occluder: str
    light_x: float
    light_y: float
    light_strength: float
    exposure: float
    warmth: float
    blur: float
    motion: bool
    noise: float

    def flags(self, occluded):
        """The six WFLW subsets -> bool. ``occluded``: (98,) bool."""
        lids = max(self.right_eye_closure, self.left_eye_closure)
        expression = self.mouth_open > 0.45 or abs(self.smile) > 0.75 or lids > 0.75 or self.pucker > 0.6
        return {
            "pose": abs(self.yaw) > POSE_YAW or abs(self.pitch) > POSE_PITCH or abs(self.roll) > POSE_ROLL,
            "expression": expression,
            "illumination": self.light_strength > 0.5 or not 0.65 < self.exposure < 1.25,
            "make-up": self.makeup > 0,
            "occlusion": bool(np.mean(occluded) > OCCLUDED_SHARE),
            "blur": self.blur > 1.4,
        }


def draw_parameters(rng, difficulty=1.0):
    """Draws a face.

    Args:
        rng: `numpy.random.Generator`.
        difficulty: factor of the spread of pose and expression; 1 is an everyday mixture.
    """

    def normal(spread, limit=2.5):
        return float(np.clip(rng.normal(), -limit, limit) * spread)

    def size(spread):
        return float(np.exp(normal(spread)))

    def chance(probability):
        return bool(rng.random() < probability)

    def sometimes(probability, low=0.0, high=1.0):
        value, happens = float(rng.uniform(low, high)), chance(probability)
        return value if happens else 0.0

    def choice(weights):
        return str(rng.choice(list(weights), p=list(weights.values())))

    lively = min(difficulty, 2.0)
    blink = sometimes(0.12, 0.6, 1.0)
    squint, raised, hat = sometimes(0.5, 0.0, 0.35), sometimes(0.3 * lively), chance(0.10)
    return FaceParameters(
        yaw=float(np.clip(normal(20 * difficulty), -60, 60)),
        pitch=float(np.clip(normal(9 * difficulty), -28, 28)),
        roll=float(np.clip(normal(10 * difficulty), -45, 45)),
        share=float(rng.uniform(0.48, 0.60)),
        shift_x=normal(0.025),
        shift_y=normal(0.025),
        face_width=size(0.055),
        face_length=size(0.08),
        jaw_width=size(0.10),
        forehead=size(0.08),
        eye_spacing=size(0.04),
        eye_width=size(0.06),
        eye_height=size(0.18),
        eye_slant=normal(1.0),
        brow_height=size(0.12),
        brow_thickness=size(0.25),
        brow_arch=1.0 + normal(0.4),
        brow_slant=normal(0.6),
        nose_length=size(0.07),
        nose_width=size(0.11),
        nose_height=size(0.15),
        mouth_width=size(0.08),
        mouth_drop=size(0.07),
        upper_lip=size(0.25),
        lower_lip=size(0.25),
        mouth_open=sometimes(0.45 * lively, 0.05, 1.0) ** 1.5,
        smile=sometimes(0.5, 0.1, 1.0) - sometimes(0.12, 0.1, 0.8),
        smile_skew=normal(0.12),
        pucker=sometimes(0.08 * lively),
        frown=sometimes(0.2 * lively),
        right_brow_raise=raised + normal(0.08),
        left_brow_raise=raised + normal(0.08),
        right_eye_closure=max(blink, squint),
        left_eye_closure=squint if chance(0.1) else max(blink, squint),
        gaze_x=normal(0.4),
        gaze_y=normal(0.3),
        skin=float(rng.beta(1.1, 1.4)),
        hair_tone=float(rng.beta(0.9, 1.6)),
        iris_tone=float(rng.random()),
        hair=choice({"short": 0.42, "long": 0.30, "full": 0.18, "bald": 0.10}),
        fringe=chance(0.13),
        hat=hat,
        beard=sometimes(0.22, 0.2, 0.9),
        makeup=sometimes(0.15, 0.4, 1.0),
        glasses=choice({"none": 0.82, "clear": 0.13, "sun": 0.05}),
        occluder=choice({"none": 0.84, "patch": 0.06, "hand": 0.07, "bar": 0.03}),
        light_x=float(rng.uniform(-1, 1)),
        light_y=float(rng.uniform(-1, 0.4)),
        light_strength=float(rng.beta(2, 3.5)),
        exposure=float(np.exp(normal(0.20) - 0.05)),
        warmth=normal(0.35),
        blur=sometimes(0.35, 0.3, 2.6),
        motion=chance(0.3),
        noise=sometimes(0.5, 1.0, 9.0),
    )
