"""How views vary: within their limits, as named, the same under the same seed, and without touching their input."""

import cv2
import numpy as np
import pytest

from kdloss.data.augmentation import AugmentConfig, draw_crop, vary_pixels, view_rng
from kdloss.data.geometry import FaceCrop

BOX, SIZE = (8.0, 5.0, 40.0, 40.0), 128
PIXELS = ("colour", "grey", "blur", "noise", "occlusion")


def picture(seed=0):
    """Smooth structure with some texture on it, well away from black and white."""
    rng = np.random.default_rng(seed)
    smooth = cv2.resize(rng.uniform(60, 200, (6, 6, 3)), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 12, smooth.shape), 20, 235).astype(np.uint8)


def varied(row, config, image):
    """Variation ``row`` of a picture, as a new one."""
    image = image.copy()
    vary_pixels(view_rng(0, 0, row), config, image)
    return image


def drawn(config, count=200, mirrorable=True):
    """Rotation, scale, shift and mirror of many views, read off their matrices."""
    plain = FaceCrop.from_box(BOX, SIZE).matrix
    found = []
    for row in range(count):
        crop, mirrored = draw_crop(view_rng(0, 0, row), config, BOX, SIZE, mirrorable)
        linear = crop.matrix[:, :2] @ np.linalg.inv(plain[:, :2])
        reflected = np.linalg.det(linear) < 0
        assert reflected == mirrored
        if reflected:
            linear = np.diag([-1, 1]) @ linear
        centre = crop.unit_points(np.array([BOX[0] + BOX[2] / 2, BOX[1] + BOX[3] / 2])) * [-1 if mirrored else 1, 1]
        angle = np.rad2deg(np.arctan2(linear[1, 0], linear[0, 0]))
        found.append((angle, np.sqrt(np.linalg.det(linear)), *centre, mirrored))
    return np.array(found).T


def test_geometry_stays_within_its_limits_and_fills_them():
    config = AugmentConfig(rotation=25, scale=0.2, shift=0.06, mirror=0.5)
    angle, scale, right, down, mirrored = drawn(config)
    for values, limit in ((angle, 25), (right, 0.06), (down, 0.06), (np.log(scale), np.log(1.2))):
        assert np.abs(values).max() <= limit * (1 + 1e-9)
        assert values.max() > 0.9 * limit
        assert values.min() < -0.9 * limit
    assert 0.4 < mirrored.mean() < 0.6


def test_one_augmentation_leaves_the_others_alone():
    angle, scale, right, down, mirrored = drawn(AugmentConfig(shift=0.05), count=20)
    np.testing.assert_allclose(angle, 0, atol=1e-9)
    np.testing.assert_allclose(scale, 1, atol=1e-9)
    assert not mirrored.any()
    # Strengthening one does not redraw another.
    both = drawn(AugmentConfig(shift=0.05, rotation=30, mirror=1.0), count=20)
    np.testing.assert_allclose(both[2:4], [right, down], atol=1e-9)
    assert both[4].all()
    # A face without mirror partners is never mirrored.
    assert not drawn(AugmentConfig(mirror=1.0), count=30, mirrorable=False)[4].any()


@pytest.mark.parametrize("name", [*PIXELS, "all"])
def test_pixels_change_in_place_and_nothing_around_them(name):
    config = AugmentConfig(**dict.fromkeys(PIXELS if name == "all" else (name,), 1.0))
    image = picture()
    batch = np.stack([image, image, image])
    vary_pixels(view_rng(0, 0, 3), config, batch[1])
    assert (batch[1] != image).any()
    np.testing.assert_array_equal(batch[::2], [image, image])
    np.testing.assert_array_equal(varied(3, config, image), batch[1])
    if name != "grey":
        assert (varied(4, config, image) != batch[1]).any()
    np.testing.assert_array_equal(varied(0, AugmentConfig(), image), image)


@pytest.mark.parametrize("name", ["grey", "blur", "noise", "occlusion"])
def test_probabilities_are_shares_of_views(name):
    image = picture()
    changed = [(varied(row, AugmentConfig(**{name: 0.3}), image) != image).any() for row in range(200)]
    assert 0.2 < np.mean(changed) < 0.4


def test_colour_is_a_rising_curve_for_each_channel():
    ramp = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=-1)
    brighter = []
    for row in range(60):
        curve = varied(row, AugmentConfig(colour=1.0), ramp).reshape(256, 3).astype(int)
        assert (np.diff(curve, axis=0) >= 0).all()
        assert np.ptp(curve, axis=0).min() > 100
        assert np.ptp(curve[128]) > 0
        brighter.append(curve[128].mean() > 128)
    assert 0.25 < np.mean(brighter) < 0.75


def test_grey_has_equal_channels_of_the_same_lightness():
    image = picture()
    grey = varied(0, AugmentConfig(grey=1.0), image)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 1])
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])
    # Red, green and blue weigh what ITU-R BT.601 says: green most, so the order of channels matters.
    np.testing.assert_allclose(grey[..., 0], image @ [0.299, 0.587, 0.114], atol=1)


def test_noise_is_centred_of_the_strength_drawn_and_differs_from_view_to_view():
    flat = np.full((SIZE, SIZE, 3), 128, np.uint8)
    views = [varied(row, AugmentConfig(noise=1.0), flat).astype(float) - 128 for row in range(30)]
    assert max(abs(view.mean()) for view in views) < 1
    spread = [view.std() for view in views]
    assert 1.9 < min(spread) < 4
    assert 10 < max(spread) < 12.5
    # It does not wrap at black and white.
    for level in (0, 255):
        noisy = varied(0, AugmentConfig(noise=1.0), np.full_like(flat, level)).astype(int)
        assert np.abs(noisy - level).max() < 100
    related = np.corrcoef([noise.ravel() for noise in views]) - np.eye(len(views))
    assert np.abs(related).max() < 0.03


@pytest.mark.parametrize(("patches", "sides", "least"), [(2, (0.1, 0.4), 0.03), (1, (0.2, 0.8), 0.1)])
def test_occlusion_covers_patches(patches, sides, least):
    image, shares, augment = picture(), [], AugmentConfig(occlusion=1.0, patches=patches, patch_sides=sides)
    for row in range(60):
        changed = (varied(row, augment, image) != image).any(axis=-1)
        parts, *_ = cv2.connectedComponents(changed.astype(np.uint8))
        boxes = cv2.connectedComponentsWithStats(changed.astype(np.uint8))[2][1:]
        large = boxes[boxes[:, cv2.CC_STAT_AREA] > 8]
        assert len(large) <= patches or parts <= 1 + patches
        assert (large[:, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]] <= patches * sides[1] * SIZE).all()
        shares.append(changed.mean())
    assert max(shares) <= patches * sides[1] ** 2
    assert least < np.mean(shares) < 0.2
