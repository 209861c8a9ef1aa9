"""Heatmaps: how a point becomes one, and how points are read from them.

A heatmap is a distribution over the pixels of a map whose side is a quarter of the image's: a Gaussian about the
point, cut off at the edge of the map, with a mass of one. Networks yield its logarithm up to a constant (logits). Both
read-outs return the point of an ideal heatmap with an error of at most 0.01 heatmap pixels, at the edge too.

Points are in unit coordinates, which do not depend on the side of the map (see `kdloss.data.geometry`). The width of
the Gaussian is reconstructed (1 to 1.5 pixels in re-implementations of EfficientFAN and its ancestor MobileFAN).
"""

import math

import numpy as np
from keras import ops

from kdloss.data.geometry import from_unit, to_unit

SIGMA = 1.0  # standard deviation of the Gaussian, heatmap pixels


def gaussian_log_heatmaps(points, side):
    """Logarithm of `gaussian_heatmaps`."""
    centre = from_unit(ops.cast(points, "float32"), side)
    squares = ops.square(ops.arange(side, dtype="float32")[:, None, None] - ops.expand_dims(centre, 1))
    axes = ops.log_softmax(-squares / (2 * SIGMA**2), axis=1)  # (B, side, N, 2)
    return ops.expand_dims(axes[..., 0], 1) + ops.expand_dims(axes[..., 1], 2)


def gaussian_heatmaps(points, side):
    """Ideal heatmaps, exact at sub-pixel positions: sampled, never rounded.

    Args:
        points: (B, N, 2) unit coordinates. The mass of a point outside the map gathers at the nearest edge.
        side: of the map, in heatmap pixels.

    Returns:
        (B, side, side, N) float32 that sums to 1 over each map.
    """
    return ops.exp(gaussian_log_heatmaps(points, side))


def integral_readout(logits):
    """The mean of each heatmap (soft-argmax), corrected for the edge of the map; differentiable.

    The mean of a Gaussian that the edge cuts off lies further inside than its centre. The shift depends only on the
    mean, axis by axis, so the read-out adds it back. The remaining error is below 0.01 heatmap pixels, also in corners.

    Args:
        logits: (B, side, side, N).

    Returns:
        (B, N, 2) float32 unit coordinates, which may lie up to one heatmap pixel outside the map.
    """
    side = logits.shape[1]
    mean = ops.stack([_mean(profile) for profile in _profiles(logits)], axis=-1)
    pixels = mean + _edge_shift(mean) - _edge_shift(side - 1 - mean)
    return to_unit(pixels, side)


def heatmap_spread(logits):
    """The spread of each heatmap: its standard deviation about its mean. A confident network has a small one.

    Args:
        logits: (B, side, side, N).

    Returns:
        (B, N) float32 unit coordinates: the root of the mean of both axes' variances. An ideal heatmap away from the
        edge has SIGMA / side, a flat one about 0.29.
    """
    side = logits.shape[1]
    variances = [
        # E[(x - mean)^2], not E[x^2] - mean^2, which can come out negative.
        ops.sum(profile * ops.square(_places(side) - ops.expand_dims(_mean(profile), 1)), axis=1)
        for profile in _profiles(logits)
    ]
    return ops.sqrt((variances[0] + variances[1]) / 2) / side


def _profiles(logits):
    """The mass of each heatmap along x and along y, (B, side, N) float32 each."""
    side, count = logits.shape[1], logits.shape[3]
    mass = ops.softmax(ops.reshape(ops.cast(logits, "float32"), (-1, side * side, count)), axis=1)
    mass = ops.reshape(mass, (-1, side, side, count))
    # Sums, not a matrix product, whose factors some hardware rounds to 10 bits (TF32).
    return [ops.sum(mass, axis=axis) for axis in (1, 2)]


def _mean(profile):
    return ops.sum(profile * _places(profile.shape[1]), axis=1)


def _places(side):
    return ops.arange(side, dtype="float32")[:, None]


def argmax_readout(logits):
    """The largest value of each heatmap, refined by the parabola through it and its neighbours, axis by axis.

    The logarithm of a Gaussian is a parabola, so ideal heatmaps are read exactly. At the edge of the map the parabola
    goes through the three outermost values. For evaluation only: it has no useful gradient.

    Args:
        logits: (B, side, side, N), side 3 at least.

    Returns:
        (B, N, 2) float32 unit coordinates.
    """
    side, count = logits.shape[1], logits.shape[3]
    maps = ops.cast(logits, "float32")
    flat = ops.reshape(maps, (-1, side * side, count))
    # The first place of the maximum. ops.argmax makes an operation on TensorFlow that LiteRT lacks.
    is_best = ops.equal(flat, ops.max(flat, axis=1, keepdims=True))
    best = ops.min(ops.where(is_best, ops.arange(side * side)[:, None], side * side - 1), axis=1)  # (B, N)
    column, row = ops.mod(best, side), ops.floor_divide(best, side)
    across = ops.sum(maps * ops.transpose(ops.one_hot(row, side), (0, 2, 1))[:, :, None], axis=1)  # (B, side, N)
    down = ops.sum(maps * ops.transpose(ops.one_hot(column, side), (0, 2, 1))[:, None], axis=2)
    pixels = ops.stack([_parabola_peak(across, column), _parabola_peak(down, row)], axis=-1)
    return to_unit(pixels, side)


def _parabola_peak(profile, place):
    """The top of the parabola through three values of (B, side, N) about ``place`` (B, N), in pixels (B, N)."""
    side = profile.shape[1]
    centre = ops.clip(place, 1, side - 2)
    before, middle, after = (
        ops.sum(profile * ops.transpose(ops.one_hot(centre + step, side), (0, 2, 1)), axis=1) for step in (-1, 0, 1)
    )
    curvature = before - 2 * middle + after
    curved = curvature < -1e-6  # a flat or hollow profile has no top: the pixel itself then
    offset = (before - after) / (2 * ops.where(curved, curvature, -1.0))
    place, centre = ops.cast(place, "float32"), ops.cast(centre, "float32")
    return ops.where(curved, centre + ops.clip(offset, -2.0, 2.0), place)


def _edge_shift(mean):
    """How much nearer to the edge a Gaussian's centre is than its mean, which is ``mean`` >= 0 pixels from that edge.

    Piecewise linear through exact values, written as a sum of hinges: plain arithmetic that every exporter knows.
    """
    knots, first, slopes = _EDGE_TABLE
    inside = ops.minimum(mean, float(knots[-1]))
    hinges = ops.relu(ops.expand_dims(inside, -1) - ops.convert_to_tensor(knots[1:-1], dtype="float32"))
    bends = ops.convert_to_tensor(np.diff(slopes), dtype="float32")
    return float(first) + float(slopes[0]) * (inside - float(knots[0])) + ops.sum(hinges * bends, axis=-1)


def _edge_table():
    centres = np.arange(-0.5, 5 * SIGMA + 0.01, 0.125)
    pixels = np.arange(math.ceil(14 * SIGMA))
    weights = np.exp(-((pixels - centres[:, None]) ** 2) / (2 * SIGMA**2))
    means = weights @ pixels / weights.sum(axis=1)
    shifts = centres - means
    return means, shifts[0], np.diff(shifts) / np.diff(means)


_EDGE_TABLE = _edge_table()
