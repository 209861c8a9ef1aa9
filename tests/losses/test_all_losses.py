"""What holds for every loss: it computes in float32, teachers are constants, and JAX agrees with TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras import Input, ops

from kdloss.losses import (
    KD_PRESETS,
    assistive_loss,
    feature_aligned_loss,
    heatmap_loss,
    kd_loss,
    patch_similarity_loss,
    point_loss,
)
from kdloss.losses.feature_distillation import FeatureDistillation
from kdloss.models.heatmaps import argmax_readout, gaussian_heatmaps, integral_readout
from tests.gradients import value_and_gradients

_RNG = np.random.default_rng(4)
TRUTH, PRED, TOUGH, TOLERANT = _RNG.normal(0, 0.05, (4, 2, 20, 2)).astype("float32")
TOUGH[0, :5] = TRUTH[0, :5]  # the tough teacher on the label
PRED[0, :2] = TRUTH[0, :2]  # and the student too
HEATMAP_POINTS = _RNG.uniform(-0.55, 0.55, (2, 6, 2)).astype("float32")
LOGITS = _RNG.normal(0, 2, (2, 16, 16, 6)).astype("float32")
# Of both forms of the patch similarity, with nodes of zeros.
STUDENTS, TEACHERS = (
    [np.maximum(_RNG.normal(size=(2, side, side, width)), 0).astype("float32") for side in (2, 4)] for width in (5, 6)
)
STUDENTS[1][:, :2, :2] = TEACHERS[1][:, 3:] = 0
LIFTED = [np.float32(0.5) - teacher[:, ::-1] for teacher in TEACHERS]
# Maps of other sides, one of them odd.
SMALLER = [_RNG.normal(size=(2, side, side, 5)).astype("float32") for side in (3, 2)]


def _kd(config):
    return lambda pred, tough, tolerant: kd_loss(TRUTH, pred, tough, tolerant, config, 224)


def _of_levels(loss):
    return lambda *maps: loss(maps[:2], maps[2:])


def _of_other_sides():
    """FA and PS of students with `SMALLER` maps."""
    symbolic = ([Input(array.shape[1:]) for array in maps] for maps in (SMALLER, TEACHERS))
    layer = FeatureDistillation(*symbolic, fa_weight=0.5, ps_weight=2.0)
    for lift in layer.lifts:
        lift.kernel.assign(np.linspace(-1, 1, 30).reshape(1, 1, 5, 6))
    return lambda *maps: sum(layer(maps[:2], maps[2:]).values())


# Name -> (loss of arrays, arrays that it learns by, arrays of teachers).
LOSSES = {preset: (_kd(config), [PRED], [TOUGH, TOLERANT]) for preset, config in KD_PRESETS.items()}
ALOSS = {"a_pos": 0.9, "a_neg": -0.45, "beta": 0.4, "stop_gradient": False}
LOSSES["assistive"] = (lambda pred, teacher: assistive_loss(TRUTH, pred, teacher, **ALOSS), [PRED], [TOUGH])
LOSSES["fa"] = (_of_levels(feature_aligned_loss), LIFTED, TEACHERS)
LOSSES["fa and ps of other sides"] = (_of_other_sides(), SMALLER, TEACHERS)
LOSSES["ps"] = (_of_levels(patch_similarity_loss), STUDENTS, TEACHERS)
for name in ("cross-entropy", "mse", "adaptive-wing"):
    LOSSES[name] = (lambda logits, name=name: heatmap_loss(name)(HEATMAP_POINTS, logits), [LOGITS], [])
for name in ("l2", "l1", "wing", "smooth"):
    LOSSES[name] = (lambda pred, name=name: point_loss(name)(TRUTH, pred), [PRED], [])
LOSSES["integral"] = (lambda logits: ops.sum(ops.square(integral_readout(logits))), [LOGITS], [])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", LOSSES)
def test_16_bit_inputs_are_cast_to_float32_first(name, dtype):
    loss, learnt, fixed = LOSSES[name]
    narrow = [ops.cast(array, dtype) for array in learnt + fixed]
    value = loss(*narrow)
    assert ops.dtype(value) == "float32"
    assert float(value) == float(loss(*(ops.cast(array, "float32") for array in narrow)))


@pytest.mark.parametrize("name", LOSSES)
def test_the_student_has_a_finite_gradient_and_its_teachers_have_none(name):
    loss, learnt, fixed = LOSSES[name]
    _, gradients = value_and_gradients(loss, *learnt, *fixed)
    for gradient in gradients[: len(learnt)]:
        assert np.isfinite(gradient).all()
        assert gradient.any()
    assert not any(gradient.any() for gradient in gradients[len(learnt) :])


def everything():
    """Name -> what the back end of this process computes: values, gradients, heatmaps and read-outs."""
    found = {"heatmaps": gaussian_heatmaps(HEATMAP_POINTS, 16), "argmax": argmax_readout(LOGITS)}
    for name, (loss, learnt, fixed) in LOSSES.items():
        found[name], gradients = value_and_gradients(loss, *learnt, *fixed)
        found |= {f"{name}, gradient {i}": gradient for i, gradient in enumerate(gradients)}
    return {name: ops.convert_to_numpy(value) for name, value in found.items()}


ON_JAX = (
    "import sys, numpy; from tests.losses.test_all_losses import everything; numpy.savez(sys.argv[1], **everything())"
)


@pytest.mark.tensorflow("compares the two back ends")
def test_jax_agrees_with_tensorflow(tmp_path):
    pytest.importorskip("jax")
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    environment |= {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
    repository = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", ON_JAX, str(tmp_path / "jax.npz")]
    done = subprocess.run(command, cwd=repository, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "jax.npz", allow_pickle=False) as found:
        expected = everything()
        assert set(found.files) == set(expected)
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
