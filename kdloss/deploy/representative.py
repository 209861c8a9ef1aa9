"""Crops of faces that stand for a data set, to set the scales of 8 bits and to compare exported files."""

import numpy as np

from data_prep.synthetic import render_face
from kdloss.data.geometry import BoxPolicy, FaceCrop, landmark_box
from kdloss.evaluation.protocol import spread_rows

REPRESENTATIVE = 200  # training faces that decide the scales of 8 bits


def representative_crops(prepared, loaded):
    """Yields crops (1, S, S, 3) uint8 of training faces, evenly spaced over the split and without augmentation.

    Args:
        prepared: a `PreparedDataset`.
        loaded: a `kdloss.evaluation.evaluation.LoadedModel`, for the size and the box of the crops.
    """
    size, boxes = loaded.model.input_shape[1], prepared.boxes(loaded.box)
    for row in spread_rows(prepared.indices("train"), REPRESENTATIVE):
        yield FaceCrop.from_box(boxes[row], size).image(prepared.faces[row])[None]


def rendered_crops(loaded, count):
    """Yields crops (1, S, S, 3) uint8 of ``count`` rendered faces, the same in every call."""
    rng, size = np.random.default_rng(0), loaded.model.input_shape[1]
    around_landmarks = BoxPolicy(scale=loaded.box.scale, margin=loaded.box.margin, square=loaded.box.square)
    for _ in range(count):
        face = render_face(rng)
        box = around_landmarks.grow(landmark_box(face.points98))
        yield FaceCrop.from_box(box, size).image(face.image)[None]
