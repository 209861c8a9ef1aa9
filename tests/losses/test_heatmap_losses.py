"""Losses between heatmaps against their formulas in float64; gradients by finite differences."""

import numpy as np
import pytest
from keras import ops

from kdloss.data.geometry import to_unit
from kdloss.losses import heatmap_loss
from kdloss.models.heatmaps import SIGMA, gaussian_log_heatmaps
from tests.gradients import value_and_gradients

NAMES = ["cross-entropy", "mse", "adaptive-wing"]
SIDE = 8
MASS = 2 * np.pi * SIGMA**2
# Heatmap pixels: between pixels, on one, and at the very corner, where the peak of the cut-off Gaussian exceeds 1.
PLACES = [[[2.3, 4.75], [5.0, 1.0], [-0.5, 7.5]], [[6.9, 0.2], [3.5, 3.5], [0.0, 4.4]]]


def unit_points(places):
    return to_unit(np.array(places), SIDE).astype("float32")


def random_logits(seed=0, scale=2.0, shape=(2, SIDE, SIDE, 3)):
    """Wide and narrow heatmaps: both branches of the adaptive Wing loss occur."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype("float32")


def distributions(places, logits):
    """The ideal heatmaps and the network's in float64, (B, side, side, N) each, both of mass 1."""
    rows, columns = np.mgrid[:SIDE, :SIDE][..., None].astype(np.float64)
    ideal = [np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * SIGMA**2)) for x, y in np.moveaxis(places, 2, 1)]
    pair = np.stack(ideal), np.exp(np.float64(logits))
    return [maps / maps.sum(axis=(1, 2), keepdims=True) for maps in pair]


def adaptive_wing(target, predicted, alpha=2.1, omega=14.0, epsilon=1.0, theta=0.5):
    """As the paper writes it (Wang et al., ICCV 2019, eq. 3), for targets up to 1."""
    power = alpha - np.minimum(target, 1)
    error = np.abs(target - predicted)
    slope = omega / (1 + (theta / epsilon) ** power) * power * (theta / epsilon) ** (power - 1) / epsilon
    offset = theta * slope - omega * np.log(1 + (theta / epsilon) ** power)
    return np.where(error < theta, omega * np.log(1 + (error / epsilon) ** power), slope * error - offset)


def value_and_gradient(name, points, logits):
    value, (gradient,) = value_and_gradients(lambda logits: heatmap_loss(name)(points, logits), logits)
    return value, gradient


def test_values_are_those_of_the_formulas():
    logits = random_logits()
    ideal, found = distributions(np.array(PLACES), logits)
    peaked, peaked_found = MASS * ideal, MASS * found
    assert peaked.max() > 1.5
    assert 0.01 < (np.abs(peaked - peaked_found) > 0.5).mean() < 0.5
    expected = {
        "cross-entropy": (ideal * np.log(ideal / found)).sum(axis=(1, 2)).mean(),
        "mse": ((peaked - peaked_found) ** 2).mean(),
        "adaptive-wing": adaptive_wing(peaked, peaked_found).mean(),
    }
    assert set(expected) == set(NAMES)
    for name, value in expected.items():
        assert float(heatmap_loss(name)(unit_points(PLACES), logits)) == pytest.approx(value, rel=1e-5), name


@pytest.mark.parametrize("name", NAMES)
def test_ideal_heatmaps_cost_nothing_and_do_not_move(name):
    points = unit_points(PLACES)
    ideal = ops.convert_to_numpy(gaussian_log_heatmaps(points, SIDE))
    value, gradient = value_and_gradient(name, points, ideal + 3)
    assert value == pytest.approx(0, abs=1e-5)
    # The adaptive Wing loss has a cusp there: rounding alone makes a slope, but a finite one.
    np.testing.assert_allclose(gradient, 0, atol=0.05 if name == "adaptive-wing" else 1e-6)
    others = [ideal + random_logits(seed, 0.3) for seed in range(3)] + [0.8 * ideal, 1.2 * ideal]
    for logits in others:
        assert value_and_gradient(name, points, logits)[0] > value + 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_gradient_by_finite_differences(name):
    points = unit_points([[[2.3, 4.75]]])
    logits, step = random_logits(1, shape=(1, SIDE, SIDE, 1)), 0.02
    pixels = np.arange(0, SIDE**2, 5)
    shifts = step * np.eye(SIDE**2, dtype="float32")[pixels].reshape(-1, 1, SIDE, SIDE, 1)
    up, down = (np.array([heatmap_loss(name)(points, logits + sign * shift) for shift in shifts]) for sign in (1, -1))
    expected = (up - down) / (2 * step)
    _, found = value_and_gradient(name, points, logits)
    np.testing.assert_allclose(found.ravel()[pixels], expected, atol=5e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", NAMES)
def test_a_point_outside_the_image_counts_as_0_and_one_at_its_edge_counts(name):
    logits = random_logits(2)[:1]
    places = np.array([[[2.3, 4.75], [5.0, 1.0], [3.0, 3.0]]])
    places[0, 1] = [7.51, 3.0]
    places[0, 2] = [3.0, -400.0]
    value, gradient = value_and_gradient(name, unit_points(places), logits)
    alone, _ = value_and_gradient(name, unit_points(places[:, :1]), logits[..., :1])
    assert value == pytest.approx(alone / 3, rel=1e-6)
    assert np.abs(gradient[..., 0]).max() > 0
    np.testing.assert_array_equal(gradient[..., 1:], 0)
    for edge in ([-0.5, 7.5], [7.5, -0.5]):
        assert value_and_gradient(name, unit_points([[edge]]), logits[..., :1])[0] > 0
