"""Similarity fits in the plane, and generalised Procrustes alignment. Neither ever mirrors a shape.

A similarity without reflection is z -> a z + t on complex points z = x + iy, where a holds scale and rotation.
That is linear in a and t, so least squares has a closed form, and a reflection cannot be expressed. It is the same
optimum as Umeyama's (Least-squares estimation of transformation parameters between two point patterns, PAMI 13(4),
1991), whose sign matrix exists to keep the determinant positive.
"""

from dataclasses import dataclass

import numpy as np

# With larger coordinates, sums of squares lose precision, and overflow further on.
LARGEST = np.float64(1e15)
# Spreads below this share of the coordinates are rounding, not shape.
_ROUNDING = 1e-12


class ShapeError(ValueError):
    """Shapes, options or a file that a shape model cannot work with. The message is one line."""


@dataclass(frozen=True)
class Similarity:
    """Scale, rotation and translation, or a batch of them: z -> factor z + shift."""

    factor: np.ndarray  # (...) complex: its size is the scale, its angle the rotation from x towards y
    shift: np.ndarray  # (...) complex

    def apply(self, points):
        """Maps points (..., N, 2); batch dimensions broadcast."""
        return _as_points(_as_complex(points) * self.factor[..., None] + self.shift[..., None])

    def inverse(self):
        """The `Similarity` that undoes this one."""
        return Similarity(1 / self.factor, -self.shift / self.factor)


@dataclass(frozen=True)
class Alignment:
    """What `generalised_procrustes` returns."""

    aligned: np.ndarray  # (n, N, 2) shapes in the common frame
    mean: np.ndarray  # (N, 2) mean shape in that frame
    transforms: Similarity  # batch of n, from each given shape to its aligned one


def checked_points(points, what, num_points=None):
    """``points`` as float64 (..., N, 2), x then y, or a `ShapeError` that calls them ``what``."""
    try:
        array = np.asarray(points)
        if array.dtype.kind == "c":
            raise TypeError("complex numbers")
        with np.errstate(invalid="ignore", over="ignore"):  # the range check below refuses what overflows
            array = array.astype(np.float64, copy=False)
    except (TypeError, ValueError) as error:
        raise ShapeError(f"{what}: not an array of numbers ({error}): expected (..., N, 2)") from error
    expected = f"(..., {'N' if num_points is None else num_points}, 2)"
    if array.ndim < 2 or array.shape[-1] != 2 or array.shape[-2] == 0:
        raise ShapeError(f"{what}: found an array of shape {array.shape}, expected {expected}, x then y")
    if num_points is not None and array.shape[-2] != num_points:
        raise ShapeError(f"{what}: found {array.shape[-2]} points a shape, expected {num_points}: use the same scheme")
    # The maximum and the minimum of an array with a NaN are NaN.
    if not (array.max(initial=0) < LARGEST and array.min(initial=0) > -LARGEST):
        unusable = ~(np.abs(array) < LARGEST).all(axis=(-2, -1))
        raise ShapeError(
            f"{what}: NaN or infinite coordinates, or beyond {LARGEST:g}, in {unusable.sum()} shape(s), expected "
            "finite ones: leave those out"
        )
    return array


def fit_similarity(source, target):
    """The similarity, never a reflection, that takes ``source`` nearest to ``target`` (least squares).

    Args:
        source, target: (..., N, 2); batch dimensions broadcast.

    Raises:
        ShapeError: the points of a shape all coincide; no rotation is better than another, as between a square and
            its mirror image; NaN; the numbers of points differ.
    """
    source = checked_points(source, "source shape")
    target = checked_points(target, "target shape", num_points=source.shape[-2])
    source, target = _as_complex(source), _as_complex(target)
    source_mean, source_spread = _moments(source, "source shape")
    target_mean, target_spread = _moments(target, "target shape")
    common = np.vecdot(source - source_mean[..., None], target) / source.shape[-1]
    if (np.abs(common) <= _ROUNDING * np.sqrt(source_spread * target_spread)).any():
        raise ShapeError("similarity fit: no rotation is better than another (mirror images?): give other shapes")
    factor = common / source_spread
    return Similarity(factor, target_mean - factor * source_mean)


def generalised_procrustes(shapes):
    """Aligns shapes (n, N, 2) to their common mean.

    The mean is the full Procrustes mean (Kent 1994). The frame of the result is the average of the given ones
    (centroid, geometric mean of the sizes, mean rotation), whatever the order of the shapes.

    Raises:
        ShapeError: fewer than two shapes, or a shape whose points all coincide.
    """
    shapes = checked_points(shapes, "shapes to align")
    mean = procrustes_mean(shapes)
    transforms = fit_similarity(shapes, mean)
    return Alignment(transforms.apply(shapes), mean, transforms)


def procrustes_mean(shapes):
    """The mean (N, 2) of `generalised_procrustes`, of checked shapes."""
    if shapes.ndim != 3 or len(shapes) < 2:
        raise ShapeError(f"shapes to align: found an array of shape {shapes.shape}, expected (n, N, 2) with n >= 2")
    points = _as_complex(shapes)
    centres, spreads = _moments(points, "shapes to align")
    unit = (points - centres[:, None]) / np.sqrt(spreads)[:, None]
    # Up to its frame, the mean is the direction that all shapes share most: the leading eigenvector.
    mean = np.linalg.eigh(unit.T @ unit.conj())[1][:, -1] * np.sqrt(shapes.shape[1])
    turn = np.vecdot(mean, unit)
    turn = (turn / np.abs(turn)).sum() if (np.abs(turn) > _ROUNDING).all() else 0
    # Shapes that are turned evenly in all directions have no mean rotation: any frame is then as good.
    turn = turn / np.abs(turn) if np.abs(turn) > _ROUNDING * len(points) else 1
    return _as_points(mean * turn * np.exp(np.log(spreads).mean() / 2) + centres.mean())


def _as_complex(points):
    return np.ascontiguousarray(points, np.float64).view(np.complex128)[..., 0]


def _as_points(numbers):
    return np.ascontiguousarray(numbers)[..., None].view(np.float64)


def _moments(numbers, what):
    """Means (...) and variances (...) of complex points (..., N); refuses points that all coincide."""
    mean = numbers.mean(axis=-1)
    spread = _squares(numbers - mean[..., None]).mean(axis=-1)
    flat = spread <= _ROUNDING**2 * _squares(numbers).max(axis=-1)
    if flat.any():
        raise ShapeError(f"{what}: all points coincide in {flat.sum()} shape(s), expected some extent: leave those out")
    return mean, spread


def _squares(numbers):
    return np.square(numbers.real) + np.square(numbers.imag)
