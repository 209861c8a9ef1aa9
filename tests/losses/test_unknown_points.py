"""Points that are not known, NaN: they add nothing to a loss, and nothing to its gradient."""

import numpy as np
import pytest

from kdloss.losses import KD_PRESETS, heatmap_loss, kd_loss, point_loss
from tests.gradients import value_and_gradients

RNG = np.random.default_rng(7)
TRUTH, PRED, TOUGH, TOLERANT = RNG.normal(0, 0.05, (4, 2, 6, 2)).astype("float32")
LOGITS = RNG.normal(0, 2, (2, 8, 8, 6)).astype("float32")
UNKNOWN = (np.array([0, 1, 1]), np.array([2, 0, 5]))
PARTLY = TRUTH.copy()
PARTLY[UNKNOWN] = np.nan

# Name -> (loss of truth and prediction, the prediction).
LOSSES = {name: (lambda truth, pred, name=name: point_loss(name)(truth, pred), PRED) for name in ("l2", "l1", "wing")}
for preset, config in KD_PRESETS.items():
    LOSSES[preset] = (lambda truth, pred, one=config: kd_loss(truth, pred, TOUGH, TOLERANT, one, 64), PRED)
for name in ("cross-entropy", "mse", "adaptive-wing"):
    LOSSES[name] = (lambda truth, logits, name=name: heatmap_loss(name)(truth, logits), LOGITS)


def by_point(array):
    """(B, N, ...) of points (B, N, 2) or logits (B, side, side, N)."""
    return np.moveaxis(array, -1, 1) if array.ndim == 4 else array


@pytest.mark.parametrize("name", LOSSES)
def test_they_have_no_gradient_and_the_others_keep_theirs(name):
    loss, pred = LOSSES[name]
    _, (all_known,) = value_and_gradients(lambda one: loss(TRUTH, one), pred)
    value, (partly,) = value_and_gradients(lambda one: loss(PARTLY, one), pred)
    known = np.ones((2, 6), bool)
    known[UNKNOWN] = False
    assert by_point(all_known)[UNKNOWN].any()
    assert not by_point(partly)[UNKNOWN].any()
    np.testing.assert_allclose(by_point(partly)[known], by_point(all_known)[known], rtol=1e-5)
    moved = pred.copy()
    by_point(moved)[UNKNOWN] += 0.3
    assert value_and_gradients(lambda one: loss(PARTLY, one), moved)[0] == pytest.approx(value, rel=1e-6)
