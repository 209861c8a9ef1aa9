"""Soft landmarks: ground truth through the shape model, in the frame of the unvaried crop.

The paper fits its PCA on augmented crops and aligns nothing. Here the model is fitted and applied before
augmentation, and the soft points then move with the view: what "soft" means does not depend on how views vary.
"""

import json

import numpy as np

from asm import ShapeModel
from kdloss.errors import ConfigError
from kdloss.geometry import FaceCrop


def unit_shapes(prepared, policy):
    """(n, N, 2) float64: the landmarks of all prepared faces in unit coordinates of their unvaried crops."""
    boxes = prepared.boxes(policy)
    return np.stack(
        [FaceCrop.from_box(b, 1).unit_points(p.astype(np.float64)) for b, p in zip(boxes, prepared.points, strict=True)]
    )


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
    boxes = prepared.boxes(policy)
    return np.stack([FaceCrop.from_box(b, 1).inverse_unit(p) for b, p in zip(boxes, soft, strict=True)]).astype(
        np.float32
    )
