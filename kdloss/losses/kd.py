"""KD-Loss: a main loss on the labels, and an assistive loss (ALoss) from each of two teachers.

    KD-Loss = lam_main main(pred, gt, tolerant)
            + lam_tough ALoss(pred, gt, tough) + lam_tolerant ALoss(pred, gt, tolerant)

`main_values` and `assistive_values` hold the formulas per coordinate, `kd_presets` the constants. In ALoss a teacher
pulls a prediction that is worse than its own towards the label, and pushes a better one further towards the label.

Source: KD-Loss (Fard and Mahoor, CVIU 2022), its figures, its development history and its public code.
"""

import dataclasses

import keras
from keras import ops

from kdloss.losses.kd_presets import MAIN_KINDS, KDLossConfig, check_beta, check_choice
from kdloss.losses.point_losses import absolute_error


def assistive_loss(y_true, y_pred, teacher, **parameters):
    """Mean over all coordinates of `assistive_values`, which takes the same arguments: a float32 scalar."""
    return ops.mean(assistive_values(y_true, y_pred, teacher, **parameters))


def assistive_values(y_true, y_pred, teacher, *, a_pos, a_neg, beta, inner=True, stop_gradient=True):
    """w |pred - T'| per coordinate, in float32.

    With e = |pred - gt|, d = |T - gt| and T' = gt + sign(pred - gt) d, the teacher mirrored onto the prediction's side:

    - e > d: w = a_pos, pulled to T'
    - beta d <= e <= d: w = a_neg, pushed off T', towards gt
    - e < beta d: w = a_neg e / (beta d), or 0 without ``inner``
    - d = 0: w = 0, the teacher agrees with the label

    16-bit inputs are cast first: e and d are small differences of numbers near 0.5.

    Args:
        y_true: labels (..., 2).
        y_pred: predictions, same shape and unit.
        teacher: the teacher's predictions, a constant for the gradient.
        a_pos: weight of the pull.
        a_neg: weight of the push, negative.
        beta: share of d within which the push fades, in (0, 1].
        inner: push within beta d too (figure and 2020 code), or do not (public code).
        stop_gradient: take w as a constant in the gradient, as in the paper. Otherwise the inner branch repels the
            prediction from the label near zero.

    Raises:
        ConfigError: beta is out of range.
    """
    check_beta(beta)
    truth, pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    e = absolute_error(truth, pred)
    d = ops.stop_gradient(absolute_error(truth, teacher))
    zero = ops.zeros_like(e)
    # Divide by 1 where d is 0: 0 / 0 makes the gradient NaN even in a branch that `where` does not choose.
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
        self.parameters = {"a_pos": a_pos, "a_neg": a_neg, "beta": beta}
        self.parameters |= {"inner": inner, "stop_gradient": stop_gradient}

    def call(self, y_true, y_pred):
        values = assistive_values(y_true[:, 0], y_pred, y_true[:, 1], **self.parameters)
        return ops.mean(values, axis=(-2, -1))

    def get_config(self):
        return super().get_config() | self.parameters


def main_loss(y_true, y_pred, tolerant, *, k, kind="quadratic"):
    """Mean over all coordinates of `main_values`: a float32 scalar."""
    return ops.mean(main_values(y_true, y_pred, tolerant, k=k, kind=kind))


def main_values(y_true, y_pred, tolerant, *, k, kind="quadratic"):
    """The main loss per coordinate, in float32.

    With e = |pred - gt| and d = |tolerant - gt|: k e if e <= d, else e^2 + k d - d^2 (``"quadratic"``); k e everywhere
    (``"l1"``, and ``"quadratic"`` without a tolerant teacher, where nothing bounds the linear part).

    Args:
        y_true, y_pred: points (..., 2) of the same shape and unit.
        tolerant: the tolerant teacher's predictions, a constant for the gradient, or None.
        k: slope of the linear part.
        kind: ``"quadratic"`` or ``"l1"``.

    Raises:
        ConfigError: an unknown kind.
    """
    check_choice("main", kind, MAIN_KINDS)
    e = absolute_error(y_true, y_pred)
    if kind == "l1" or tolerant is None:
        return k * e
    d = ops.stop_gradient(absolute_error(y_true, tolerant))
    return ops.where(e <= d, k * e, ops.square(e) + k * d - ops.square(d))


def kd_loss_terms(y_true, y_pred, tough, tolerant, config, image_size):
    """The weighted terms of KD-Loss by name. Their sum is the loss.

    Args:
        y_true, y_pred: points (B, N, 2) in unit coordinates.
        tough, tolerant: the teachers' predictions, or None: then that term is absent. Without ``tolerant`` the main
            loss is k e, see `main_values`.
        config: a `KDLossConfig`.
        image_size: side of the crop in pixels; only ``unit="pixel"`` uses it.

    Returns:
        Float32 scalars ``"main"`` and, where there is such a teacher, ``"tough"`` and ``"tolerant"``.
    """
    values = _term_values(y_true, y_pred, tough, tolerant, config, image_size)
    return {name: ops.mean(value) for name, value in values.items()}


def kd_loss(y_true, y_pred, tough, tolerant, config, image_size):
    """The sum of `kd_loss_terms`."""
    return sum(kd_loss_terms(y_true, y_pred, tough, tolerant, config, image_size).values())


def _term_values(y_true, y_pred, tough, tolerant, config, image_size):
    scale = image_size if config.unit == "pixel" else 1.0

    def scaled(points):
        return None if points is None else ops.cast(points, "float32") * scale

    y_true, y_pred, tough, tolerant = (scaled(points) for points in (y_true, y_pred, tough, tolerant))
    terms = {"main": config.lam_main * main_values(y_true, y_pred, tolerant, k=config.k, kind=config.main)}
    shared = {"beta": config.beta, "inner": config.inner, "stop_gradient": config.stop_gradient}
    for name, teacher in (("tough", tough), ("tolerant", tolerant)):
        if teacher is not None:
            weights = {sign: getattr(config, f"{name}_{sign}") for sign in ("a_pos", "a_neg")}
            values = assistive_values(y_true, y_pred, teacher, **weights, **shared)
            terms[name] = getattr(config, f"lam_{name}") * values
    return terms


@keras.saving.register_keras_serializable("kdloss")
class KDLoss(keras.losses.Loss):
    """`kd_loss` with both teachers for ``compile``.

    Args:
        config: a `KDLossConfig`, or the dict of its fields.
        image_size: side of the crop in pixels.
        **kwargs: of `keras.losses.Loss`.

    Call:
        y_true: stack (B, 3, N, 2) of labels, tough and tolerant predictions.
        y_pred: predictions (B, N, 2).
    """

    def __init__(self, config, image_size, name="kd_loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.config = config if isinstance(config, KDLossConfig) else KDLossConfig(**config)
        self.image_size = image_size

    def call(self, y_true, y_pred):
        values = _term_values(y_true[:, 0], y_pred, y_true[:, 1], y_true[:, 2], self.config, self.image_size)
        return ops.mean(sum(values.values()), axis=(-2, -1))

    def get_config(self):
        return super().get_config() | {"config": dataclasses.asdict(self.config), "image_size": self.image_size}
