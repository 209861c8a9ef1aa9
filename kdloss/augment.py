"""Views of a face: one random variation of its crop, image and points together.

A view is a pure function of (configuration, seed, round, face): drawn again it is the same to the bit. Teachers'
outputs can therefore be stored per view without storing the pixels (see `kdloss.teacher_cache`).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from kdloss.errors import ConfigError
from kdloss.geometry import FaceCrop


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
    """The random generator of one view; independent of batch order, workers and machine."""
    return np.random.default_rng([seed, round_, row])


def draw_crop(rng, config, box, size, mirrorable=True):
    """Draws the geometry of a view.

    Args:
        rng: a `numpy.random.Generator`.
        config: an `AugmentConfig`.
        box: x, y, width, height of the unvaried crop.
        size: side of the view, pixels.
        mirrorable: whether the scheme knows its mirror partners.

    Returns:
        ``(FaceCrop, mirrored)``.
    """
    turn, zoom, right, down, flip = rng.random(5)
    mirrored = bool(mirrorable and flip < config.mirror)
    crop = FaceCrop.from_box(
        box,
        size,
        rotation=np.deg2rad(config.rotation) * (2 * turn - 1),
        scale=(1 + config.scale) ** (2 * zoom - 1),
        shift=(config.shift * (2 * right - 1), config.shift * (2 * down - 1)),
        mirror=mirrored,
    )
    return crop, mirrored


def vary_pixels(rng, config, image):
    """Colour, grey, blur, noise and occluding patches on a view (S, S, 3) uint8, which is left as it is."""
    if config.colour:
        image = _vary_colour(rng, config.colour, image)
    if rng.random() < config.grey:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=-1)
    if rng.random() < config.blur:
        image = cv2.GaussianBlur(image, (0, 0), image.shape[0] * rng.uniform(0.003, 0.015))
    if rng.random() < config.occlusion:
        image = _occlude(rng, image)
    if rng.random() < config.noise:
        noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(2, 12)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image


def _vary_colour(rng, strength, image):
    # One table of 256 values a channel: gamma, contrast about the middle, brightness and the channel's own gain.
    gamma = np.exp(rng.uniform(-0.35, 0.35) * strength)
    contrast = np.exp(rng.uniform(-0.3, 0.3) * strength)
    brightness = rng.uniform(-0.12, 0.12) * strength
    gains = np.exp(rng.uniform(-0.1, 0.1, 3) * strength)
    ramp = (np.linspace(0, 1, 256) ** gamma - 0.5) * contrast + 0.5 + brightness
    table = np.clip(255 * ramp[:, None] * gains, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table.reshape(1, 256, 3))


def _occlude(rng, image):
    size = image.shape[0]
    image = image.copy()
    for _ in range(rng.integers(1, 3)):
        width, height = (rng.uniform(0.1, 0.4, 2) * size).astype(int)
        x, y = (rng.uniform(-0.1, 0.9, 2) * size).astype(int)
        top, left = max(y, 0), max(x, 0)
        patch = image[top : y + height, left : x + width]
        if patch.size:
            # A flat colour, or a piece of the same picture: neither edges nor texture alone give the patch away.
            piece = image[::-1, ::-1][top : y + height, left : x + width]
            patch[:] = rng.integers(0, 256, 3) if rng.random() < 0.5 else piece.copy()
    return image
