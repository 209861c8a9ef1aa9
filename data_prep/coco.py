"""COCO-style key point annotations: ``images`` and ``annotations`` with ``keypoints`` x, y, v; 0-based pixels."""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.face import as_points
from kdloss.errors import DataError

HIDDEN = 1


@dataclass(frozen=True)
class Annotation:
    """One labelled face, before its image is read.

    Args:
        name: unique; the image's path below the folder, with ``#id`` if the image holds several faces.
        path: the image's path below the folder.
        points: (N, 2) float32, 0-based pixels, or None where there is a ``problem``.
        problem: why the face cannot be used, or empty.
        box: x, y, width, height or None.
        occluded: (N,) bool or None.
    """

    name: str
    path: str
    points: np.ndarray | None = None
    problem: str = ""
    box: tuple[float, float, float, float] | None = None
    occluded: np.ndarray | None = None


def read_coco(path):
    """Reads a COCO-style file.

    v is 0 for a point that was not labelled, 1 for a hidden and 2 for a visible one. Files that never use 2 do not
    tell hidden from visible, so no occlusion is read from them.

    Returns:
        (list of `Annotation`, names of the points as the file gives them, possibly none).

    Raises:
        DataError: not JSON, or without ``images`` and ``annotations``.
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
    faces_in = {}
    for file, _ in entries:
        faces_in[file] = faces_in.get(file, 0) + 1
    annotations = []
    for number, (file, entry) in enumerate(entries, start=1):
        name = file if faces_in[file] == 1 else f"{file}#{entry.get('id', number)}"
        annotations.append(_annotation(name, file, entry))
    return _without_meaningless_flags(annotations), names


def _annotation(name, file, entry):
    if file is None:
        return Annotation(f"annotation {entry.get('id')}", "", problem=f"its image {entry['image_id']} is not listed")
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
        return Annotation(name, file, problem=str(error))
    return Annotation(name, file, points, box=_box(entry.get("bbox")), occluded=table[:, 2] == HIDDEN)


def _box(values):
    try:
        x, y, width, height = map(float, values)
    except (TypeError, ValueError, OverflowError):
        return None
    return (x, y, width, height) if all(map(math.isfinite, (x, y, width, height))) else None


def _without_meaningless_flags(annotations):
    if any(face.occluded is not None and not face.occluded.all() for face in annotations):
        return annotations
    return [Annotation(face.name, face.path, face.points, face.problem, face.box) for face in annotations]
