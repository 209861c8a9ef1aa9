"""Prepared folders of random faces, written by the real writer, and the fixtures that give them to tests."""

import numpy as np
import pytest

from data_prep.prepare import write_prepared
from data_prep.raw import Face, RawDataset
from kdloss.data.datasets import DATASETS
from kdloss.data.prepared import PreparedDataset
from kdloss.data.schemes import SCHEMES, LandmarkScheme


def make_faces(scheme, count, split, seed, subsets=lambda i: (), box=True, occluded=0, unknown=()):
    """Yields pictures of noise with one random shape that varies a little; every normaliser is well above zero.

    Of face i the first ``i * occluded`` points are flagged as occluded; with 0 there are no flags. Of every third face
    the points ``unknown`` are not known.
    """
    rng = np.random.default_rng(seed)
    shape = np.random.default_rng(7).uniform(20, 100, (scheme.num_points, 2))
    if scheme.ocular:
        shape[list(scheme.ocular)] = [[30, 50], [90, 52]]
    if scheme.pupils:
        for side, x in zip(scheme.pupils, (42.0, 78.0), strict=True):
            inner = [i for i in side if i not in scheme.ocular]
            shape[inner] = [x, 51]
    for i in range(count):
        points = shape * rng.uniform(0.8, 1.2) + rng.normal(0, 2, shape.shape) + rng.uniform(0, 20, 2)
        points[list(unknown) if i % 3 == 2 else []] = np.nan
        yield Face(
            name=f"{split}/face {i}.png",
            image=rng.integers(0, 256, (150, 160, 3), dtype=np.uint8),
            points=points.astype(np.float32),
            split=split,
            source=f"{split} faces",
            group=f"{split}{i}",
            subsets=subsets(i),
            box=(*rng.uniform(8, 14, 2), 110.0, 105.0) if box else None,
            occluded=np.arange(scheme.num_points) < i * occluded if occluded else None,
        )


def prepared_faces(
    out,
    *,
    train=20,
    test=8,
    size=32,
    seed=0,
    subsets=lambda i: (),
    synthetic=False,
    custom=0,
    box=True,
    occluded=0,
    unknown=(),
):
    """Prepares random faces into a folder named after their data set.

    A tenth of the training faces becomes the validation split. ``custom`` asks for that many points without mirror
    partners, in place of the scheme of the data set; ``subsets`` gives the subsets of the i-th test face.
    """
    spec = DATASETS[out.name]
    scheme = LandmarkScheme.plain(custom) if custom else SCHEMES[spec.scheme]
    faces = [
        *make_faces(scheme, train, "train", 2 * seed + 1, box=box, occluded=occluded, unknown=unknown),
        *make_faces(scheme, test, "test", 2 * seed + 2, subsets, box, occluded, unknown),
    ]
    write_prepared(RawDataset(scheme, faces, synthetic=synthetic), spec, out, source="random faces", size=size)
    return PreparedDataset(out)


@pytest.fixture(scope="session")
def make_prepared(tmp_path_factory):
    """``make_prepared(dataset, **options)``: a new `PreparedDataset` of `prepared_faces`."""
    return lambda dataset, **options: prepared_faces(tmp_path_factory.mktemp("prepared") / dataset, **options)


@pytest.fixture(scope="session")
def random_faces(make_prepared):
    """Ten training and three test faces in the COFW layout. Opened once: change nothing in it."""
    return make_prepared("cofw", train=10, test=3, size=48)
