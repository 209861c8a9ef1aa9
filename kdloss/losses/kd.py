"""KD-Loss: a main loss on the labels and an assistive loss from each of two teachers.

Source: KD-Loss (Fard and Mahoor, CVIU 2022): figures, development history and public code; see
`kdloss.losses.kd_presets`.
"""

import dataclasses

import keras
from keras import ops

from kdloss.losses.assistive import assistive_values
from kdloss.losses.kd_presets import MAIN_KINDS, KDLossConfig, check_choice
from kdloss.losses.points import absolute_error


def main_loss(y_true, y_pred, tolerant, *, k, kind="quadratic"):
    """Mean over all coordinates of `main_values`: a float32 scalar."""
    return ops.mean(main_values(y_true, y_pred, tolerant, k=k, kind=kind))


def main_values(y_true, y_pred, tolerant, *, k, kind="quadratic"):
    """The main loss a coordinate, in float32.

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
    """The weighted terms of KD-Loss, to be summed, and logged one by one.

    Args:
        y_true, y_pred: points (B, N, 2) in unit coordinates.
        tough, tolerant: the teachers' predictions, likewise, or None: then that term is absent, and without
            ``tolerant`` the main loss is k e, see `main_values`.
        config: a `KDLossConfig`.
        image_size: side of the crop in pixels; used by ``unit="pixel"`` alone.

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
    if tough is not None:
        terms["tough"] = config.lam_tough * assistive_values(
            y_true, y_pred, tough, a_pos=config.tough_a_pos, a_neg=config.tough_a_neg, **shared
        )
    if tolerant is not None:
        terms["tolerant"] = config.lam_tolerant * assistive_values(
            y_true, y_pred, tolerant, a_pos=config.tolerant_a_pos, a_neg=config.tolerant_a_neg, **shared
        )
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
