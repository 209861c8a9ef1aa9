"""Losses without a teacher, against numbers worked out by hand."""

import math

import numpy as np
import pytest
from keras import ops

from kdloss.errors import ConfigError
from kdloss.losses import heatmap_loss, point_loss, smooth, wing

PRED = np.array([[[0.5, -0.25], [0.0, 0.25]]], "float32")


def _value(loss, pred, **parameters):
    pred = np.asarray(pred, "float32")
    return float(ops.convert_to_numpy(loss(np.zeros_like(pred), pred, **parameters)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("l2", (0.25 + 0.0625 + 0.0625) / 4),
        ("l1", 0.25),
        ("smooth", (0.5 + 0.25 + 0.25 - 3 / 512) / 4),
        ("wing", (1.0 - 3 * (15 / 256) * (1 - math.log(6))) / 4),
    ],
)
def test_value_is_that_of_the_formula(name, expected):
    assert _value(point_loss(name), PRED) == pytest.approx(expected, abs=1e-6)
    assert _value(point_loss(name), np.zeros((1, 2, 2))) == 0


@pytest.mark.parametrize(
    ("find", "known"), [(point_loss, "l2, l1, wing, smooth"), (heatmap_loss, "cross-entropy, mse, adaptive-wing")]
)
def test_an_unknown_loss_names_the_known_ones(find, known):
    with pytest.raises(ConfigError, match="'l3': expected one of") as raised:
        find("l3")
    assert sorted(str(raised.value).partition("one of ")[2].split(", ")) == sorted(known.split(", "))


@pytest.mark.parametrize(("loss", "knee"), [(smooth, {"knee": 1.0}), (wing, {"width": 1.0, "curvature": 0.2})])
def test_both_sides_of_the_knee_meet(loss, knee):
    below, above = _value(loss, [[1 - 1e-4]], **knee), _value(loss, [[1 + 1e-4]], **knee)
    assert 0 < above - below < 5e-4


def test_knees_are_lengths():
    pixels = _value(wing, PRED * 256, width=15, curvature=3)
    assert _value(wing, PRED) * 256 == pytest.approx(pixels, rel=1e-5)
    assert _value(smooth, PRED) * 256 == pytest.approx(_value(smooth, PRED * 256, knee=1), rel=1e-5)
