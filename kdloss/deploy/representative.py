"""Faces that stand for all of a data set: they decide the scales of 8 bits, and what was exported is tried on them."""

import numpy as np

from kdloss.data.geometry import BoxPolicy, FaceCrop, landmark_box

REPRESENTATIVE = 200  # training faces that decide the scales of int8


def representative_crops(prepared, loaded):
    """Yields unvaried crops (1, S, S, 3) uint8 of training faces, evenly spaced over the split.

    Args:
        prepared: a `PreparedDataset`.
        loaded: a `kdloss.evaluation.evaluation.LoadedModel`: it tells size and box of the crops.
    """
    size, boxes = loaded.model.input_shape[1], prepared.boxes(loaded.box)
    for row in spread_rows(prepared.indices("train"), REPRESENTATIVE):
        yield FaceCrop.from_box(boxes[row], size).image(prepared.faces[row])[None]


def spread_rows(rows, count):
    """As many of the rows, at most, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


def rendered_crops(loaded, count):
    """Yields crops (1, S, S, 3) uint8 of rendered faces, always the same ones, for where no prepared faces are at hand.

    Args:
        loaded: see `representative_crops`.
        count: how many.
    """
    from data_prep.synthetic import render_face

    rng, size = np.random.default_rng(0), loaded.model.input_shape[1]
    grown = BoxPolicy(scale=loaded.box.scale, margin=loaded.box.margin, square=loaded.box.square)
    for _ in range(count):
        face = render_face(rng)
        yield FaceCrop.from_box(grown.grow(landmark_box(face.points98)), size).image(face.image)[None]
