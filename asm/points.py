"""The checks that every array of shapes goes through."""

import numpy as np

from asm.blocks import blocks
from asm.errors import UserError

# Squares of larger numbers, and their sums, leave what float64 holds exactly, and further on what it holds at all.
LARGEST = np.float64(1e15)


def checked_points(points, what, num_points=None):
    """``points`` as float64 (..., N, 2), x then y.

    Args:
        points: anything that numpy turns into an array (..., N, 2).
        what: how messages call the array.
        num_points: the N it must have; any if None.

    Raises:
        UserError: not numbers, another shape, another N, NaN or infinite.
    """
    array = shaped_points(points, what, num_points)
    for part in blocks(array):
        if not magnitude(array[part]) < LARGEST:
            refuse_unusable(array, what)
    return array


def shaped_points(points, what, num_points=None):
    """`checked_points` without a look at the values, for those that look anyway."""
    try:
        array = np.asarray(points)
        if array.dtype.kind == "c":
            raise TypeError("complex ones")
        with np.errstate(invalid="ignore", over="ignore"):  # what comes of those is refused by their values
            array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what}: not an array of numbers ({error}): expected (..., N, 2)") from error
    expected = f"(..., {'N' if num_points is None else num_points}, 2)"
    if array.ndim < 2 or array.shape[-1] != 2 or array.shape[-2] == 0:
        raise UserError(f"{what}: found an array of shape {array.shape}, expected {expected}, x then y")
    if num_points is not None and array.shape[-2] != num_points:
        raise UserError(f"{what}: found {array.shape[-2]} points a shape, expected {num_points}: use the same scheme")
    return array


def magnitude(array):
    """The greatest absolute value of an array that is not empty; NaN if there is one among them."""
    return max(-array.min(), array.max())  # NaN in both


def refuse_unusable(array, what):
    """Says how many of the shapes (..., N, 2) have NaN, infinite or too large coordinates.

    Raises:
        UserError: always.
    """
    bad = int((~(np.abs(array) < LARGEST).all(axis=(-2, -1))).sum())
    raise UserError(
        f"{what}: NaN or infinite coordinates, or beyond {LARGEST:g}, in {bad} shape(s), expected finite ones: "
        "leave those out"
    )
