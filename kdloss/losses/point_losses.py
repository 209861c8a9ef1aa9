"""Losses between two sets of points, without a teacher.

All take points (..., 2) of the same shape and unit, compute in float32 and return the mean over every coordinate. A
point of ``y_true`` that is not known is NaN; it adds 0 to the mean and to every gradient.
The knees of `wing` and `smooth` are lengths in the unit of the points; the defaults are for unit coordinates and a crop
of 256 pixels. Both are homogeneous: scaling points and knees by s scales the loss by s.
"""

from keras import ops

from kdloss.errors import ConfigError


def absolute_error(y_true, y_pred):
    """|y_pred - y_true| per coordinate, always in float32; 0 where y_true is NaN.

    Its gradient at 0 is 0 on every back end.
    """
    y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
    # The unknown is replaced before it enters the difference: NaN in a branch that `where` does not choose would still
    # make the gradient NaN.
    difference = y_pred - ops.where(ops.isnan(y_true), ops.stop_gradient(y_pred), y_true)
    return difference * ops.stop_gradient(ops.sign(difference))  # JAX gives `abs` a slope of 1 at 0


def l2(y_true, y_pred):
    """Mean squared coordinate error; what the teachers of KD-Loss are trained with."""
    return ops.mean(ops.square(absolute_error(y_true, y_pred)))


def l1(y_true, y_pred):
    """Mean absolute coordinate error."""
    return ops.mean(absolute_error(y_true, y_pred))


def smooth(y_true, y_pred, *, knee=1 / 256):
    """Smooth L1 (Huber over knee): e^2 / (2 knee) below the knee, e - knee / 2 above. Default: one pixel."""
    e = absolute_error(y_true, y_pred)
    return ops.mean(ops.where(e < knee, ops.square(e) / (2 * knee), e - knee / 2))


def wing(y_true, y_pred, *, width=15 / 256, curvature=3 / 256):
    """Wing loss: w ln(1 + e / eps) below w, e - C above, with C making it continuous.

    Source: Feng et al., CVPR 2018, eq. 5. The widths, 15 and 3 pixels, are those reconstructed for EfficientFAN.
    """
    e = absolute_error(y_true, y_pred)
    ratio = ops.convert_to_tensor(width / curvature, dtype="float32")
    offset = width - width * ops.log1p(ratio)
    return ops.mean(ops.where(e < width, width * ops.log1p(e / curvature), e - offset))


_POINT_LOSSES = {"l2": l2, "l1": l1, "wing": wing, "smooth": smooth}


def point_loss(name):
    """The loss of that name, a function (y_true, y_pred) -> scalar.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in _POINT_LOSSES:
        raise ConfigError(f"unknown point loss {name!r}: expected one of {', '.join(_POINT_LOSSES)}")
    return _POINT_LOSSES[name]
