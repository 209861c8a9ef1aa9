"""The assistive loss: its regions, its gradient and its behaviour where the teacher is right."""

import numpy as np
import pytest
from keras import ops

from kdloss.errors import ConfigError
from kdloss.losses import AssistiveLoss, assistive_loss
from tests.gradients import gradient

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


@pytest.mark.parametrize("beta", [0, -0.1, 1.1, float("nan")])
def test_beta_out_of_range(beta):
    for use in (AssistiveLoss, lambda **parameters: _loss(0.1, **parameters)):
        with pytest.raises(ConfigError, match="beta"):
            use(**FIGURE | {"beta": beta})
