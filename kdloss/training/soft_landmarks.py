"""Soft landmarks: the annotated points projected onto a shape model, in the frame of the crop before augmentation.

The model is fitted on the faces all of whose points are known; on the others it says the unknown ones too.

The paper fits its PCA on augmented crops without alignment. Here the model is fitted and applied before augmentation,
and the soft points then move with the view. They do not depend on the augmentation.
"""

import json

import numpy as np

from asm import ShapeModel
from kdloss.data.geometry import from_unit, invert, to_unit, transform_each
from kdloss.errors import ConfigError, DataError

_FACES = 4096  # faces per step of a mean: the shapes of all faces might not fit into memory


def unit_shapes(prepared, policy):
    """(n, N, 2) float64: the landmarks of all prepared faces in unit coordinates of their crops, not augmented."""
    return _unit(_unit_crops(prepared, policy), prepared.points)


def mean_shape(prepared, policy, rows):
    """(N, 2) float64: the mean of the `unit_shapes` of the faces ``rows``, computed in little memory.

    Raises:
        DataError: a point is known in none of them.
    """
    crops, total = _unit_crops(prepared, policy), []
    count = np.isfinite(prepared.points[rows]).sum(axis=0)
    if not count.all():
        name = prepared.scheme.names[int(count.all(axis=1).argmin())]
        raise DataError(f"{prepared.path}: point {name} is known in none of {len(rows)} training faces: leave it out")
    for start in range(0, len(rows), _FACES):
        some = rows[start : start + _FACES]
        shapes = _unit(crops[some], prepared.points[some])
        # Added one after the other, as numpy's mean of all of them does: the result is the same to the bit.
        total = [np.add.reduce([*total, *np.where(np.isnan(shapes), 0, shapes)], axis=0)]
    return total[0] / count


def fit_shape_model(prepared, policy, variance, rows):
    """The `ShapeModel` of those of the faces ``rows`` all of whose points are known; training faces only.

    Raises:
        DataError: fewer than two of them have all of their points.
    """
    metadata = {
        "scheme": prepared.scheme.name,
        "dataset": prepared.dataset,
        "box": str(policy),
        "skeleton": json.dumps([list(line) for line in prepared.scheme.skeleton]),
    }
    shapes = unit_shapes(prepared, policy)[rows]
    shapes = shapes[np.isfinite(shapes).all(axis=(1, 2))]
    if len(shapes) < 2:
        found = f"{len(shapes)} of {len(rows)} training faces have all of their points, expected 2 at least"
        raise DataError(f"{prepared.path}: {found}: give a shape model with --shape, or label more points")
    return ShapeModel.fit(shapes, variance=variance, metadata=metadata)


def unusual_faces(prepared, policy, rows):
    """The fifth of the faces ``rows`` whose shapes differ most from their mean: turned heads and open mouths.

    The difference is Mahalanobis' distance over the modes that hold 90 % of the variance. Faces with unknown points are
    not among them.
    """
    shapes = unit_shapes(prepared, policy)[rows]
    known = np.isfinite(shapes).all(axis=(1, 2))
    model = fit_shape_model(prepared, policy, 0.9, rows)
    distances = np.square(model.project(shapes[known])) @ (1 / model.eigenvalues)
    return rows[known][np.argsort(-distances, kind="stable")[: len(rows) // 5]]


def soft_points(prepared, model, policy):
    """Soft landmarks of all prepared faces.

    Args:
        prepared: a `PreparedDataset`.
        model: a `ShapeModel` in unit coordinates of the crops of ``policy``.
        policy: the `BoxPolicy`.

    Returns:
        (n, N, 2) float32 points in pixels of the stored crops.

    Raises:
        ConfigError: the model has another number of points.
    """
    if len(model.mean) != prepared.scheme.num_points:
        raise ConfigError(
            f"--shape: the shape model has {len(model.mean)} points, expected {prepared.scheme.num_points}: "
            f"fit one with python -m asm fit --data {prepared.path}"
        )
    soft = model.soften(model.complete(unit_shapes(prepared, policy)))
    return transform_each(invert(_unit_crops(prepared, policy)), from_unit(soft, 1)).astype(np.float32)


def _unit(crops, points):
    return to_unit(transform_each(crops, points.astype(np.float64)), 1)


def _unit_crops(prepared, policy):
    """(n, 2, 3): maps from the stored crops to crops of one pixel, like those of `FaceCrop.from_box`."""
    boxes = prepared.boxes(policy)
    matrices = np.zeros((len(boxes), 2, 3))
    matrices[:, (0, 1), (0, 1)] = 1 / boxes[:, 2:]
    matrices[:, :, 2] = -boxes[:, :2] / boxes[:, 2:] - 0.5
    return matrices
