"""Views of a face: one random variation of its crop, image and points together.

A view is a pure function of (configuration, seed, round, face): drawn again it is the same to the bit. Teachers'
outputs can therefore be stored per view without storing the pixels (see `kdloss.training.teacher_cache`).
"""

import functools
import math
import random
from dataclasses import dataclass

import cv2
import numpy as np

from kdloss.data.geometry import FaceCrop
from kdloss.errors import ConfigError

_RAMP = np.linspace(0, 1, 256, dtype=np.float32)


@dataclass(frozen=True)
class AugmentConfig:
    """How strongly views vary. Probabilities are per view.

    Args:
        rotation: degrees; drawn uniformly from +- this.
        scale: the face is drawn larger or smaller by up to this share (log-uniform).
        shift: the face moves by up to this share of the crop, in both directions.
        mirror: probability; ignored for schemes without mirror partners.
        colour: strength of brightness, contrast, gamma and channel gains.
        grey, blur, noise, occlusion: probabilities.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    mirror: float = 0.0
    colour: float = 0.0
    grey: float = 0.0
    blur: float = 0.0
    noise: float = 0.0
    occlusion: float = 0.0


AUGMENTATIONS = {
    "none": AugmentConfig(),
    # For schedules of minutes: little to learn besides the face.
    "light": AugmentConfig(rotation=8.0, scale=0.05, shift=0.02, mirror=0.5, colour=0.3),
    # KD-Loss' offline augmentation: +-0.35 rad, mirror, gamma, noise, blur, crop jitter of 5-15 px at 224.
    "paper": AugmentConfig(rotation=20.0, scale=0.05, shift=0.045, mirror=0.5, colour=0.5, blur=0.2, noise=0.2),
    "strong": AugmentConfig(
        rotation=25.0, scale=0.15, shift=0.06, mirror=0.5, colour=1.0, grey=0.1, blur=0.15, noise=0.15, occlusion=0.3
    ),
}


def augmentation(name):
    """The `AugmentConfig` called ``name``.

    Raises:
        ConfigError: no such name.
    """
    if name not in AUGMENTATIONS:
        raise ConfigError(f"--augment {name}: expected one of {', '.join(AUGMENTATIONS)}")
    return AUGMENTATIONS[name]


def view_rng(seed, round_, row):
    """The random generator of one view; independent of batch order, workers and machine.

    Python's own: it begins, and draws single numbers, in a fraction of the time that numpy's takes.
    """
    return random.Random(int(seed) << 96 | int(round_) << 48 | int(row))


def draw_crop(rng, config, box, size, mirrorable=True):
    """Draws the geometry of a view, which does not depend on ``size`` but for the unit of its pixels.

    Args:
        rng: a `random.Random`.
        config: an `AugmentConfig`.
        box: x, y, width, height of the unvaried crop.
        size: side of the view, pixels.
        mirrorable: whether the scheme knows its mirror partners.

    Returns:
        ``(FaceCrop, mirrored)``.
    """
    turn, zoom, right, down = (2 * rng.random() - 1 for _ in range(4))
    mirrored = rng.random() < config.mirror and mirrorable
    crop = FaceCrop.from_box(
        box,
        size,
        rotation=math.radians(config.rotation) * turn,
        scale=(1 + config.scale) ** zoom,
        shift=(config.shift * right, config.shift * down),
        mirror=mirrored,
    )
    return crop, mirrored


def vary_pixels(rng, config, image):
    """Colour, grey, blur, noise and occluding patches on a view (S, S, 3) uint8, in place."""
    if config.colour:
        _vary_colour(rng, config.colour, image)
    if rng.random() < config.grey:
        cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB, dst=image)
    if rng.random() < config.blur:
        _blur(image, len(image) * rng.uniform(0.003, 0.015))
    if rng.random() < config.occlusion:
        _occlude(rng, image)
    if rng.random() < config.noise:
        _add_noise(rng, rng.uniform(2, 12), image)


def _vary_colour(rng, strength, image):
    # One table of 256 values a channel: gamma, contrast about the middle, brightness and the channel's own gain.
    gamma = math.exp(rng.uniform(-0.35, 0.35) * strength)
    contrast = math.exp(rng.uniform(-0.3, 0.3) * strength)
    brightness = rng.uniform(-0.12, 0.12) * strength
    gains = [255 * math.exp(rng.uniform(-0.1, 0.1) * strength) for _ in range(3)]
    ramp = (np.power(_RAMP, gamma) - 0.5) * contrast + (0.5 + brightness)
    table = np.float32(gains)[:, None] * ramp
    cv2.LUT(image, table.clip(0, 255, out=table).astype(np.uint8).T.reshape(1, 256, 3), dst=image)


def _blur(image, sigma):
    # As cv2.GaussianBlur, whose whole numbers take twice the time.
    kernel = cv2.getGaussianKernel(round(6 * sigma + 1) | 1, sigma, cv2.CV_32F)
    cv2.sepFilter2D(image, -1, kernel, kernel, dst=image)


def _occlude(rng, image):
    size = len(image)
    for _ in range(1 + (rng.random() < 0.5)):
        width, height = (int(rng.uniform(0.1, 0.4) * size) for _ in range(2))
        x, y = (int(rng.uniform(-0.1, 0.9) * size) for _ in range(2))
        top, left = max(y, 0), max(x, 0)
        patch = image[top : y + height, left : x + width]
        if patch.size:
            # A flat colour, or a piece of the same picture: neither edges nor texture alone give the patch away.
            piece = image[::-1, ::-1][top : y + height, left : x + width]
            patch[:] = [int(256 * rng.random()) for _ in range(3)] if rng.random() < 0.5 else piece.copy()


def _add_noise(rng, deviation, image):
    table = _normal_numbers(image.size)
    start = int(rng.random() * (len(table) - image.size))
    noise = table[start : start + image.size].reshape(image.shape)
    cv2.addWeighted(image, 1.0, noise, deviation, 0.0, dst=image, dtype=cv2.CV_8U)


@functools.lru_cache(maxsize=8)
def _normal_numbers(size):
    """Normal numbers, 8 times as many as a view has values. It takes those from any of them on: new ones take long."""
    table = np.random.default_rng(size).standard_normal(8 * size, np.float32)
    table.flags.writeable = False
    return table
