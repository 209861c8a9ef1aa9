"""The user's own faces: a folder of images with ``.pts`` files beside them, or with one COCO-style JSON file.

Faces may have any number of points, the same for all. 29, 68 and 98 points are those of COFW, 300-W and WFLW unless
``points.txt`` names them, one name a line; names with ``left_`` and ``right_`` allow mirroring. ``.pts`` files count
pixels from 1, JSON files from 0. Folders named ``train`` and ``test`` set the split. Without a test folder a fifth of
the faces, always the same ones, is kept for testing.
"""

import collections
import dataclasses
import json
import math
import os
import re
from pathlib import Path, PurePosixPath

import numpy as np

from data_prep.raw import SYNTHETIC_MARK, Face, FacesOnDisk, RawDataset, SkippedFace, as_points, held_out
from data_prep.w300 import paired_files, read_pts
from kdloss.data.images import read_image
from kdloss.data.schemes import SCHEMES, LandmarkScheme
from kdloss.errors import DataError
from kdloss.files import read_text

TEST_FOLDERS = ("test", "testing", "testset")  # faces elsewhere are for training
TEST_SHARE = 0.20
NAMES_FILE = "points.txt"
# Numbered file names tell people apart only if they form at least this many groups.
_MIN_GROUPS = 10
_HIDDEN = 1  # v of a point in COCO-style JSON: 0 is not labelled, 2 visible
_NUMBERED = re.compile(r"(.*[^\d_-])[_-]+\d+")


@dataclasses.dataclass(frozen=True)
class _Annotation:
    """One annotated face whose image has not been read."""

    name: str  # the image's path below the folder, with #id if the image holds several faces
    path: str
    points: np.ndarray | None = None  # (N, 2) float32, 0-based pixels
    problem: str = ""  # why the face is unusable
    box: tuple[float, float, float, float] | None = None  # x, y, width, height
    occluded: np.ndarray | None = None  # (N,) bool


def read_folder(source, json=None):
    """Opens a folder of the user's own faces.

    Args:
        source: the folder.
        json: a COCO-style file; by default the ``.pts`` files, or the one JSON file of the folder if there are none.

    Raises:
        DataError: no annotations, several JSON files, or point names that do not fit.
    """
    source = Path(source)
    annotations, names = _read_coco(json) if json else (_pts_annotations(source), ())
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
    described = [(roots, num_points, *face) for face in zip(annotations, splits, groups, strict=True)]
    return RawDataset(_scheme(source, num_points, names), FacesOnDisk(described, _read_face), warnings=warnings)


def _pts_annotations(source):
    annotations = []
    for folder in (source, *sorted(path for path in source.rglob("*") if path.is_dir())):
        pairs = paired_files(folder)
        for _, image, pts in pairs if any(pts for _, _, pts in pairs) else ():
            name = (image or pts).relative_to(source).as_posix()
            try:
                if image is None or pts is None:
                    raise DataError(f"no {'image' if image is None else '.pts'} of this name beside it")
                annotations.append(_Annotation(name, name, read_pts(pts)))
            except DataError as error:
                annotations.append(_Annotation(name, name, problem=str(error)))
    return annotations


def _only_json(source):
    found = sorted(path.name for path in source.glob("*.json") if path.name != SYNTHETIC_MARK)
    if not found:
        raise DataError(f"{source}: found no .pts beside its images and no .json: expected either, or give --json FILE")
    if len(found) > 1:
        raise DataError(f"{source}: found {len(found)} JSON files ({', '.join(found[:3])}): choose one with --json")
    return source / found[0]


def _read_coco(path):
    """Faces and point names of a COCO-style file: ``images``, and ``annotations`` with ``keypoints`` x, y, v.

    Files that never use v = 2 do not tell hidden points from visible ones, so no occlusion is read from them.
    """
    try:
        data = json.loads(read_text(path, "utf-8-sig"))
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
        annotations.append(_coco_annotation(name, file, entry))
    if all(face.occluded is None or face.occluded.all() for face in annotations):
        annotations = [dataclasses.replace(face, occluded=None) for face in annotations]
    return annotations, names


def _coco_annotation(name, file, entry):
    if file is None:
        return _Annotation(f"annotation {entry.get('id')}", "", problem=f"its image {entry['image_id']} is not listed")
    try:
        table = np.array(entry.get("keypoints") or [], np.float64)
        if table.ndim != 1 or len(table) % 3 or not len(table):
            raise ValueError(f"found {table.size} numbers in keypoints, expected x, y, v of each point")
        table = table.reshape(-1, 3)
        unknown = table[:, 2:] == 0
        if unknown.all():
            raise ValueError(f"none of its {len(table)} points is labelled (v = 0)")
        points = np.where(unknown, np.float32(np.nan), as_points(np.where(unknown, 0, table[:, :2])))
    except (ValueError, TypeError, OverflowError) as error:
        return _Annotation(name, file, problem=str(error))
    return _Annotation(name, file, points, box=_box(entry.get("bbox")), occluded=table[:, 2] == _HIDDEN)


def _box(values):
    try:
        x, y, width, height = map(float, values)
    except (TypeError, ValueError, OverflowError):
        return None
    return (x, y, width, height) if all(map(math.isfinite, (x, y, width, height))) else None


def _scheme(source, num_points, names):
    path = source / NAMES_FILE
    if path.is_file():
        try:
            names = [name.strip() for name in read_text(path, "utf-8-sig").splitlines() if name.strip()]
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
        scheme.mirror  # noqa: B018  a name without a partner is an error now, not in the middle of a training
    return scheme


def _groups(annotations):
    """The group of each face: the person or video that its numbered file name tells (``name_12``), or its picture."""
    stems = [PurePosixPath(face.path).stem for face in annotations]
    people = [match[1] if (match := _NUMBERED.fullmatch(stem)) else stem for stem in stems]
    return people if len(set(people)) >= _MIN_GROUPS else [face.path for face in annotations]


def _splits(annotations, groups):
    """The split of each face, and warnings about them."""
    splits = ["test" if top_folder(face.path).lower() in TEST_FOLDERS else "train" for face in annotations]
    count = splits.count("test")
    if count:
        trained = {group for split, group in zip(splits, groups, strict=True) if split == "train"}
        shared = sum(split == "test" and group in trained for split, group in zip(splits, groups, strict=True))
        warning = f"by their file names {shared} of {count} test faces are of people or videos also trained on"
        return splits, (warning,) if shared else ()
    keys = [group.encode(errors="replace") for group in groups]
    held = held_out(keys, round(TEST_SHARE * len(keys)))
    splits = ["test" if key in held else "train" for key in keys]
    count = splits.count("test")
    return splits, (f"no test folder: {count} of {len(splits)} faces are kept for testing, always the same ones",)


def top_folder(path):
    """The first folder of a path with /, or an empty text."""
    parts = PurePosixPath(path).parts
    return parts[0] if len(parts) > 1 else ""


def _read_face(roots, num_points, face, split, group):
    if face.problem:
        return SkippedFace(face.name, face.problem)
    if len(face.points) != num_points:
        return SkippedFace(face.name, f"has {len(face.points)} points, expected {num_points} as most faces have")
    # isfile is False for a name that no disk takes, where Path.is_file may raise.
    path = next((root / face.path for root in roots if os.path.isfile(root / face.path)), roots[0] / face.path)
    try:
        image = read_image(path)
    except DataError as error:
        return SkippedFace(face.name, str(error))
    part = top_folder(face.path) or "faces"
    return Face(face.name, image, face.points, split, part, group, box=face.box, occluded=face.occluded)
