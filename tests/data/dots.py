"""Pictures of dots whose places can be found again from the pixels alone."""

import itertools

import numpy as np

from data_prep.prepare import write_prepared
from data_prep.raw import Face, RawDataset
from kdloss.data.datasets import DATASETS
from kdloss.data.prepared import PreparedDataset
from kdloss.data.schemes import SCHEMES


def draw_dots(side, points, sigma=2.5):
    """A square uint8 picture with a Gaussian dot at each of three sub-pixel points (3, 2), one in each channel."""
    y, x = np.mgrid[:side, :side][..., None]
    dots = np.exp(-((x - points[:, 0]) ** 2 + (y - points[:, 1]) ** 2) / (2 * sigma**2))
    return np.rint(255 * dots).astype(np.uint8)


def find_dots(image):
    """(3, 2) centroids of the dots in the three channels."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]][..., None]
    weight = image / image.sum(axis=(0, 1), dtype=np.float64)
    return np.stack([(weight * x).sum((0, 1)), (weight * y).sum((0, 1))], axis=-1)


def signed_area(triangle):
    """Twice the signed area of a triangle (3, 2): of all that views do, only a reflection changes its sign."""
    (ax, ay), (bx, by) = triangle[1] - triangle[0], triangle[2] - triangle[0]
    return ax * by - ay * bx


def dotted_faces(folder, dataset):
    """A `PreparedDataset` with as many faces as points, and an array shown (n, 3).

    Face i shows three dots instead of a picture: red at landmark ``shown[i, 0] == i``, green and blue at two others.
    The three make a wide triangle, whose orientation tells whether a view is mirrored.
    """
    scheme, side = SCHEMES[DATASETS[dataset].scheme], 120
    rng, count = np.random.default_rng(11), scheme.num_points
    faces, shown = [], []
    for i in range(count):
        angle, radius = rng.uniform(0, 2 * np.pi, count), rng.uniform(6, 22, count)
        points = side / 2 + rng.uniform(-5, 5, 2) + (radius * [np.cos(angle), np.sin(angle)]).T
        pairs = itertools.combinations(rng.permutation(np.delete(np.arange(count), i))[:12], 2)
        shown.append((i, *max(pairs, key=lambda pair: abs(signed_area(points[[i, *pair]])))))
        image = draw_dots(side, points[list(shown[-1])])
        faces.append(Face(f"{i}.png", image, points.astype(np.float32), "train", "dots", f"{i}"))
    write_prepared(RawDataset(scheme, faces), DATASETS[dataset], folder / dataset, source="dots", size=96)
    return PreparedDataset(folder / dataset), np.array(shown)
