"""The constants of KD-Loss: `KD_PRESETS` holds the sets that its sources used. Imports no network library.

Source: KD-Loss (Fard and Mahoor, CVIU 2022): figures, development history and public code.
"""

import math
from dataclasses import dataclass

from kdloss.errors import ConfigError

MAIN_KINDS = ("quadratic", "l1")
UNITS = ("normalised", "pixel")


@dataclass(frozen=True)
class KDLossConfig:
    """All parameters of KD-Loss.

    Args:
        beta: share of the teacher's error below which its push fades.
        tough_a_pos, tough_a_neg: pull and push of the teacher trained on the labels.
        tolerant_a_pos, tolerant_a_neg: the same of the teacher trained on soft labels.
        lam_main, lam_tough, lam_tolerant: weights of the three terms.
        main: ``"quadratic"`` or ``"l1"``, see `main_loss`.
        k: slope of the linear part of the main loss.
        inner: see `assistive_values`.
        stop_gradient: see `assistive_values`.
        unit: unit of all lengths. ``"normalised"``: unit coordinates, within +-0.5, as in the public code.
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
        check_choice("main", self.main, MAIN_KINDS)
        check_choice("unit", self.unit, UNITS)
        for name in ("tough_a_pos", "tolerant_a_pos", "lam_main", "lam_tough", "lam_tolerant", "k"):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ConfigError(f"{name} is {value}: expected a finite number, 0 or more")
        for name in ("tough_a_neg", "tolerant_a_neg"):
            if not -math.inf < (value := getattr(self, name)) <= 0:
                raise ConfigError(f"{name} is {value}: expected a finite number, 0 or less")


def check_beta(beta):
    if not 0 < beta <= 1:
        raise ConfigError(f"beta is {beta}: expected a number above 0, 1 at most")


def check_choice(name, value, choices):
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}: expected {' or '.join(choices)}")


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
