"""KD-Loss: a main loss on the labels and an assistive loss from each of two teachers.

Source: KD-Loss (Fard and Mahoor, CVIU 2022): figures, development history and public code; see `KD_PRESETS`.
"""

import dataclasses
import math
from dataclasses import dataclass

import keras
from keras import ops

from kdloss.errors import ConfigError
from kdloss.losses.assistive import assistive_values, check_beta
from kdloss.losses.points import absolute_error

MAIN_KINDS = ("quadratic", "l1")
UNITS = ("normalised", "pixel")


@dataclass(frozen=True)
class KDLossConfig:
    """All parameters of KD-Loss.

    Args:
        beta: share of the teacher's error within which its push fades.
        tough_a_pos, tough_a_neg: pull and push of the teacher trained on the labels.
        tolerant_a_pos, tolerant_a_neg: of the teacher trained on softened labels.
        lam_main, lam_tough, lam_tolerant: weights of the three terms.
        main: ``"quadratic"`` or ``"l1"``, see `main_loss`.
        k: slope of the linear part of the main loss.
        inner: see `assistive_values`.
        stop_gradient: see `assistive_values`.
        unit: what lengths are measured in. ``"normalised"``: unit coordinates, within +-0.5, as in the public code.
            ``"pixel"``: those times the crop's side.

    The unit is a trap. The quadratic branch has slope 2 e, the linear one k. In normalised units e is about 0.02 to
    0.1, so with ``public`` (k = 3) errors *beyond* the tolerant teacher's get a weaker pull from the main loss than
    errors within it, and in total about half the gradient. In pixels 2 e soon exceeds k and the loss rises as the
    paper draws it, but it is also larger by orders of magnitude.

    Raises:
        ConfigError: a value out of range.
    """

    beta: float = 0.4
    tough_a_pos: float = 0.9
    tough_a_neg: float = -0.45
    tolerant_a_pos: float = 0.9
    tolerant_a_neg: float = -0.45
    lam_main: float = 2.5
    lam_tough: float = 1.0
    lam_tolerant: float = 1.0
    main: str = "quadratic"
    k: float = 1.0
    inner: bool = True
    stop_gradient: bool = True
    unit: str = "normalised"

    def __post_init__(self):
        check_beta(self.beta)
        _check_choice("main", self.main, MAIN_KINDS)
        _check_choice("unit", self.unit, UNITS)
        for name in ("tough_a_pos", "tolerant_a_pos", "lam_main", "lam_tough", "lam_tolerant", "k"):
            _check_number(name, getattr(self, name), 0, math.inf)
        for name in ("tough_a_neg", "tolerant_a_neg"):
            _check_number(name, getattr(self, name), -math.inf, 0)


def _check_choice(name, value, choices):
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}: expected {' or '.join(choices)}")


def _check_number(name, value, low, high):
    if not (math.isfinite(value) and low <= value <= high):
        raise ConfigError(f"{name} is {value}: expected a finite number, {'0 or more' if low == 0 else '0 or less'}")


# figure: fitted to the paper's plots. dev2020: the development code, which may have made the published numbers
# (inferred). public: the released code.
KD_PRESETS = {
    "figure": KDLossConfig(),
    "dev2020": KDLossConfig(
        tolerant_a_pos=0.8, tolerant_a_neg=-0.4, lam_main=2.0, lam_tough=0.8, lam_tolerant=0.6, main="l1"
    ),
    "public": KDLossConfig(
        beta=0.15, tough_a_pos=1.9, tolerant_a_pos=1.8, tolerant_a_neg=-0.4, lam_main=2.0, k=3.0, inner=False
    ),
}


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
    _check_choice("main", kind, MAIN_KINDS)
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
