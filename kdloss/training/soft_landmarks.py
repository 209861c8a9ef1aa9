"""Soft landmarks: ground truth through the shape model, in the frame of the unvaried crop.

The paper fits its PCA on augmented crops and aligns nothing. Here the model is fitted and applied before
augmentation, and the soft points then move with the view: what "soft" means does not depend on how views vary.
"""

import json

import numpy as np

from asm import ShapeModel
from kdloss.data.geometry import from_unit, invert, to_unit, transform_each
from kdloss.errors import ConfigError

# So many faces at a time where all their shapes would be more than is wanted of them.
_FACES = 4096


def unit_shapes(prepared, policy):
    """(n, N, 2) float64: the landmarks of all prepared faces in unit coordinates of their unvaried crops."""
    return _unit(_unit_crops(prepared, policy), prepared.points)


def mean_shape(prepared, policy, rows):
    """(N, 2) float64: the mean of the `unit_shapes` of the faces ``rows``, but few of them in memory at a time."""
    crops, total = _unit_crops(prepared, policy), []
    for start in range(0, len(rows), _FACES):
        part = rows[start : start + _FACES]
        # One after the other, as the mean of them all adds them: the same to the bit.
        total = [np.add.reduce([*total, *_unit(crops[part], prepared.points[part])], axis=0)]
    return total[0] / len(rows)


def fit_shape_model(prepared, policy, variance):
    """The `ShapeModel` of the training faces alone (neither validation nor test faces enter it)."""
    metadata = {
        "scheme": prepared.scheme.name,
        "dataset": prepared.dataset,
        "box": str(policy),
        "skeleton": json.dumps([list(line) for line in prepared.scheme.skeleton]),
    }
    shapes = unit_shapes(prepared, policy)[prepared.indices("train")]
    return ShapeModel.fit(shapes, variance=variance, metadata=metadata)


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
    soft = model.soften(unit_shapes(prepared, policy))
    return transform_each(invert(_unit_crops(prepared, policy)), from_unit(soft, 1)).astype(np.float32)


def _unit(crops, points):
    return to_unit(transform_each(crops, points.astype(np.float64)), 1)


def _unit_crops(prepared, policy):
    """(n, 2, 3): from the stored crops to crops of one pixel, as `FaceCrop.from_box` has them."""
    boxes = prepared.boxes(policy)
    matrices = np.zeros((len(boxes), 2, 3))
    matrices[:, (0, 1), (0, 1)] = 1 / boxes[:, 2:]
    matrices[:, :, 2] = -boxes[:, :2] / boxes[:, 2:] - 0.5
    return matrices
