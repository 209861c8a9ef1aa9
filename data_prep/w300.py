"""300-W in its official layout: ``afw/ helen/{trainset,testset}/ lfpw/{trainset,testset}/ ibug/``, with ``.pts`` files.

A ``.pts`` file has one landmark a line, 1-based pixels, usually between braces after a short header.
"""

import re
from pathlib import Path

import numpy as np

from data_prep.raw import MAX_PIXEL, Face, FacesOnDisk, RawDataset, SkippedFace
from kdloss.data.datasets import DATASETS, dataset_scheme
from kdloss.data.images import IMAGE_SUFFIXES, read_image
from kdloss.errors import DataError
from kdloss.files import is_hidden, read_text

SUBSET_OF = {"helen/testset": "common", "lfpw/testset": "common", "ibug": "challenging"}
_FACE_OF_PHOTOGRAPH = re.compile(r"(.*\d)\s*_\d+")
_MIRRORED = re.compile(r"(?i)(.+)[_ -](mirror|mirrored|flip|flipped)")


def read_300w(source):
    """Opens a 300-W folder, or raises a `DataError`. Parts may be absent, each with a warning."""
    source, scheme, counts = Path(source), dataset_scheme("300w"), DATASETS["300w"].counts
    parts = {part: split for split, sources in counts.items() for part in sources}
    if not any((source / part).is_dir() for part in parts):
        raise DataError(f"{source}: found none of {', '.join(parts)}: expected the official folders of 300-W")
    described, warnings = [], []
    for part, split in parts.items():
        pairs = paired_files(source / part) if (source / part).is_dir() else []
        described += [(source, part, split, scheme, *files) for files in pairs]
        if not pairs:
            warnings.append(_absent(part, split, counts[split][part]))
    return RawDataset(scheme, FacesOnDisk(described, _read_face), warnings=tuple(warnings))


def paired_files(folder):
    """(stem, image or None, ``.pts`` file or None) for each stem in a folder, without its sub-folders."""
    images, annotations = {}, {}
    for path in sorted(path for path in folder.iterdir() if not is_hidden(path.name)):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.setdefault(path.stem, path)
        elif path.suffix.lower() == ".pts":
            annotations.setdefault(path.stem, path)
    return [(stem, images.get(stem), annotations.get(stem)) for stem in sorted(images.keys() | annotations.keys())]


def read_pts(path, num_points=None, dtype=np.float32):
    """The points (N, 2) of type ``dtype``, 0-based pixels, of a ``.pts`` file with or without header and braces.

    Raises:
        DataError: unreadable, cut short, not ``num_points`` points, or a point that is not two finite numbers.
    """
    try:
        text = read_text(path, "utf-8-sig", "replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    points, declared, braces = [], None, []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").replace(":", " : ").split()
        if not words or words[0] == "version":
            continue
        if words[0] == "n_points":
            declared = words[-1]
        elif words[0] in ("{", "}"):
            braces.append(words[0])
        else:
            points.append(_parse_point(words, f"{path}:{number}"))
    if braces not in ([], ["{", "}"]):
        raise DataError(f"{path}: cut short: found braces {''.join(braces)}, expected {{}} around the points")
    for expected in (num_points, declared):
        if expected is not None and str(expected) != str(len(points)):
            raise DataError(f"{path}: found {len(points)} points, expected {expected}")
    if not points:
        raise DataError(f"{path}: found no points")
    return np.array(points, dtype) - 1


def photograph(stem):
    """The photograph a face was cut from: ``123_1`` and ``123_2`` are two faces of ``123``."""
    stem = mirrored_copy_of(stem) or stem
    match = _FACE_OF_PHOTOGRAPH.fullmatch(stem)
    return match[1] if match else stem


def mirrored_copy_of(stem):
    """The name ``x`` for that of a mirrored copy: ``x_mirror``, ``x-flipped``; None for any other name."""
    return (match := _MIRRORED.fullmatch(stem)) and match[1]


def _absent(part, split, official):
    subset = SUBSET_OF.get(part)
    if subset == "challenging":
        return f"{part} absent: no challenging subset ({official} faces), and the full test set is the common one"
    return f"{part} absent: the {f'{subset} sub' if subset else f'{split} '}set lacks its {official} faces"


def _read_face(source, part, split, scheme, stem, image, annotation):
    path = image or annotation
    name = path.relative_to(source).as_posix()
    try:
        if image is None or annotation is None:
            raise DataError(f"{path}: no {'image' if image is None else '.pts'} of this name beside it")
        points, pixels = read_pts(annotation, scheme.num_points), read_image(image)
    except DataError as error:
        return SkippedFace(name, str(error))
    subsets = (SUBSET_OF[part],) if part in SUBSET_OF else ()
    # lfpw numbers each of its parts from 1. That does not matter, because only faces of one split are grouped.
    group = f"{part.partition('/')[0]}/{photograph(stem)}"
    return Face(name, pixels, points, split, part, group, subsets)


def _parse_point(words, where):
    try:
        x, y = map(float, words)
    except ValueError:
        raise DataError(f"{where}: found {' '.join(words)[:40]!r}, expected two numbers") from None
    if not (abs(x) < MAX_PIXEL and abs(y) < MAX_PIXEL):
        raise DataError(f"{where}: found {x:g} {y:g}, expected a pixel position")
    return x, y
