"""KD-Loss against its table of exact values, its unit and its parts; both Keras losses are their functions."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from kdloss.errors import ConfigError
from kdloss.losses import (
    KD_PRESETS,
    AssistiveLoss,
    KDLoss,
    KDLossConfig,
    assistive_loss,
    kd_loss,
    kd_loss_terms,
    main_loss,
)
from tests.gradients import gradient

# One coordinate: label 0, tough +0.01, tolerant -0.03. Prediction -> weighted main, tough, tolerant, total.
GOLDEN = {
    ("public", 0.003): (0.018000, -0.003150, 0, 0.014850),
    ("public", 0.010): (0.060000, 0, -0.008000, 0.052000),
    ("public", 0.050): (0.183200, 0.076000, 0.036000, 0.295200),
    ("figure", 0.003): (0.007500, -0.0023625, -0.0030375, 0.002100),
    ("figure", 0.010): (0.025000, 0, -0.007500, 0.017500),
    ("figure", 0.050): (0.079000, 0.036000, 0.018000, 0.133000),
    ("dev2020", 0.050): (2 * 0.05, 0.8 * 0.9 * 0.04, 0.6 * 0.8 * 0.02, 0.1384),
}
TOUGH, TOLERANT = 0.01, -0.03


def _points(value):
    return np.full((1, 1, 1), value, "float32")


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("preset", "pred"), GOLDEN)
def test_golden_values(preset, pred, sign):
    main, tough, tolerant, total = GOLDEN[preset, pred]
    arguments = [_points(v) for v in (0, sign * pred, TOUGH, TOLERANT)]
    terms = kd_loss_terms(*arguments, KD_PRESETS[preset], 224)
    expected = {"main": main, "tough": tough, "tolerant": tolerant}
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(expected, abs=1e-6)
    assert float(kd_loss(*arguments, KD_PRESETS[preset], 224)) == pytest.approx(total, abs=1e-6)


def test_main_loss_by_hand():
    at = [float(main_loss(_points(0), _points(e), _points(0.5), k=3)) for e in (0.5 - 1e-5, 0.5, 0.5 + 1e-5)]
    assert at == pytest.approx([1.5, 1.5, 1.5], abs=4e-5)
    assert at[0] < at[1] < at[2], "continuous and rising at the tolerant teacher"
    assert float(main_loss(_points(0), _points(-2), _points(1), k=3)) == 4 + 3 - 1
    assert float(main_loss(_points(0), _points(-2), _points(1), k=3, kind="l1")) == 6
    assert float(main_loss(_points(0), _points(-2), None, k=3)) == 6


def test_an_absent_teacher_leaves_out_its_term():
    def terms(tough, tolerant):
        found = kd_loss_terms(_points(0), _points(0.05), tough, tolerant, KD_PRESETS["figure"], 224)
        return {name: float(value) for name, value in found.items()}

    full, alone = terms(_points(TOUGH), _points(TOLERANT)), pytest.approx(2.5 * 0.05)
    assert terms(None, _points(TOLERANT)) == {name: full[name] for name in ("main", "tolerant")}
    assert terms(_points(TOUGH), None) == {"main": alone, "tough": full["tough"]}
    assert terms(None, None) == {"main": alone}


def _slope(error, unit):
    """Of the whole ``public`` loss, each unit's slope measured in that unit; both teachers are 0.03 off."""
    config = dataclasses.replace(KD_PRESETS["public"], unit=unit)
    teachers = _points(0.03), _points(-0.03)
    slope = gradient(lambda pred: kd_loss(_points(0), pred, *teachers, config, 224), _points(error))
    return slope.item() / (224 if unit == "pixel" else 1)


def test_public_preset_turns_large_errors_down_in_normalised_units_but_not_in_pixels():
    assert _slope(0.02, "normalised") == pytest.approx(2 * 3 + 0.45 + 0.4, rel=1e-5)
    assert _slope(0.04, "normalised") == pytest.approx(2 * 2 * 0.04 + 1.9 + 1.8, rel=1e-5)
    assert _slope(0.02, "pixel") == pytest.approx(_slope(0.02, "normalised"), rel=1e-5)
    assert _slope(0.04, "pixel") == pytest.approx(2 * 2 * 0.04 * 224 + 1.9 + 1.8, rel=1e-5)


ALOSS = {"a_pos": 0.9, "a_neg": -0.45, "beta": 0.4, "inner": False, "stop_gradient": False}


@pytest.mark.parametrize("preset", [*KD_PRESETS, "assistive"])
def test_keras_losses_are_the_functions_and_survive_serialisation(preset):
    truth, pred, *teachers = np.random.default_rng(2).normal(0, 0.05, (4, 3, 5, 2)).astype("float32")
    if preset == "assistive":
        loss, teachers = AssistiveLoss(**ALOSS), teachers[:1]

        def function(*points):
            return float(assistive_loss(*points, **ALOSS))
    else:
        loss = KDLoss(dataclasses.replace(KD_PRESETS[preset], unit="pixel"), image_size=128)

        def function(*points):
            return float(kd_loss(*points, loss.config, 128))

    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(loss))))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    stack = np.stack([truth, *teachers], axis=1)
    assert float(again(stack, pred)) == pytest.approx(function(truth, pred, *teachers), rel=1e-6)
    weighted = float(again(stack, pred, sample_weight=np.array([3.0, 0.0, 0.0], "float32")))
    assert weighted == pytest.approx(function(truth[:1], pred[:1], *(t[:1] for t in teachers)), rel=1e-6)


@pytest.mark.parametrize(
    ("field", "value"),
    [("beta", 0), ("main", "l2"), ("unit", "mm"), ("lam_main", float("nan")), ("tolerant_a_neg", 0.1)],
)
def test_config_refuses_values_out_of_range(field, value):
    with pytest.raises(ConfigError, match=field):
        KDLossConfig(**{field: value})
