"""98 points (WFLW) -> 68 (300-W) and 29 (COFW), by point names.

The usual correspondence of the three annotations: where a point of the smaller scheme has none of the 98 to itself
(the inner end of a COFW brow), it is the middle of two.
"""

import functools

import numpy as np

from kdloss.errors import DataError
from kdloss.schemes import SCHEMES


def to_68(points98):
    """(..., 98, C) -> (..., 68, C) in 300-W order: every second jaw point, upper brows, six of eight eye points.

    Raises:
        DataError: not 98 points.
    """
    return _convert(points98, "68")


def to_29(points98):
    """(..., 98, C) -> (..., 29, C) in COFW order.

    Raises:
        DataError: not 98 points.
    """
    return _convert(points98, "29")


def _convert(points98, scheme):
    points98 = np.asarray(points98)
    if points98.ndim < 2 or points98.shape[-2] != 98:
        raise DataError(f"found points of shape {points98.shape}, expected (..., 98, 2): give points of the 98 scheme")
    first, second = _sources(scheme)
    return (points98[..., first, :] + points98[..., second, :]) / 2


@functools.cache
def _sources(scheme):
    """Two index arrays (N,): each point is the mean of its two sources, which are the same point for most."""
    index = {name: i for i, name in enumerate(SCHEMES["98"].names)}
    names_of = {"68": _names_for_68, "29": _names_for_29}[scheme]()
    pairs = [names_of.get(name, (name, name)) for name in SCHEMES[scheme].names]
    return tuple(np.array([index[pair[k]] for pair in pairs]) for k in range(2))


def _names_for_68():
    """Names of the 68 that are not called so in the 98."""
    renamed = {}
    for side in ("right", "left"):
        renamed |= {f"{side}_jaw_{i}": f"{side}_jaw_{2 * i}" for i in range(8)}
        renamed |= {f"{side}_brow_{i}": f"{side}_brow_upper_{i}" for i in range(5)}
        # 98 has three points on a lid, at its quarters; 68 has two: those beside the middle one.
        renamed |= {f"{side}_eye_{lid}_1": f"{side}_eye_{lid}_2" for lid in ("upper", "lower")}
    return {name: (source, source) for name, source in renamed.items()}


def _names_for_29():
    """Names of the 29 that are not called so in the 98."""
    renamed = {"nose_tip": "nose_bridge_3"}
    for side in ("right", "left"):
        renamed[f"{side}_brow_outer"] = f"{side}_brow_upper_0"
        renamed[f"{side}_nostril"] = f"{side}_nostril_0"
        for edge in ("upper", "lower"):
            renamed[f"{side}_brow_{edge}"] = f"{side}_brow_{edge}_2"
            renamed[f"{side}_eye_{edge}"] = f"{side}_eye_{edge}_1"
    inner = {f"{side}_brow_inner": (f"{side}_brow_upper_4", f"{side}_brow_lower_0") for side in ("right", "left")}
    return {name: (source, source) for name, source in renamed.items()} | inner
