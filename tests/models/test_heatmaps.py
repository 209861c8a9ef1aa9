"""Heatmaps and read-outs against the plain formula: points anywhere, at edges and beyond."""

import numpy as np
import pytest
from keras import ops

from kdloss.data.geometry import from_unit, to_unit
from kdloss.models.heatmaps import (
    SIGMA,
    argmax_readout,
    gaussian_heatmaps,
    gaussian_log_heatmaps,
    heatmap_spread,
    integral_readout,
)
from tests.gradients import gradient

READOUTS = [integral_readout, argmax_readout]
SIDES = [8, 16, 64]


def log_gaussians(points, side):
    """The plain formula in float64: points (N, 2) in heatmap pixels -> (1, side, side, N), not normalised."""
    rows, columns = np.mgrid[:side, :side][..., None].astype(np.float64)
    x, y = np.asarray(points, np.float64).T
    return (-((columns - x) ** 2 + (rows - y) ** 2) / (2 * SIGMA**2))[None]


def read(readout, logits):
    """(N, 2) float64 heatmap pixels of the one map that is given."""
    points = readout(ops.convert_to_tensor(logits, dtype="float32"))
    return from_unit(np.asarray(ops.convert_to_numpy(points), np.float64), logits.shape[1])[0]


def places(side):
    """A dense grid over the whole map: edges and corners lie half a pixel outside the outermost pixel centres."""
    axis = np.linspace(-0.5, side - 0.5, 33)
    return np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("readout", READOUTS)
def test_ideal_heatmaps_are_read_to_a_hundredth_of_a_pixel(readout, side):
    points = places(side)
    logits = log_gaussians(points, side)
    np.testing.assert_allclose(read(readout, logits), points, atol=0.01)
    # A constant added to a map changes nothing.
    constants = np.random.default_rng(1).uniform(-30, 30, len(points))
    np.testing.assert_allclose(read(readout, logits + constants), points, atol=0.011)


@pytest.mark.parametrize("side", SIDES)
def test_heatmaps_are_those_of_the_formula_at_subpixel_positions(side):
    points = np.concatenate([places(side)[::7], [[-1.5, 3.2], [side + 9.0, -2.0]]])
    expected = np.exp(log_gaussians(points, side))
    expected /= expected.sum(axis=(1, 2), keepdims=True)
    unit = to_unit(points, side)[None].astype("float32")
    found = ops.convert_to_numpy(gaussian_heatmaps(unit, side))
    assert found.dtype == np.float32
    assert found.shape == (1, side, side, len(points))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize("readout", READOUTS)
def test_points_outside_the_map_are_read_at_its_edge(readout):
    beyond = np.array([0.5, 1.0, 3.0, 20.0, 500.0])
    for axis, other in ((0, 1), (1, 0)):
        for edge, sign in ((-0.5, -1), (15.5, 1)):
            points = np.full((5, 2), 6.3)
            points[:, axis] = edge + sign * beyond
            unit = to_unit(points, 16)[None].astype("float32")
            found = read(readout, ops.convert_to_numpy(gaussian_log_heatmaps(unit, 16)))
            np.testing.assert_allclose(found[:, other], 6.3, atol=0.01)
            outside = sign * (found[:, axis] - edge)
            assert (outside >= 0.38).all(), "on the side where the point is"
            assert (outside < 1.1).all(), "not far from the edge"


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("value", [0.0, -1e4, 1e4])
def test_flat_maps_give_points_inside(readout, value):
    found = read(readout, np.full((1, 8, 8, 3), value))
    assert ((found >= -0.5) & (found <= 7.5)).all()
    if readout is integral_readout:
        np.testing.assert_allclose(found, 3.5, atol=1e-5)


def spread(logits):
    """(N,) float64 heatmap pixels of the one map that is given."""
    found = ops.convert_to_numpy(heatmap_spread(ops.convert_to_tensor(logits, dtype="float32")))
    assert (found.dtype, found.shape) == (np.float32, (1, logits.shape[3]))
    return found[0].astype(np.float64) * logits.shape[1]


def test_the_spread_is_the_standard_deviation_of_the_formula():
    """SIGMA far from the edge; for wide and lopsided maps what numpy computes in float64."""
    assert spread(log_gaussians([(8, 8), (7.3, 9.6)], 16)) == pytest.approx([SIGMA, SIGMA], abs=1e-3)
    maps = np.random.default_rng(0).normal(scale=3, size=(1, 16, 16, 5))
    mass = np.exp(maps[0]) / np.exp(maps[0]).sum(axis=(0, 1))
    rows, columns = np.mgrid[:16, :16][..., None]
    means = [(mass * axis).sum(axis=(0, 1)) for axis in (rows, columns)]
    squares = zip((rows, columns), means, strict=True)
    variances = [(mass * (axis - mean) ** 2).sum(axis=(0, 1)) for axis, mean in squares]
    assert spread(maps) == pytest.approx(np.sqrt(np.mean(variances, axis=0)), rel=1e-5)


@pytest.mark.parametrize("side", [16, 64])
def test_the_spread_of_extreme_maps(side):
    """A single pixel has no spread. Far from the origin, E[x^2] - mean^2 would lose all digits."""
    peak = np.zeros((1, side, side, 2))
    peak[0, -1, -1, 0] = peak[0, side // 3, side // 2, 1] = 1e4
    assert spread(peak) == pytest.approx([0, 0], abs=1e-6)
    assert spread(np.full((1, side, side, 1), -1e4)) == pytest.approx([np.sqrt((side**2 - 1) / 12)], rel=1e-5)


def test_argmax_takes_the_higher_of_two_peaks_and_the_mean_lies_between():
    low, high = log_gaussians([[20.25, 9.5]], 32), log_gaussians([[10.75, 25.0]], 32)
    logits = np.logaddexp(low - 1, high)
    np.testing.assert_allclose(read(argmax_readout, logits), [[10.75, 25.0]], atol=1e-4)
    share = 1 / (1 + np.e)
    between = [[10.75 + share * 9.5, 25 - share * 15.5]]
    np.testing.assert_allclose(read(integral_readout, logits), between, atol=0.02)


def test_gradient_of_the_mean_by_finite_differences():
    rng = np.random.default_rng(4)
    # Near the edges the correction bends, and is part of the gradient.
    start = (log_gaussians([[0.3, 2.4], [4.6, 5.2]], 6) + rng.normal(0, 0.5, (1, 6, 6, 2))).astype("float32")
    direction = rng.normal(size=(1, 2, 2)).astype("float32")

    def value(logits):
        return ops.sum(direction * integral_readout(logits))

    found = gradient(value, start)
    step = 0.02
    shifts = step * np.eye(start.size, dtype="float32").reshape(start.size, *start.shape[1:])
    up, down = (
        ops.convert_to_numpy(ops.sum(direction * integral_readout(start + sign * shifts), axis=(1, 2)))
        for sign in (1, -1)
    )
    expected = ((up - down) / (2 * step)).reshape(start.shape)
    np.testing.assert_allclose(found, expected, atol=5e-3 * np.abs(expected).max())
