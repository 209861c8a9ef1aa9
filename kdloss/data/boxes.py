"""Boxes of faces in a file that a user gives: JSON or CSV."""

import csv
import io
import json
from pathlib import Path

import numpy as np

from kdloss.errors import DataError
from kdloss.files import read_text
from kdloss.names import from_cell

EXPECTED = 'expected {"image name": [[x, y, width, height], ...], ...} in pixels of the upright images'
# The columns of a .csv; the second are those of faces.csv, which `kdloss.predict` writes.
CSV_COLUMNS = (("name", "x", "y", "width", "height"), ("image", "box_x", "box_y", "box_width", "box_height"))


def read_boxes(path):
    """The boxes in a file as it holds them, not checked: image name -> usually a list of [x, y, width, height].

    Args:
        path: a ``.csv`` with a row for each face and the columns name, x, y, width, height, or a faces.csv of
            `kdloss.predict`; any other file is JSON: ``{"image name": [[x, y, width, height], ...], ...}``.

    Raises:
        DataError: unreadable, or neither of these.
    """
    read = _read_csv if Path(path).suffix.lower() == ".csv" else _read_json
    try:
        return read(path)
    except OSError as error:
        raise DataError(f"--boxes {path}: cannot be read ({error.strerror})") from error


def box_array(boxes):
    """Boxes as files hold them, [[x, y, width, height], ...] -> (k, 4) float64, or (k, 5) of turned boxes; None if they
    are not of that form."""
    try:
        array = np.zeros((0, 4)) if boxes == [] else np.array(boxes, np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    valid = array.ndim == 2 and array.shape[1] in (4, 5) and np.isfinite(array).all() and (array[:, 2:4] > 0).all()
    return array if valid else None


def _read_json(path):
    try:
        record = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"--boxes {path}: no JSON ({error}): {EXPECTED}") from error
    if not isinstance(record, dict):
        raise DataError(f"--boxes {path}: holds a {type(record).__name__}, {EXPECTED}")
    return record


def _read_csv(path):
    boxes = {}
    try:
        with io.StringIO(read_text(path, "utf-8-sig"), newline="") as file:
            rows = csv.DictReader(file, strict=True)
            found = rows.fieldnames or []
            columns = next((columns for columns in CSV_COLUMNS if set(columns) <= set(found)), None)
            if columns is None:
                expected = " or ".join(",".join(columns) for columns in CSV_COLUMNS)
                raise DataError(f"--boxes {path}: found columns {','.join(found)[:80] or 'none'}, expected {expected}")
            for row in rows:
                name, *box = (row[column] for column in columns)
                boxes.setdefault(from_cell(name or ""), []).append(box)
    except (UnicodeError, csv.Error) as error:
        raise DataError(f"--boxes {path}: no CSV in UTF-8 ({error}): save it as such") from error
    return boxes
