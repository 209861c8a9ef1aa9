"""``table.csv`` of a prepared folder: name, split, source, group, box and subsets of each face, as columns."""

import csv
import itertools

import numpy as np

from kdloss.errors import DataError

BOX_COLUMNS = ("box_x", "box_y", "box_width", "box_height")
SUBSET_PREFIX = "subset_"
_REQUIRED = ("name", "split", "source", *BOX_COLUMNS)
# No picture has so many pixels.
_FAR = 1e9
# So many lines are texts at a time: as texts they take ten times the memory of their columns.
_LINES = 4096


def read_table(path):
    """Reads a table.

    Returns:
        column name -> (n,) array: texts; float64, NaN for no number, of a box; bool of a subset.

    Raises:
        DataError: missing or damaged.
    """
    if not path.exists():
        raise DataError(f"{path}: missing: prepare the set again")
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            names = next(reader, [])
            if missing := [name for name in _REQUIRED if name not in names]:
                raise ValueError(f"no column {missing[0]}")
            rows = (row for row in reader if row)
            blocks = [_columns(names, block) for block in iter(lambda: list(itertools.islice(rows, _LINES)), [])]
        if not blocks:
            raise ValueError("no rows")
        return {name: np.concatenate([block[name] for block in blocks]) for name in names}
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: damaged ({error}): prepare the set again") from error


def _columns(names, rows):
    return {name: _column(name, values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def _column(name, values):
    if name in BOX_COLUMNS:
        numbers = np.array([float(value) if value else np.nan for value in values])
        if (np.abs(numbers) >= _FAR).any():
            raise ValueError(f"{name} that no picture has")
        return numbers
    if name.startswith(SUBSET_PREFIX):
        return np.array([value == "1" for value in values], bool)
    return np.array(values)
