"""Faces of one's own: a folder of images with ``.pts`` files beside them, or with one COCO-style JSON file.

Any number of points, the same for every face. 29, 68 and 98 points are taken for the schemes of COFW, 300-W and WFLW
unless ``points.txt`` (one name a line) names them; ``left_``/``right_`` names allow mirroring. ``.pts`` files count
pixels from 1, JSON from 0. Faces below ``train/`` and ``test/`` are of that split; without a test folder a fifth of
the faces, always the same ones, is kept for testing.
"""

import collections
import hashlib
import json
import math
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from data_prep.raw import SYNTHETIC_MARK, Face, FacesOnDisk, RawDataset, SkippedFace, as_points
from data_prep.w300 import paired_files, read_pts
from kdloss.data.images import read_image
from kdloss.data.schemes import SCHEMES, LandmarkScheme
from kdloss.errors import DataError

SPLIT_FOLDERS = {"train": "train", "training": "train", "trainset": "train"}
SPLIT_FOLDERS |= {"test": "test", "testing": "test", "testset": "test"}
TEST_SHARE = 0.20
NAMES_FILE = "points.txt"
# Numbered names tell who is in the picture only if they fall into at least so many groups.
_MIN_GROUPS = 10
_HIDDEN = 1  # v of a point in COCO-style JSON: 0 is not labelled, 2 visible
_NUMBERED = re.compile(r"(.*[^\d_-])[_-]+\d+")


@dataclass(frozen=True)
class _Annotation:
    """One labelled face, before its image is read."""

    name: str  # the image's path below the folder, with #id if the image holds several faces
    path: str
    points: np.ndarray | None = None  # (N, 2) float32, 0-based pixels
    problem: str = ""  # why the face cannot be used, if so
    box: tuple[float, float, float, float] | None = None  # x, y, width, height
    occluded: np.ndarray | None = None  # (N,) bool


def read_folder(source, json=None):
    """Opens a folder of one's own faces.

    Args:
        source: the folder.
        json: a COCO-style file; by default the ``.pts`` files, or the one JSON file of the folder if there are none.

    Raises:
        DataError: no annotations, several JSON files, or point names that do not fit.
    """
    source = Path(source)
    annotations, names = _read_coco(json) if json else _pts_annotations(source)
    if not annotations:
        json = _only_json(source)
        annotations, names = _read_coco(json)
    counts = collections.Counter(len(face.points) for face in annotations if face.points is not None)
    if not counts:
        first = f": the first, {annotations[0].name}: {annotations[0].problem}" if annotations else ""
        raise DataError(f"{json or source}: found no usable annotation{first}")
    num_points = counts.most_common(1)[0][0]
    groups = _groups(annotations)
    splits, warnings = _splits(annotations, groups)
    roots = (source, Path(json).parent) if json else (source,)
    described = [
        (roots, face, num_points, split, group) for face, split, group in zip(annotations, splits, groups, strict=True)
    ]
    return RawDataset(_scheme(source, num_points, names), FacesOnDisk(described, _read_face), warnings=warnings)


def _pts_annotations(source):
    folders = [source, *sorted(path for path in source.rglob("*") if path.is_dir())]
    annotations = []
    for folder in folders:
        pairs = paired_files(folder)
        if any(pts for _, _, pts in pairs):
            annotations += [_pts_annotation(source, image, pts) for _, image, pts in pairs]
    return annotations, ()


def _pts_annotation(source, image, pts):
    path = (image or pts).relative_to(source).as_posix()
    if image is None or pts is None:
        return _Annotation(path, path, problem=f"no {'image' if image is None else '.pts'} of this name beside it")
    try:
        return _Annotation(path, path, read_pts(pts))
    except DataError as error:
        return _Annotation(path, path, problem=str(error))


def _only_json(source):
    found = sorted(path.name for path in source.glob("*.json") if path.name != SYNTHETIC_MARK)
    if not found:
        raise DataError(f"{source}: found no .pts beside its images and no .json: expected either, or give --json FILE")
    if len(found) > 1:
        raise DataError(f"{source}: found {len(found)} JSON files ({', '.join(found[:3])}): choose one with --json")
    return source / found[0]


def _scheme(source, num_points, names):
    path = source / NAMES_FILE
    if path.is_file():
        try:
            names = [name.strip() for name in path.read_text(encoding="utf-8-sig").splitlines() if name.strip()]
        except (OSError, UnicodeError) as error:
            raise DataError(f"{path}: no text in UTF-8 ({error}): write one name a line") from error
        if len(names) != num_points:
            raise DataError(f"{path}: found {len(names)} names, expected {num_points}, one for each point")
    elif str(num_points) in SCHEMES:
        return SCHEMES[str(num_points)]
    elif len(set(names)) != num_points:
        names = None
    scheme = LandmarkScheme.plain(num_points, names)
    if scheme.mirrorable:
        scheme.mirror  # noqa: B018  a name without its partner is an error now, not in the middle of a training
    return scheme


def _groups(annotations):
    """One name a face: the person or video its numbered file name tells (``name_12``), else the picture itself."""
    stems = [PurePosixPath(face.path).stem for face in annotations]
    people = [match[1] if (match := _NUMBERED.fullmatch(stem)) else stem for stem in stems]
    return people if len(set(people)) >= _MIN_GROUPS else [face.path for face in annotations]


def _splits(annotations, groups):
    given = [SPLIT_FOLDERS.get(_top_folder(face.path).lower()) for face in annotations]
    if "test" in given:
        return [split or "train" for split in given], _shared_warning(given, groups)
    size = collections.Counter(groups)
    room, held = round(TEST_SHARE * len(annotations)), set()
    for group in sorted(size, key=lambda group: hashlib.sha256(group.encode(errors="replace")).digest()):
        if size[group] <= room:
            held.add(group)
            room -= size[group]
    splits = ["test" if group in held else "train" for group in groups]
    count = splits.count("test")
    return splits, (f"no test folder: {count} of {len(splits)} faces are kept for testing, always the same ones",)


def _shared_warning(given, groups):
    trained = {group for split, group in zip(given, groups, strict=True) if split != "test"}
    tested = [group for split, group in zip(given, groups, strict=True) if split == "test"]
    shared = sum(group in trained for group in tested)
    if not shared:
        return ()
    return (f"by their file names {shared} of {len(tested)} test faces are of people or videos also trained on",)


def _top_folder(path):
    parts = PurePosixPath(path).parts
    return parts[0] if len(parts) > 1 else ""


def _read_face(roots, face, num_points, split, group):
    if face.problem:
        return SkippedFace(face.name, face.problem)
    if len(face.points) != num_points:
        return SkippedFace(face.name, f"has {len(face.points)} points, expected {num_points} as most faces have")
    # Of a name that no disk takes, isfile says that there is no such file.
    path = next((root / face.path for root in roots if os.path.isfile(root / face.path)), roots[0] / face.path)
    try:
        image = read_image(path)
    except DataError as error:
        return SkippedFace(face.name, str(error))
    part = _top_folder(face.path) or "faces"
    return Face(face.name, image, face.points, split, part, group, (), face.box, face.occluded)


def _read_coco(path):
    """Faces and names of points of a COCO-style file: ``images``, and ``annotations`` with ``keypoints`` x, y, v.

    Files that never use v = 2 do not tell hidden points from visible ones, so no occlusion is read from them.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        files = {image["id"]: str(image["file_name"]) for image in data["images"]}
        entries = [(files.get(entry["image_id"]), entry) for entry in data["annotations"]]
        categories = data.get("categories") or [{}]
        names = tuple(map(str, categories[0].get("keypoints") or ()))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        kind = type(error).__name__
        raise DataError(f"{path}: expected COCO-style JSON with images and annotations ({kind}: {error})") from error
    faces_in = collections.Counter(file for file, _ in entries)
    annotations = []
    for number, (file, entry) in enumerate(entries, start=1):
        name = file if faces_in[file] == 1 else f"{file}#{entry.get('id', number)}"
        annotations.append(_annotation(name, file, entry))
    return _without_meaningless_flags(annotations), names


def _annotation(name, file, entry):
    if file is None:
        return _Annotation(f"annotation {entry.get('id')}", "", problem=f"its image {entry['image_id']} is not listed")
    try:
        table = np.array(entry.get("keypoints") or [], np.float64)
        if table.ndim != 1 or len(table) % 3 or not len(table):
            raise ValueError(f"found {table.size} numbers in keypoints, expected x, y, v of each point")
        table = table.reshape(-1, 3)
        unlabelled = int((table[:, 2] == 0).sum())
        if unlabelled:
            raise ValueError(f"{unlabelled} of its {len(table)} points are not labelled (v = 0)")
        points = as_points(table[:, :2])
    except (ValueError, TypeError, OverflowError) as error:
        return _Annotation(name, file, problem=str(error))
    return _Annotation(name, file, points, box=_box(entry.get("bbox")), occluded=table[:, 2] == _HIDDEN)


def _box(values):
    try:
        x, y, width, height = map(float, values)
    except (TypeError, ValueError, OverflowError):
        return None
    return (x, y, width, height) if all(map(math.isfinite, (x, y, width, height))) else None


def _without_meaningless_flags(annotations):
    if any(face.occluded is not None and not face.occluded.all() for face in annotations):
        return annotations
    return [replace(face, occluded=None) for face in annotations]
