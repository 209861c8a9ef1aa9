"""COFW as released: ``COFW_train_color.mat`` and ``COFW_test_color.mat``, MATLAB v7.3 files, that is HDF5.

HDF5 shows MATLAB's arrays transposed: a cell array of n images is (1, n) references, an image is C x W x H (a grey one
W x H), ``phis`` is 87 x n (29 x, 29 y, 29 occlusion flags) and ``bboxes`` 4 x n (x, y, width, height). All positions
are 1-based.
"""

import functools
from pathlib import Path

import h5py
import numpy as np

from data_prep.raw import Face, FacesOnDisk, RawDataset, SkippedFace, as_points
from kdloss.data.datasets import DATASETS, dataset_scheme
from kdloss.data.hdf5 import foreign_part, read_dataset
from kdloss.errors import DataError

# Split -> names of its images, points and boxes.
VARIABLES = {"train": ("IsTr", "phisTr", "bboxesTr"), "test": ("IsT", "phisT", "bboxesT")}
# h5py raises errors of any kind at damaged or unexpected structures.
_DAMAGE = Exception


def read_cofw(source):
    """Opens a COFW folder, or raises a `DataError`. One of the two files may be absent, with a warning."""
    source, scheme, counts = Path(source), dataset_scheme("cofw"), DATASETS["cofw"].counts
    files = {split: source / next(iter(counts[split])) for split in VARIABLES}
    if not any(path.is_file() for path in files.values()):
        raise DataError(f"{source}: found neither {' nor '.join(path.name for path in files.values())}")
    described, warnings = [], []
    for split, path in files.items():
        if not path.is_file():
            warnings.append(f"{path.name} absent: no {split} set ({counts[split][path.name]} faces)")
            continue
        images, lines = _Images(path, split), zip(*_read_annotations(path, split, scheme.num_points), strict=True)
        described += [(images, number, phi, box) for number, (phi, box) in enumerate(lines, start=1)]
    return RawDataset(scheme, FacesOnDisk(described, _read_face), warnings=tuple(warnings))


def _open(path):
    try:
        with open(path, "rb") as file:
            start = file.read(20)
        if start.startswith(b"MATLAB 5.0"):
            raise DataError(f"{path}: a MATLAB v5 file, expected v7.3 as released: save it again with -v7.3")
        file = h5py.File(path, "r")
        if foreign := foreign_part(file):
            raise DataError(f"{path}: {foreign}: give a file that contains all of its data")
        return file
    except DataError:
        raise
    except _DAMAGE as error:
        raise DataError(f"{path}: cut short or not a MATLAB v7.3 (HDF5) file ({error}): fetch it again") from error


def _read_annotations(path, split, num_points):
    images_name, *names = VARIABLES[split]
    with _open(path) as file:
        absent = [name for name in VARIABLES[split] if name not in file]
        if absent:
            raise DataError(f"{path}: found {', '.join(file) or 'nothing'}, expected {', '.join(absent)} in it")
        try:
            count = read_dataset(file[images_name]).size
            arrays = [_numbers(file[name]) for name in names]
        except _DAMAGE as error:
            raise DataError(f"{path}: damaged ({error}): fetch it again") from error
    for name, array, columns in zip(names, arrays, (3 * num_points, 4), strict=True):
        if array.shape != (count, columns):
            raise DataError(f"{path}: found {name} of {array.shape}, expected {(count, columns)} for {count} images")
    return arrays


def _numbers(dataset):
    found = read_dataset(dataset)
    if found.dtype.kind not in "fiu":
        raise ValueError(f"{dataset.name} is of {found.dtype}, expected numbers")
    with np.errstate(invalid="ignore", over="ignore"):  # faces with such numbers are skipped
        return found.astype(np.float64).T


class _Images:
    """The images of a file, which opens on first access: an open file cannot be sent to another process."""

    def __init__(self, path, split):
        self.path, self.split = path, split

    @functools.cached_property
    def _file(self):
        file = _open(self.path)
        return file, read_dataset(file[VARIABLES[self.split][0]]).reshape(-1)

    def __getitem__(self, number):
        """The HDF5 dataset of image ``number``, counted from 1."""
        file, references = self._file
        return file[references[number - 1]]


def _read_face(images, number, phi, box):
    path, split = images.path, images.split
    name = f"{split}/{number:04d}"
    try:
        image = _image(images[number])
        x, y, occluded = phi.reshape(3, -1)
        points = as_points(np.stack([x, y], axis=-1) - 1)
    except _DAMAGE as error:
        return SkippedFace(name, f"{path}: image {name}: {error}")
    box = tuple(map(float, box - (1, 1, 0, 0))) if np.isfinite(box).all() else None
    return Face(name, image, points, split, path.name, name, box=box, occluded=occluded > 0.5)


def _image(dataset):
    shape, kind = dataset.shape, dataset.dtype
    if kind != np.uint8 or not (len(shape) == 2 or (len(shape) == 3 and shape[0] in (1, 3))) or 0 in shape:
        raise ValueError(f"found an array of {shape} {kind}, expected an image: 3 x W x H or W x H of uint8")
    pixels = np.atleast_3d(read_dataset(dataset).T)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
