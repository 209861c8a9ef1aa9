"""The assistive loss: its regions, its gradient and its behaviour where the teacher is right."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from kdloss.errors import ConfigError
from kdloss.losses import AssistiveLoss, assistive_loss
from tests.gradients import gradient, value_and_gradients

FIGURE = {"a_pos": 0.9, "a_neg": -0.45, "beta": 0.4}
D = 0.5  # exact in float32, and so are the borders below: beta 0.5


def _point(*values):
    return np.array(values, "float32").reshape(1, -1, 1)


def _loss(pred, teacher=D, truth=0.0, **parameters):
    values = [ops.convert_to_tensor(_point(v)) for v in (truth, pred, teacher)]
    return float(assistive_loss(*values, **(FIGURE | parameters)))


def _gradient(pred, teacher, truth=None, **parameters):
    pred = _point(*pred)
    truth = np.zeros_like(pred) if truth is None else truth
    return gradient(lambda p: assistive_loss(truth, p, teacher, **(FIGURE | parameters)), pred).ravel() * pred.size


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("teacher", [D, -D])
@pytest.mark.parametrize(
    ("e", "weight"),
    [
        (0.75, 0.9),
        (np.nextafter(np.float32(D), 1), 0.9),
        (np.nextafter(np.float32(D), 0), -0.45),
        (0.375, -0.45),
        (0.25, -0.45),  # e = beta d still pushes in full
        (0.125, -0.225),
        (0.0, 0.0),
    ],
)
def test_weight_by_region(e, weight, teacher, sign):
    assert _loss(sign * e, teacher, beta=0.5) == pytest.approx(weight * abs(e - D), abs=1e-8)


def test_without_inner_nothing_happens_near_the_label():
    assert _loss(0.24, beta=0.5, inner=False) == 0
    assert _loss(0.25, beta=0.5, inner=False) == pytest.approx(-0.45 * 0.25)


@settings(deadline=None, max_examples=50)
@given(st.floats(-1, 1, width=32), st.floats(-1, 1, width=32))
def test_symmetric_in_the_sides_of_prediction_and_teacher(pred, teacher):
    value = _loss(pred, teacher)
    assert _loss(-pred, teacher) == value
    assert _loss(pred, -teacher) == value


@pytest.mark.parametrize("stop_gradient", [True, False])
@pytest.mark.parametrize("inner", [True, False])
def test_teacher_on_the_label_gives_zero_and_a_finite_gradient(inner, stop_gradient):
    parameters = {"inner": inner, "stop_gradient": stop_gradient}
    assert _loss(0.3, teacher=0.0, **parameters) == 0
    assert _loss(0.0, teacher=0.0, **parameters) == 0
    np.testing.assert_array_equal(_gradient([0.3, 0.0, -1e-30], 0.0, **parameters), [0, 0, 0])


def test_gradient_with_constant_weight_is_the_weight_times_the_direction():
    d, beta = 0.03, 0.4
    pred = np.array([0.05, -0.05, 0.02, -0.02, 0.006, -0.006, 0.001], "float32")
    e = np.abs(pred)
    weight = np.select([e > d, e < beta * d], [0.9, -0.45 * e / (beta * d)], -0.45)
    np.testing.assert_allclose(_gradient(pred, _point(d)), weight * np.sign(e - d) * np.sign(pred), rtol=1e-5)


def test_gradient_without_the_stop_is_the_true_derivative():
    d, beta, step = 0.3, 0.4, 1e-6
    pred = np.array([0.5, -0.5, 0.2, -0.2, 0.06, -0.06, 0.01, -0.01])

    def value(p):
        e = np.abs(p)
        return np.select([e > d, e < beta * d], [0.9, -0.45 * e / (beta * d)], -0.45) * np.abs(e - d)

    differences = (value(pred + step) - value(pred - step)) / (2 * step)
    found = _gradient(pred, _point(d), stop_gradient=False)
    np.testing.assert_allclose(found, differences, rtol=1e-4)
    assert found[6] < 0 < found[7], "near zero the prediction is repelled from the label"
    constant = _gradient(pred, _point(d))
    assert constant[6] > 0 > constant[7], "with the stop it is drawn to the label"


def test_teacher_gets_no_gradient():
    points = _point(0.0), _point(0.5), _point(0.3)
    _, (_, to_pred, to_teacher) = value_and_gradients(lambda *given: assistive_loss(*given, **FIGURE), *points)
    assert to_pred.item() == pytest.approx(0.9)
    assert to_teacher.item() == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_lose_only_what_the_inputs_lost(dtype):
    narrow = [ops.cast(_point(0.25, 0.3, -0.4), dtype), ops.cast(_point(0.26, 0.36, -0.4), dtype)]
    narrow.append(ops.cast(_point(0.28, 0.33, -0.4), dtype))
    loss = assistive_loss(*narrow, **FIGURE)
    assert ops.dtype(loss) == "float32"
    assert float(loss) == float(assistive_loss(*(ops.cast(x, "float32") for x in narrow), **FIGURE))


@pytest.mark.tensorflow("JAX compiles everything by XLA")
def test_compiles_under_xla():
    import tensorflow as tf

    def run(pred):
        return assistive_loss(_point(0.0, 0.0, 0.0), pred, _point(0.03, 0.0, -0.01), **FIGURE)

    pred = tf.constant(_point(0.05, 0.1, 0.002))
    assert float(tf.function(run, jit_compile=True)(pred)) == pytest.approx(float(run(pred)), abs=1e-8)


@pytest.mark.parametrize("beta", [0, -0.1, 1.1, float("nan")])
def test_beta_out_of_range(beta):
    with pytest.raises(ConfigError, match="beta"):
        AssistiveLoss(a_pos=1, a_neg=-1, beta=beta)
    with pytest.raises(ConfigError, match="beta"):
        _loss(0.1, beta=beta)


def test_keras_loss_is_the_function_and_survives_serialisation():
    rng = np.random.default_rng(0)
    truth, pred, teacher = rng.normal(0, 0.1, (3, 4, 5, 2)).astype("float32")
    loss = AssistiveLoss(**FIGURE, inner=False, stop_gradient=False, name="aloss")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert isinstance(again, AssistiveLoss)
    assert again.get_config() == loss.get_config()
    assert again.get_config()["inner"] is False
    expected = float(assistive_loss(truth, pred, teacher, **FIGURE, inner=False))
    assert expected != 0
    assert float(again(np.stack([truth, teacher], axis=1), pred)) == pytest.approx(expected, abs=1e-7)
