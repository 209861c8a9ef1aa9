"""Assistive loss: a teacher's prediction pulls the student's or pushes it, by where the student stands.

Source: KD-Loss (Fard and Mahoor, CVIU 2022), its figures and public code.
"""

import keras
from keras import ops

from kdloss.losses.kd_presets import check_beta
from kdloss.losses.points import absolute_error


def assistive_loss(y_true, y_pred, teacher, *, a_pos, a_neg, beta, inner=True, stop_gradient=True):
    """Mean over all coordinates of `assistive_values`: a float32 scalar."""
    return ops.mean(
        assistive_values(
            y_true, y_pred, teacher, a_pos=a_pos, a_neg=a_neg, beta=beta, inner=inner, stop_gradient=stop_gradient
        )
    )


def assistive_values(y_true, y_pred, teacher, *, a_pos, a_neg, beta, inner=True, stop_gradient=True):
    """w |pred - T'| a coordinate, in float32.

    With e = |pred - gt|, d = |T - gt| and T' = gt + sign(pred - gt) d, the teacher mirrored onto the prediction's side:

    - e > d: w = a_pos, pulled to T'
    - beta d <= e <= d: w = a_neg, pushed off T', towards gt
    - e < beta d: w = a_neg e / (beta d), or 0 without ``inner``
    - d = 0: w = 0, for a teacher that agrees with the label has nothing to add

    16-bit inputs are widened first: e and d are small differences of numbers near 0.5.

    Args:
        y_true: labels (..., 2).
        y_pred: predictions, same shape and unit.
        teacher: the teacher's predictions, a constant for the gradient.
        a_pos: weight of the pull.
        a_neg: weight of the push, negative.
        beta: share of d within which the push fades, in (0, 1].
        inner: whether there is a push within beta d (figure and 2020 code) or none (public code).
        stop_gradient: w is a constant for the gradient, as in the paper. Without it the inner branch repels the
            prediction from the label near zero.

    Raises:
        ConfigError: beta is out of range.
    """
    check_beta(beta)
    truth, pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    e = absolute_error(truth, pred)
    d = ops.stop_gradient(absolute_error(truth, teacher))
    zero = ops.zeros_like(e)
    # The quotient is masked before it is taken: 0 / 0 in a branch not chosen still makes the gradient NaN.
    near = a_neg * e / (beta * ops.where(d > 0, d, ops.ones_like(d))) if inner else zero
    w = ops.where(e > d, zero + a_pos, ops.where(e < beta * d, near, zero + a_neg))
    w = ops.where(d > 0, w, zero)
    if stop_gradient:
        w = ops.stop_gradient(w)
    mirrored = ops.stop_gradient(truth + ops.sign(pred - truth) * d)
    return w * absolute_error(mirrored, pred)


@keras.saving.register_keras_serializable("kdloss")
class AssistiveLoss(keras.losses.Loss):
    """`assistive_loss` for ``compile``.

    Args:
        a_pos, a_neg, beta, inner, stop_gradient: see `assistive_values`.
        **kwargs: of `keras.losses.Loss`.

    Call:
        y_true: stack (B, 2, N, 2) of labels and the teacher's predictions.
        y_pred: predictions (B, N, 2).
    """

    def __init__(self, a_pos, a_neg, beta, inner=True, stop_gradient=True, name="assistive_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        check_beta(beta)
        self.parameters = {
            "a_pos": a_pos,
            "a_neg": a_neg,
            "beta": beta,
            "inner": inner,
            "stop_gradient": stop_gradient,
        }

    def call(self, y_true, y_pred):
        values = assistive_values(y_true[:, 0], y_pred, y_true[:, 1], **self.parameters)
        return ops.mean(values, axis=(-2, -1))

    def get_config(self):
        return super().get_config() | self.parameters
