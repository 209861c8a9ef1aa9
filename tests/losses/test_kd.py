"""KD-Loss against its table of exact values, its unit, its parts, and between back ends."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from kdloss.errors import ConfigError
from kdloss.losses import KD_PRESETS, KDLoss, KDLossConfig, assistive_loss, kd_loss, kd_loss_terms, main_loss
from tests.gradients import gradient, value_and_gradients

# One coordinate: label 0, tough +0.01, tolerant -0.03. Prediction -> weighted main, tough, tolerant, total.
GOLDEN = {
    ("public", 0.003): (0.018000, -0.003150, 0, 0.014850),
    ("public", 0.010): (0.060000, 0, -0.008000, 0.052000),
    ("public", 0.050): (0.183200, 0.076000, 0.036000, 0.295200),
    ("figure", 0.003): (0.007500, -0.0023625, -0.0030375, 0.002100),
    ("figure", 0.010): (0.025000, 0, -0.007500, 0.017500),
    ("figure", 0.050): (0.079000, 0.036000, 0.018000, 0.133000),
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
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(
        {"main": main, "tough": tough, "tolerant": tolerant}, abs=1e-6
    )
    assert float(kd_loss(*arguments, KD_PRESETS[preset], 224)) == pytest.approx(total, abs=1e-6)


def test_dev2020_by_hand():
    terms = kd_loss_terms(*(_points(v) for v in (0, 0.05, TOUGH, TOLERANT)), KD_PRESETS["dev2020"], 224)
    assert [float(terms[name]) for name in ("main", "tough", "tolerant")] == pytest.approx(
        [2 * 0.05, 0.8 * 0.9 * 0.04, 0.6 * 0.8 * 0.02], abs=1e-7
    )


def test_main_loss_is_continuous_at_the_tolerant_teacher():
    at = [float(main_loss(_points(0), _points(e), _points(0.5), k=3)) for e in (0.5 - 1e-5, 0.5, 0.5 + 1e-5)]
    assert at == pytest.approx([1.5, 1.5, 1.5], abs=4e-5)
    assert at[0] < at[1] < at[2]


def test_main_loss_without_a_tolerant_teacher_is_linear():
    assert float(main_loss(_points(0), _points(-2), None, k=3)) == 6
    assert float(main_loss(_points(0), _points(-2), _points(1), k=3)) == 4 + 3 - 1
    assert float(main_loss(_points(0), _points(-2), _points(1), k=3, kind="l1")) == 6


def test_an_absent_teacher_leaves_out_its_term():
    truth, pred, tough, tolerant = (_points(v) for v in (0, 0.05, TOUGH, TOLERANT))
    config = KD_PRESETS["figure"]
    full = kd_loss_terms(truth, pred, tough, tolerant, config, 224)
    without_tough = kd_loss_terms(truth, pred, None, tolerant, config, 224)
    without_tolerant = kd_loss_terms(truth, pred, tough, None, config, 224)
    assert list(without_tough) == ["main", "tolerant"]
    assert float(without_tough["main"]) == float(full["main"])
    assert list(without_tolerant) == ["main", "tough"]
    assert float(without_tolerant["main"]) == pytest.approx(2.5 * 0.05)
    assert float(kd_loss(truth, pred, None, None, config, 224)) == pytest.approx(2.5 * 0.05)


def _slope(error, unit):
    """Of the whole ``public`` loss, each unit's slope measured in that unit; both teachers are 0.03 off."""
    config = dataclasses.replace(KD_PRESETS["public"], unit=unit)
    teachers = _points(0.03), _points(-0.03)
    slope = gradient(lambda pred: kd_loss(_points(0), pred, *teachers, config, 224), _points(error))
    return slope.item() / (224 if unit == "pixel" else 1)


def test_public_preset_turns_large_errors_down_in_normalised_units_but_not_in_pixels():
    assert _slope(0.02, "normalised") == pytest.approx(2 * 3 + 0.45 + 0.4, rel=1e-5)
    assert _slope(0.04, "normalised") == pytest.approx(2 * 2 * 0.04 + 1.9 + 1.8, rel=1e-5)
    assert 0.5 < _slope(0.04, "normalised") / _slope(0.02, "normalised") < 0.6
    assert _slope(0.02, "pixel") == pytest.approx(_slope(0.02, "normalised"), rel=1e-5)
    assert _slope(0.04, "pixel") == pytest.approx(2 * 2 * 0.04 * 224 + 1.9 + 1.8, rel=1e-5)


def test_pixel_unit_is_the_loss_of_the_scaled_points():
    rng = np.random.default_rng(1)
    points = rng.normal(0, 0.05, (4, 2, 5, 2)).astype("float32")
    pixel = dataclasses.replace(KD_PRESETS["figure"], unit="pixel")
    assert float(kd_loss(*points, pixel, 112)) == pytest.approx(
        float(kd_loss(*(points * 112), KD_PRESETS["figure"], 112)), rel=1e-6
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_predictions(dtype):
    points = [_points(v) for v in (0.25, 0.27, 0.26, 0.21)]
    pred = keras.ops.cast(points[1], dtype)
    narrow = kd_loss(points[0], pred, *points[2:], KD_PRESETS["public"], 224)
    wide = kd_loss(points[0], keras.ops.cast(pred, "float32"), *points[2:], KD_PRESETS["public"], 224)
    assert keras.ops.dtype(narrow) == "float32"
    assert float(narrow) == float(wide)


@pytest.mark.parametrize("preset", KD_PRESETS)
def test_keras_loss_is_the_function_and_survives_serialisation(preset):
    rng = np.random.default_rng(2)
    truth, pred, tough, tolerant = rng.normal(0, 0.05, (4, 3, 5, 2)).astype("float32")
    loss = KDLoss(dataclasses.replace(KD_PRESETS[preset], unit="pixel"), image_size=128)
    text = json.dumps(keras.saving.serialize_keras_object(loss))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert again.config == loss.config
    assert again.get_config() == loss.get_config()
    stack = np.stack([truth, tough, tolerant], axis=1)
    expected = float(kd_loss(truth, pred, tough, tolerant, loss.config, 128))
    assert float(again(stack, pred)) == pytest.approx(expected, rel=1e-6)
    only_first = float(kd_loss(truth[:1], pred[:1], tough[:1], tolerant[:1], loss.config, 128))
    weighted = float(again(stack, pred, sample_weight=np.array([3.0, 0.0, 0.0], "float32")))
    assert weighted == pytest.approx(only_first, rel=1e-6)


def test_trains_a_model_through_compile():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Reshape((2, 2))])
    model.compile(keras.optimizers.SGD(0.01), loss=KDLoss(KD_PRESETS["figure"], 64))
    x = np.random.default_rng(3).normal(size=(16, 3)).astype("float32")
    stack = np.zeros((16, 3, 2, 2), "float32") + np.array([0, 0.01, -0.03], "float32")[:, None, None]
    losses = model.fit(x, stack, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("beta", 0),
        ("main", "l2"),
        ("unit", "mm"),
        ("k", -1),
        ("lam_main", float("nan")),
        ("lam_tough", -1),
        ("tough_a_pos", -0.1),
        ("tolerant_a_neg", 0.1),
    ],
)
def test_config_refuses_values_out_of_range(field, value):
    with pytest.raises(ConfigError, match=field):
        KDLossConfig(**{field: value})


_JAX_SCRIPT = """
import json, sys
import jax, numpy as np
from kdloss.losses import KD_PRESETS, assistive_loss, kd_loss
points = np.asarray(json.load(sys.stdin), "float32")
truth, pred, tough, tolerant = points
out = {}
for name, config in KD_PRESETS.items():
    value, slope = jax.jit(jax.value_and_grad(lambda p: kd_loss(truth, p, tough, tolerant, config, 224)))(pred)
    out[name] = [float(value), np.asarray(slope).tolist()]
def free(p):
    return assistive_loss(truth, p, tough, a_pos=0.9, a_neg=-0.45, beta=0.4, stop_gradient=False)
out["free"] = [float(free(pred)), np.asarray(jax.grad(free)(pred)).tolist()]
print(json.dumps(out))
"""


@pytest.mark.tensorflow("compares the two back ends")
def test_jax_agrees_with_tensorflow():
    rng = np.random.default_rng(4)
    points = rng.normal(0, 0.05, (4, 2, 20, 2)).astype("float32")
    points[2, 0, :5] = points[0, 0, :5]  # the tough teacher on the label
    points[1, 0, :2] = points[0, 0, :2]  # and the student too
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", _JAX_SCRIPT],
        input=json.dumps(points.tolist()),
        capture_output=True,
        text=True,
        env=environment,
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    truth, pred, tough, tolerant = points

    def free(pred):
        return assistive_loss(truth, pred, tough, a_pos=0.9, a_neg=-0.45, beta=0.4, stop_gradient=False)

    losses = {
        name: lambda pred, config=config: kd_loss(truth, pred, tough, tolerant, config, 224)
        for name, config in KD_PRESETS.items()
    }
    for name, loss in (losses | {"free": free}).items():
        value, (slope,) = value_and_gradients(loss, pred)
        assert np.isfinite(slope).all()
        assert found[name][0] == pytest.approx(value, abs=1e-6)
        np.testing.assert_allclose(found[name][1], slope, atol=1e-6)
