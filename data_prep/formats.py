"""Readers of annotation files: ``.pts``, COCO-style JSON, labelme JSON, dlib's imglab XML, and CSV.

Each turns a file into `Annotation`\\ s and looks at no picture. It refuses a file that it does not know with a
`DataError`; a face that cannot be used carries the reason. ``.pts`` files count pixels from 1, all others from 0.
"""

import collections
import csv
import io
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

import numpy as np

from data_prep.raw import as_points
from data_prep.w300 import read_pts
from kdloss.errors import DataError
from kdloss.files import read_input, read_text

_DAMAGE = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, expat.ExpatError)
_HIDDEN = 1  # v of a point in COCO-style JSON: 0 is not labelled, 2 visible
_PICTURE_COLUMNS = ("image", "file", "filename", "file_name", "name", "path", "image_path", "picture")
# x0, x_0, x_left_eye, 0x, left_eye_x; not xmin, and no box
_COORDINATE = re.compile(r"([xy])[ _.-]?(\d+)|([xy])[ _.-](.+)|(\d+)[ _.-]?([xy])|(.+)[ _.-]([xy])", re.IGNORECASE)
_OF_BOX = re.compile("box|min|max|width|height", re.IGNORECASE)


@dataclass(frozen=True)
class Annotation:
    """One annotated face of a picture that has not been looked for."""

    picture: str  # as the file names it, relative to its folder; without a suffix, any picture of that name
    points: np.ndarray | None = None  # (N, 2) float32, 0-based pixels, NaN where a point is not labelled
    names: tuple[str, ...] = ()  # of the points, if the file has them
    problem: str = ""  # why the face is unusable
    size: tuple[float, float] | None = None  # width and height of the picture that was annotated
    box: tuple[float, float, float, float] | None = None  # x, y, width, height
    occluded: np.ndarray | None = None  # (N,) bool
    number: str = ""  # tells it from others of its picture


def read_annotations(path, category=None):
    """The name of a file's format, and the list of its `Annotation`\\ s.

    Args:
        path: ends in one of `SUFFIXES`.
        category: of COCO-style files, the name of the category to read if several have points.

    Raises:
        DataError: unreadable, too large, of an unknown kind, or points of several categories.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: not an annotation file: expected {', '.join(SUFFIXES)}")
    try:
        return SUFFIXES[path.suffix.lower()](path, category)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _read_pts(path, _):
    try:
        return ".pts", [Annotation(path.stem, as_points(read_pts(path, dtype=np.float64)))]
    except DataError as error:
        return ".pts", [Annotation(path.stem, problem=str(error))]


def _read_json(path, category):
    try:
        data = json.loads(read_input(path))
        labelme = isinstance(data, dict) and "shapes" in data
        return ("labelme JSON", _labelme_faces(data)) if labelme else _read_coco(path, data, category)
    except DataError:
        raise
    except _DAMAGE as error:
        expected = "expected COCO-style JSON with images and annotations, or labelme's"
        raise DataError(f"{path}: {expected} ({type(error).__name__}: {error})") from error


def _read_coco(path, data, category):
    """``images``, and ``annotations`` with x, y, v of each point (or x, y) in ``keypoints``, or in ``face_kpts``.

    Files that never use v = 2 do not tell hidden points from visible ones, so no occlusion is read from them.
    """
    images = {image["id"]: image for image in data["images"]}
    kinds = {kind.get("id"): kind for kind in data.get("categories") or ()}
    whole_body = any("face_kpts" in entry for entry in data["annotations"])
    key = "face_kpts" if whole_body else "keypoints"
    used = dict.fromkeys(entry.get("category_id") for entry in data["annotations"] if entry.get(key))
    titles = {identity: str(kinds.get(identity, {}).get("name", identity)) for identity in used}
    chosen = [identity for identity in used if category in (None, titles[identity])]
    if len(chosen) != 1 and (used or category is not None):
        found = f"{path}: holds points of the categories {', '.join(titles.values()) or '(none)'}"
        raise DataError(f"{found}: choose one with --category" + (f", not {category}" if category else ""))
    names = () if whole_body or not used else tuple(map(str, kinds.get(chosen[0], {}).get("keypoints") or ()))
    if repeated := [name for name, count in collections.Counter(names).items() if count > 1]:
        raise DataError(f"{path}: several points are named {repeated[0]}: give every point a name of its own")
    entries = [entry for entry in data["annotations"] if entry.get("category_id") in chosen]
    pairs = not names and _are_pairs([entry.get(key) for entry in entries])
    faces = [
        _coco_face(entry, images.get(entry["image_id"]), key, names, pairs, str(entry.get("id", number)))
        for number, entry in enumerate(entries, start=1)
    ]
    if all(face.occluded is None or face.occluded.all() for face in faces):
        faces = [Annotation(**vars(face) | {"occluded": None}) for face in faces]
    return f"COCO JSON{' (face_kpts)' if whole_body else ' (x, y pairs)' if pairs and faces else ''}", faces


def _are_pairs(lists):
    """Whether lists of numbers hold x, y of each point, not x, y, v: most third numbers are no v, and they vary."""
    thirds = [v for values in lists if isinstance(values, list) and len(values) % 3 == 0 for v in values[2::3]]
    vary = len(set(map(str, thirds))) not in (1, 2)
    return vary and 2 * sum(v in (0, 1, 2) for v in thirds) <= len(thirds)


def _coco_face(entry, image, key, names, pairs, number):
    if image is None:
        return Annotation(f"annotation {number}", problem=f"its image {entry['image_id']} is not listed")
    found = {"names": names, "number": number, "box": _box(entry.get("face_box" if key == "face_kpts" else "bbox"))}
    found |= {"picture": str(image["file_name"]), "size": _size(image.get("width"), image.get("height"))}
    try:
        table = np.array(entry.get(key) or [], np.float64)
        width = 2 if pairs or (names and table.size == 2 * len(names)) else 3
        if table.ndim != 1 or not table.size or table.size != width * (len(names) or table.size // width):
            expected = f"x, y, v or x, y of each of the {len(names)} points" if names else "x, y, v of each point"
            raise ValueError(f"found {table.size} numbers in {key}, expected {expected}")
        table = table.reshape(-1, width)
        visible = table[:, 2] if width == 3 else np.full(len(table), 2)
        points = as_points(np.where(visible[:, None] == 0, 0, table[:, :2]))
        if not np.isin(visible, (0, 1, 2)).all():
            raise ValueError("found a v other than 0 (not labelled), 1 (hidden) and 2 (visible)")
    except (ValueError, TypeError, OverflowError) as error:
        return Annotation(**found, problem=str(error))
    points[visible == 0] = np.nan
    return Annotation(**found, points=points, occluded=visible == _HIDDEN if width == 3 else None)


def _labelme_faces(data):
    """Shapes of type point, named by their labels. Shapes of one ``group_id`` are one face."""
    groups = collections.defaultdict(list)
    for shape in data["shapes"]:
        if shape["shape_type"] == "point":
            groups[shape.get("group_id")].append((str(shape["label"]), shape["points"][0]))
    found = {"picture": str(data["imagePath"]), "size": _size(data.get("imageWidth"), data.get("imageHeight"))}
    return [_by_name(points, **found, number=str(number)) for number, points in (groups or {None: []}).items()]


def _read_imglab(path, _):
    """``<image file>`` with ``<box left top width height>`` for each face, with ``<part name x y>`` for each point."""
    elements, faces = [], []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda tag, values: elements.append((tag, values))
    parser.StartDoctypeDeclHandler = _refuse_doctype  # with which entities, and so all expansion, come
    try:
        parser.Parse(read_input(path), True)
        if elements[0][0] != "dataset":
            raise ValueError(f"found <{elements[0][0]}>")
        for tag, values in elements:
            if tag == "image":
                image = {"picture": values["file"], "size": _size(values.get("width"), values.get("height"))}
            elif tag == "box":
                box = _box([values[side] for side in ("left", "top", "width", "height")])
                faces.append((image | {"box": box, "number": str(len(faces) + 1)}, []))
            elif tag == "part":
                faces[-1][1].append((values["name"], (values["x"], values["y"])))
    except _DAMAGE as error:
        expected = "expected dlib's imglab XML, <dataset> with <image>, <box> and <part>"
        raise DataError(f"{path}: {expected} ({error}); of other tools export COCO Keypoints") from error
    return "imglab XML", [_by_name(points, **face) for face, points in faces]


def _refuse_doctype(*_):
    raise ValueError("found a DOCTYPE, which imglab writes nowhere")


def _read_csv(path, _):
    """A row for each face: its picture, and the coordinates of each point (``x0``, or ``left_eye_x``); a header."""
    try:
        text = read_text(path, "utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns = [column.strip() for column in next(rows, [])]
        pictures = [i for i, column in enumerate(columns) if column.lower() in _PICTURE_COLUMNS]
        points = collections.defaultdict(dict)
        for i, column in enumerate(columns):
            if (match := _COORDINATE.fullmatch(column)) and not _OF_BOX.search(column):
                parts = [part for part in match.groups() if part]
                axis, name = parts if match[1] or match[3] else parts[::-1]
                points[name][axis.lower()] = i
        if not pictures or not points or any(len(pair) != 2 for pair in points.values()):
            expected = "expected image,x0,y0,x1,y1,... or image,left_eye_x,left_eye_y,..."
            raise DataError(f"{path}: found columns {','.join(columns)[:80] or 'none'}, {expected}")
        faces = [_row_face(row, pictures[0], points, str(i)) for i, row in enumerate(filter(None, rows), start=1)]
    except (UnicodeError, csv.Error) as error:
        raise DataError(f"{path}: no CSV in UTF-8 ({error}): save it as such") from error
    return "CSV", faces


def _row_face(row, picture, points, number):
    try:
        values = [(name, [row[pair[axis]].strip() or "nan" for axis in "xy"]) for name, pair in points.items()]
        return _by_name(values, picture=row[picture], number=number)
    except IndexError:
        return Annotation(row[0], problem=f"row {number} of its table has {len(row)} cells only")


def _by_name(points, **face):
    """An `Annotation` of (name, (x, y)), which may be texts."""
    names = tuple(name for name, _ in points)
    try:
        if repeated := [name for name, count in collections.Counter(names).items() if count > 1]:
            raise ValueError(f"has several points {repeated[0]}: one for each face, or give faces a group_id")
        values = np.array([xy for _, xy in points], np.float64).reshape(-1, 2)
        lost = np.isnan(values).any(axis=-1)
        values = as_points(np.where(lost[:, None], 0, values))
    except (ValueError, TypeError, OverflowError) as error:
        return Annotation(**face, problem=str(error))
    values[lost] = np.nan
    return Annotation(**face, points=values, names=names) if names else Annotation(**face, problem="has no points")


def _size(width, height):
    return (box := _box((0, 0, width, height))) and box[2:] if width and height else None


def _box(values):
    try:
        x, y, width, height = map(float, values)
    except (TypeError, ValueError, OverflowError):
        return None
    return (x, y, width, height) if all(map(math.isfinite, (x, y, width, height))) else None


# Formats, as their readers call them, with a file for each picture. Several files of another are splits.
FILE_A_PICTURE = (".pts", "labelme JSON")
SUFFIXES = {".pts": _read_pts, ".json": _read_json, ".xml": _read_imglab, ".csv": _read_csv}
