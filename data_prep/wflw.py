"""WFLW as released: ``WFLW_images/`` and, in ``WFLW_annotations/``, lists of faces, one a line.

A line has 196 coordinates (0-based), the box ``x_min y_min x_max y_max``, six flags and the path of the image.
"""

from pathlib import Path

import numpy as np

from data_prep.raw import Face, FacesOnDisk, RawDataset, SkippedFace, as_points
from kdloss.data.datasets import DATASETS, dataset_scheme
from kdloss.data.images import read_image
from kdloss.errors import DataError
from kdloss.files import is_hidden, read_text

IMAGES = "WFLW_images"
ANNOTATIONS = "WFLW_annotations"
LISTS = "list_98pt_rect_attr_train_test"
LIST = "list_98pt_rect_attr_{}.txt"
# In the order of the flags of a line.
FLAGS = ("pose", "expression", "illumination", "make-up", "occlusion", "blur")


def read_wflw(source):
    """Opens a WFLW folder, or raises a `DataError`. One of the two lists may be absent, with a warning."""
    source, counts = Path(source), DATASETS["wflw"].counts
    lists = {split: _find_list(source, split) for split in counts}
    if not any(lists.values()):
        raise DataError(f"{source}: found no list_98pt_rect_attr_train.txt or _test.txt, in {ANNOTATIONS}/{LISTS}/")
    if not (source / IMAGES).is_dir():
        raise DataError(f"{source}: found no folder {IMAGES}: unpack WFLW_images.tar.gz there")
    described, warnings = [], []
    for split, path in lists.items():
        if path is None:
            warnings.append(f"{LIST.format(split)} absent: no {split} set ({counts[split][split]} faces)")
        else:
            described += [(source, path, split, *line) for line in _lines(path)]
    return RawDataset(dataset_scheme("wflw"), FacesOnDisk(described, _read_face), warnings=tuple(warnings))


def parse_line(line):
    """Points (98, 2) float32, box x, y, width, height, names of the set flags, and path of the image of a line.

    Raises a `ValueError` for a line of another kind.
    """
    # A path may hold spaces, so it is whatever follows the numbers.
    words = line.strip().split(maxsplit=206)
    if len(words) != 207:
        raise ValueError(f"found {len(words)} words, expected 196 coordinates, 4 of a box, 6 flags and a path")
    points = as_points(np.array(words[:196], np.float64).reshape(98, 2))
    x_min, y_min, x_max, y_max = map(float, words[196:200])
    flags = words[200:206]
    if not set(flags) <= {"0", "1"}:
        raise ValueError(f"found flags {' '.join(flags)}, expected six of 0 or 1")
    names = tuple(name for name, flag in zip(FLAGS, flags, strict=True) if flag == "1")
    return points, (x_min, y_min, x_max - x_min, y_max - y_min), names, words[-1]


def _find_list(source, split):
    # As the archives unpack; without the outer folder; or only the lists.
    paths = (folder / LIST.format(split) for folder in (source / ANNOTATIONS / LISTS, source / LISTS, source))
    return next((path for path in paths if path.is_file()), None)


def _lines(path):
    """Number, text and number of the first line with the same text, for each line of a list."""
    text, first_of = read_text(path, "utf-8-sig", "surrogateescape"), {}
    lines = enumerate(text.splitlines(), start=1)
    return [(number, line, first_of.setdefault(line, number)) for number, line in lines if line.strip()]


def _read_face(source, list_path, split, number, line, first):
    where = f"{list_path.name}:{number}"
    if first != number:
        return SkippedFace(where, f"repeats line {first}")
    try:
        points, box, flags, path = parse_line(line)
    except ValueError as error:
        return SkippedFace(where, f"{where}: {error}")
    name = f"{path}#{number}"
    if is_hidden(path):
        return SkippedFace(name, f"{path}: a hidden file, which is never data")
    try:
        image = read_image(source / IMAGES / path)
    except DataError as error:
        return SkippedFace(name, str(error))
    return Face(name, image, points, split, split, path, flags if split == "test" else (), box)
