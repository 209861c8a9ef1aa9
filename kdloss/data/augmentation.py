"""Augmentation: how the views of a face vary, image and points together. ``--augment`` names one of `AUGMENTATIONS`.

A view is a pure function of (configuration, seed, round, face), the same to the bit whenever it is drawn. The
outputs of teachers can therefore be stored for each view without its pixels (see `kdloss.training.teacher_cache`).
"""

import functools
import math
import random
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from kdloss.data.geometry import FaceCrop
from kdloss.errors import ConfigError

_RAMP = np.linspace(0, 1, 256, dtype=np.float32)


@dataclass(frozen=True)
class AugmentConfig:
    """How strongly views vary. Probabilities are per view."""

    rotation: float = 0.0  # the face turns by up to this many degrees, either way
    scale: float = 0.0  # the face appears larger or smaller by up to this share (log-uniform)
    shift: float = 0.0  # the face moves by up to this share of the crop's side, along x and y
    mirror: float = 0.0  # probability of a mirrored view; ignored for schemes without mirror partners
    colour: float = 0.0  # strength of the changes of brightness, contrast, gamma and of each channel's gain
    grey: float = 0.0  # probability of a grey view
    blur: float = 0.0  # probability of Gaussian blur, with a deviation of 0.3 to 1.5 % of the view's side
    noise: float = 0.0  # probability of Gaussian noise, with a deviation of 2 to 12 grey levels
    occlusion: float = 0.0  # probability of covering patches, about any place of the view
    patches: int = 2  # of such a view, at most
    patch_sides: tuple[float, float] = (0.1, 0.4)  # of the view's side, the least and the largest


AUGMENTATIONS = {
    # The crop as it is.
    "none": AugmentConfig(),
    # For trainings of minutes, too short to learn much besides the face itself.
    "light": AugmentConfig(rotation=8.0, scale=0.05, shift=0.02, mirror=0.5, colour=0.3),
    # KD-Loss' offline augmentation: +-0.35 rad, mirror, gamma, noise, blur, crop jitter of 5-15 px at 224.
    "paper": AugmentConfig(rotation=20.0, scale=0.05, shift=0.045, mirror=0.5, colour=0.5, blur=0.2, noise=0.2),
    # Everything, for long trainings: larger changes of pose and colour, grey views, and covered parts of the face.
    "strong": AugmentConfig(
        rotation=25.0, scale=0.15, shift=0.06, mirror=0.5, colour=1.0, grey=0.1, blur=0.15, noise=0.15, occlusion=0.3
    ),
    # As ADNet (Huang et al., ICCV 2021) and STAR (Zhou et al., CVPR 2023) list theirs: less pose, larger patches.
    "covered": AugmentConfig(
        rotation=18.0,
        scale=0.1,
        shift=0.05,
        mirror=0.5,
        colour=0.5,
        grey=0.2,
        blur=0.2,
        noise=0.2,
        occlusion=0.4,
        patches=1,
        patch_sides=(0.2, 0.8),
    ),
}


def augmentation(name):
    """The `AugmentConfig` called ``name``, or a `ConfigError` that lists the names."""
    if name not in AUGMENTATIONS:
        raise ConfigError(f"--augment {name}: expected one of {', '.join(AUGMENTATIONS)}")
    return AUGMENTATIONS[name]


def view_rng(seed, round_, row):
    """The random generator of one view; independent of batch order, workers and machine.

    It is Python's own, which starts, and draws single numbers, much faster than numpy's.
    """
    return random.Random(int(seed) << 96 | int(round_) << 48 | int(row))


def draw_crop(rng, config, box, size, mirrorable=True):
    """Draws the geometry of a view of ``size`` x ``size`` pixels: ``(FaceCrop, mirrored)``.

    Args:
        rng: of `view_rng`; the same state gives the same view at every ``size``, which is its resolution only.
        config: an `AugmentConfig`.
        box: x, y, width, height of the unvaried crop.
        mirrorable: whether the scheme has mirror partners.
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


class Changes(NamedTuple):
    """How the pixels of one view change, in this order. A field's default changes nothing."""

    curve: tuple = ()  # gamma, contrast, brightness, and the gains of red, green and blue
    grey: bool = False
    blur: float = 0.0  # deviation, pixels
    patches: tuple = ()  # of (left, top, right, bottom, colour); None in place of a colour: a piece of the same picture
    noise: float = 0.0  # deviation, grey levels
    noise_start: int = 0  # where the view's noise begins in `normal_numbers`


def draw_changes(rng, config, size):
    """Draws the `Changes` of a view of ``size`` x ``size`` pixels, after its geometry."""
    curve = _draw_curve(rng, config.colour) if config.colour else ()
    grey = rng.random() < config.grey
    blur = size * rng.uniform(0.003, 0.015) if rng.random() < config.blur else 0.0
    patches = tuple(_draw_patches(rng, config, size)) if rng.random() < config.occlusion else ()
    noise = rng.uniform(2, 12) if rng.random() < config.noise else 0.0
    # 7 = 8 - 1: the numbers for each value, but for the last slice.
    return Changes(curve, grey, blur, patches, noise, int(rng.random() * (7 * 3 * size**2)) if noise else 0)


def vary_pixels(rng, config, image):
    """Varies colour, grey, blur, occlusion and noise of a view (S, S, 3) uint8, in place."""
    changes = draw_changes(rng, config, len(image))
    if changes.curve:
        _change_colour(changes.curve, image)
    if changes.grey:
        cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB, dst=image)
    if changes.blur:
        # The same as cv2.GaussianBlur, whose integer arithmetic takes twice the time.
        kernel = cv2.getGaussianKernel(2 * blur_reach(changes.blur) + 1, changes.blur, cv2.CV_32F)
        cv2.sepFilter2D(image, -1, kernel, kernel, dst=image)
    for left, top, right, bottom, colour in changes.patches:
        piece = image[::-1, ::-1][top:bottom, left:right]
        image[top:bottom, left:right] = piece.copy() if colour is None else colour
    if changes.noise:
        noise = normal_numbers(image.size)[changes.noise_start :][: image.size].reshape(image.shape)
        cv2.addWeighted(image, 1.0, noise, changes.noise, 0.0, dst=image, dtype=cv2.CV_8U)


def blur_reach(sigma):
    """Pixels on either side that blur of this deviation takes into account."""
    return round(6 * sigma + 1) // 2


def _draw_curve(rng, strength):
    gamma = math.exp(rng.uniform(-0.35, 0.35) * strength)
    contrast = math.exp(rng.uniform(-0.3, 0.3) * strength)
    brightness = rng.uniform(-0.12, 0.12) * strength
    return gamma, contrast, brightness, *(math.exp(rng.uniform(-0.1, 0.1) * strength) for _ in range(3))


def _change_colour(curve, image):
    # Gamma, contrast about the middle, brightness and each channel's gain, in one table of 256 values a channel.
    gamma, contrast, brightness, *gains = curve
    ramp = (np.power(_RAMP, gamma) - 0.5) * contrast + (0.5 + brightness)
    table = np.float32([255 * gain for gain in gains])[:, None] * ramp
    cv2.LUT(image, table.clip(0, 255, out=table).astype(np.uint8).T.reshape(1, 256, 3), dst=image)


def _draw_patches(rng, config, size):
    for _ in range(1 + int(config.patches * rng.random())):
        width, height = (int(rng.uniform(*config.patch_sides) * size) for _ in range(2))
        x, y = (int(rng.random() * size) - side // 2 for side in (width, height))
        left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, size), min(y + height, size)
        if left < right and top < bottom:
            # A flat colour, or a piece of the same picture, so that neither edges nor texture alone reveal a patch.
            flat = rng.random() < 0.5
            yield left, top, right, bottom, tuple(int(256 * rng.random()) for _ in range(3)) if flat else None


@functools.lru_cache(maxsize=8)
def normal_numbers(size):
    """A table of normal numbers, 8 per value of a view. A view takes a random slice: drawing new numbers is slow."""
    table = np.random.default_rng(size).standard_normal(8 * size, np.float32)
    table.flags.writeable = False
    return table
