"""Principal axes of many rows by their scatter matrix: one matrix product, whatever the number of rows."""

import numpy as np

# An eigenvalue of a product is exact to some 1e-17 of the greatest one: those below this share of it are computed anew,
# from what is left of the rows along their own axes.
_LOW = 1e-6


def principal_axes(centred, width, floor):
    """Eigenvalues and eigenvectors of the sum of x x' over rows x whose mean is 0.

    A singular value decomposition of the rows finds the same, and takes some ten times as long.

    Args:
        centred: a function without arguments; yields blocks (b, width) of rows, the same at each call.
        width: d, numbers in a row.
        floor: eigenvalues up to this need not be exact.

    Returns:
        ``(values, axes)``: (d,), descending, and (d, d), an axis a row, whose greatest number is positive. Values above
        ``floor`` are exact to some 1e-11 of themselves.
    """
    scatter = np.zeros((width, width))
    for block in centred():
        scatter += block.T @ block
    values, axes = np.linalg.eigh(scatter)
    values, axes = values[::-1].clip(0), axes.T[::-1]
    low = int((values >= _LOW * values[0]).sum())
    if _LOW * values[0] > floor and low < width:
        rest = axes[low:]
        values[low:], turned = principal_axes(lambda: (block @ rest.T for block in centred()), width - low, floor)
        axes[low:] = turned @ rest
    signs = np.sign(axes[np.arange(width), np.abs(axes).argmax(axis=1)])
    return values, np.ascontiguousarray(axes * signs[:, None])
