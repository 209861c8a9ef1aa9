"""Losses between a network's heatmaps and the ideal ones of the annotated points.

All take points (B, N, 2) in unit coordinates and logits (B, side, side, N), compute in float32 and return a scalar, the
mean over batch and points. A point outside the image, or one that is not known (NaN), has no ideal heatmap; its loss
is 0.

Heatmaps are distributions (see `kdloss.models.heatmaps`). ``mse`` and ``adaptive-wing`` are defined for Gaussians with
a peak of 1, so they multiply each heatmap by the mass of such a Gaussian. How EfficientFAN normalises its own is not
known.
"""

import math

from keras import ops

from kdloss.errors import ConfigError
from kdloss.models.heatmaps import SIGMA, gaussian_log_heatmaps

MASS = 2 * math.pi * SIGMA**2  # of a Gaussian whose peak is 1


def cross_entropy(points, logits):
    """Kullback-Leibler divergence of the network's heatmap from the ideal one, nats; 0 where they are equal."""
    target = _ideal(points, logits)
    differences = ops.exp(target) * (target - _log_mass(logits))
    return _mean_of_inside(points, ops.sum(differences, axis=(1, 2)))


def mse(points, logits):
    """Mean squared difference per pixel of heatmaps whose peak is 1."""
    target, predicted = _peaked(points, logits)
    return _mean_of_inside(points, ops.mean(ops.square(predicted - target), axis=(1, 2)))


def adaptive_wing(points, logits, *, alpha=2.1, omega=14.0, epsilon=1.0, theta=0.5):
    """Adaptive Wing loss, mean per pixel: logarithmic below theta, linear above, sharper where the target is high.

    With y the target and e the error: omega ln(1 + (e / epsilon)^(alpha - y)) if e < theta, else A e - C, with A and C
    that make value and slope continuous. Without the paper's weight map.

    Source: Wang et al., ICCV 2019, eq. 3 and its constants.
    """
    target, predicted = _peaked(points, logits)
    # The peak of a point at the edge may exceed 1 after normalisation; the exponent is defined for 0 to 1.
    power = alpha - ops.minimum(target, 1.0)
    e = ops.maximum(ops.abs(predicted - target), 1e-12)
    ratio = theta / epsilon
    slope = omega / (1 + ratio**power) * power * ratio ** (power - 1) / epsilon
    offset = theta * slope - omega * ops.log1p(ratio**power)
    values = ops.where(e < theta, omega * ops.log1p((e / epsilon) ** power), slope * e - offset)
    return _mean_of_inside(points, ops.mean(values, axis=(1, 2)))


_HEATMAP_LOSSES = {"cross-entropy": cross_entropy, "mse": mse, "adaptive-wing": adaptive_wing}


def heatmap_loss(name):
    """The loss of that name, a function (points, logits) -> scalar.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in _HEATMAP_LOSSES:
        raise ConfigError(f"unknown heatmap loss {name!r}: expected one of {', '.join(_HEATMAP_LOSSES)}")
    return _HEATMAP_LOSSES[name]


def _ideal(points, logits):
    """The ideal log heatmaps; any where a point is unknown, which `_mean_of_inside` leaves out."""
    return gaussian_log_heatmaps(ops.where(ops.isnan(points), 0.0, points), logits.shape[1])


def _log_mass(logits):
    logits = ops.cast(logits, "float32")
    return logits - ops.logsumexp(logits, axis=(1, 2), keepdims=True)


def _peaked(points, logits):
    target = _ideal(points, logits)
    return MASS * ops.exp(target), MASS * ops.exp(_log_mass(logits))


def _mean_of_inside(points, values):
    """(B, N) values -> their mean, with 0 for points outside the image and unknown ones."""
    inside = ops.all(ops.abs(ops.cast(points, "float32")) <= 0.5, axis=-1)
    return ops.mean(ops.where(inside, values, 0.0))
