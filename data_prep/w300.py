"""300-W in its official layout: ``afw/ helen/{trainset,testset}/ lfpw/{trainset,testset}/ ibug/``, ``.pts`` beside."""

import re
from pathlib import Path

from data_prep.face import Face, FacesOnDisk, RawDataset, SkippedFace
from data_prep.images import read_image
from data_prep.pts import paired_files, read_pts
from kdloss.datasets import DATASETS, dataset_scheme
from kdloss.errors import DataError

SUBSET_OF = {"helen/testset": "common", "lfpw/testset": "common", "ibug": "challenging"}
_FACE_OF_PHOTOGRAPH = re.compile(r"(.*\d)\s*_\d+")


def read_300w(source):
    """Opens a 300-W folder. Parts may be absent, each with a warning.

    Raises:
        DataError: none of the official sub-folders is there.
    """
    source, scheme, counts = Path(source), dataset_scheme("300w"), DATASETS["300w"].counts
    parts = {part: split for split, sources in counts.items() for part in sources}
    found = {part: paired_files(source / part) for part in parts if (source / part).is_dir()}
    if not found:
        raise DataError(f"{source}: found none of {', '.join(parts)}: expected the official folders of 300-W")
    described = [(source, part, parts[part], scheme, *files) for part, pairs in found.items() for files in pairs]
    absent = [_absent(part, parts[part], counts[parts[part]][part]) for part in parts if not found.get(part)]
    return RawDataset(scheme, FacesOnDisk(described, _read_face), warnings=tuple(absent))


def photograph(stem):
    """The photograph a face was cut from: ``123_1`` and ``123_2`` are two faces of ``123``."""
    match = _FACE_OF_PHOTOGRAPH.fullmatch(stem)
    return match[1] if match else stem


def _absent(part, split, official):
    subset = SUBSET_OF.get(part)
    if subset == "challenging":
        return f"{part} absent: no challenging subset ({official} faces), and the full test set is the common one"
    missing = f"the {subset} subset lacks" if subset else f"the {split} set lacks"
    return f"{part} absent: {missing} its {official} faces"


def _read_face(source, part, split, scheme, stem, image, annotation):
    path = image or annotation
    name = path.relative_to(source).as_posix()
    if image is None:
        return SkippedFace(name, f"{path}: no image of this name beside it")
    if annotation is None:
        return SkippedFace(name, f"{path}: no .pts of this name beside it")
    try:
        points, pixels = read_pts(annotation, scheme.num_points), read_image(image)
    except DataError as error:
        return SkippedFace(name, str(error))
    subsets = (SUBSET_OF[part],) if part in SUBSET_OF else ()
    # Only faces of one split are ever grouped, so it does not matter that lfpw numbers each of its parts from 1.
    group = f"{part.partition('/')[0]}/{photograph(stem)}"
    return Face(name, pixels, points, split, part, group, subsets)
