"""Small prepared data sets, written by the real writer: random pictures, and pictures of dots that can be found."""

import itertools

import cv2
import numpy as np
import pytest

from data_prep.prepare import write_prepared
from data_prep.raw import Face, RawDataset
from kdloss.data.datasets import DATASETS
from kdloss.data.prepared import PreparedDataset
from kdloss.data.schemes import SCHEMES, LandmarkScheme

SIDE = 120
DOT_SIGMA = 2.5


def _picture(rng):
    """A smooth random picture (SIDE, SIDE, 3), as photographs are: neighbouring pixels resemble each other."""
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def _random_faces(scheme, count, split, seed, box, occluded):
    rng = np.random.default_rng(seed)
    shape = np.random.default_rng(7).uniform(-25, 25, (scheme.num_points, 2))
    for i in range(count):
        centre = SIDE / 2 + rng.uniform(-8, 8, 2)
        points = centre + shape * rng.uniform(0.8, 1.2) + rng.normal(0, 1.5, shape.shape)
        corner, side = centre - 30 + rng.uniform(-3, 3, 2), rng.uniform(55, 65)
        yield Face(
            name=f"{split}/face {i}.png",
            image=_picture(rng),
            points=points.astype(np.float32),
            split=split,
            source=f"{split} faces",
            group=f"{split}{i}",
            box=(*corner, side, side * 1.1) if box else None,
            occluded=rng.random(scheme.num_points) < 0.3 if occluded else None,
        )


@pytest.fixture(scope="session")
def make_prepared(tmp_path_factory):
    """``make_prepared(dataset, train, test, size, seed, box, occluded, custom)`` -> a new `PreparedDataset`.

    A tenth of the training faces stands in the validation split. ``custom`` asks for that many points without
    mirror partners.
    """

    def make(dataset="cofw", *, train=10, test=3, size=48, seed=0, box=True, occluded=False, custom=0):
        scheme = LandmarkScheme.plain(custom) if custom else SCHEMES[DATASETS[dataset].scheme]
        faces = [
            *_random_faces(scheme, train, "train", 2 * seed, box, occluded),
            *_random_faces(scheme, test, "test", 2 * seed + 1, box, occluded),
        ]
        out = tmp_path_factory.mktemp("prepared") / dataset
        write_prepared(RawDataset(scheme, faces), DATASETS[dataset], out, source="random", size=size)
        return PreparedDataset(out)

    return make


@pytest.fixture(scope="session")
def faces(make_prepared):
    """Ten training and three test faces of the COFW kind. Opened once: change nothing in it."""
    return make_prepared()


@pytest.fixture
def faces_copy(faces):
    """The same faces, opened anew: its arrays may be changed."""
    return PreparedDataset(faces.path)


def draw_dot(image, channel, point, sigma=DOT_SIGMA):
    """Draws a Gaussian dot at a sub-pixel point (x, y) into one channel of ``image``."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    dot = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * sigma**2))
    image[..., channel] = np.rint(255 * dot).astype(np.uint8)


def find_dots(image):
    """(3, 2) centroids of the dots in the three channels; of nothing but the pixels."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = image.astype(np.float64)
    total = weight.sum(axis=(0, 1))
    return (
        np.stack([(weight * x[..., None]).sum((0, 1)), (weight * y[..., None]).sum((0, 1))], axis=-1) / total[:, None]
    )


@pytest.fixture(scope="session")
def dots():
    """The functions ``(draw_dot, find_dots)``."""
    return draw_dot, find_dots


def _turn(triangle):
    """Twice the signed area of a triangle (3, 2): a reflection changes its sign, nothing else that views do does."""
    (ax, ay), (bx, by) = triangle[1] - triangle[0], triangle[2] - triangle[0]
    return ax * by - ay * bx


@pytest.fixture(scope="session")
def turn():
    return _turn


@pytest.fixture(scope="session")
def dotted_faces(tmp_path_factory):
    """``dotted_faces(dataset)`` -> a `PreparedDataset` with as many faces as points, and shown (n, 3).

    Face i shows dots instead of a picture: red at landmark ``shown[i, 0] == i``, green and blue at two others, such
    that the three make a wide triangle, by whose sense a reflection is seen.
    """

    def make(dataset):
        scheme = SCHEMES[DATASETS[dataset].scheme]
        rng, count = np.random.default_rng(11), scheme.num_points
        faces, shown = [], []
        for i in range(count):
            angle, radius = rng.uniform(0, 2 * np.pi, count), rng.uniform(6, 22, count)
            points = SIDE / 2 + rng.uniform(-5, 5, 2) + (radius * [np.cos(angle), np.sin(angle)]).T
            pairs = itertools.combinations(rng.permutation(np.delete(np.arange(count), i))[:12], 2)
            best = max(pairs, key=lambda pair: abs(_turn(points[[i, *pair]])))
            image = np.zeros((SIDE, SIDE, 3), np.uint8)
            for channel, k in enumerate((i, *best)):
                draw_dot(image, channel, points[k])
            shown.append((i, *best))
            faces.append(Face(f"{i}.png", image, points.astype(np.float32), "train", "dots", f"{i}"))
        out = tmp_path_factory.mktemp("dots") / dataset
        write_prepared(RawDataset(scheme, faces), DATASETS[dataset], out, source="dots", size=96)
        return PreparedDataset(out), np.array(shown)

    return make
