"""Predictions files: any model's points, in pixels of the source images, by the names of the faces.

``.npz``: ``names`` (n,) text as in the prepared table, ``points`` (n, N, 2), and optionally ``truth`` (n, N, 2).
``.csv``: a header ``name,x0,y0,x1,y1,...`` and one line per face. The guide to them is docs/evaluation.md.
"""

import csv
import io
import zipfile
from pathlib import Path

import numpy as np

from kdloss.errors import ConfigError, DataError
from kdloss.evaluation.protocol import MISSING, missing_faces
from kdloss.files import read_npz, read_text, replacing
from kdloss.names import TEXT, from_cell, to_cell

SUFFIXES = (".npz", ".csv")

# A file's own truth must agree with the data set's within this many pixels: 1-based points do not.
TRUTH_TOLERANCE = 0.5

# A mean offset from the truth of 1 px in x and y, to within this, looks like 1-based points.
OFFSET_TOLERANCE = 0.25

_MOST_BYTES = 256 << 20  # of an unpacked .npz: points of 160,000 faces with 98 points
_FAR = 1e9  # pixels; no picture is so large


def holds_predictions(path):
    """True if a path is named like a predictions file."""
    return Path(path).suffix.lower() in SUFFIXES


def mean_offset(points, truth):
    """A warning if (n, N, 2) points lie where 1-based ones would, about 1 px right of and below the truth; else ""."""
    x, y = np.nanmean(points - truth, axis=(0, 1))
    if max(abs(x - 1), abs(y - 1)) > OFFSET_TOLERANCE:
        return ""
    return f"its points lie {x:+z.2f}, {y:+z.2f} px from the truth on average: are they 1-based? Then subtract 1"


def save_predictions(path, names, points, truth):
    """Writes (n,) names, (n, N, 2) points (NaN where no face was found) and their truth; a ``.csv`` holds no truth.

    Raises:
        DataError: another suffix.
        UserError: the file can't be written.
    """
    suffix, points = _suffix(path), np.asarray(points, np.float64)
    with replacing(path) as work:
        if suffix == ".npz":
            names, truth = np.asarray(names, dtype=np.str_), np.asarray(truth, np.float64)
            np.savez(work, names=names, points=points, truth=truth, allow_pickle=False)
            return
        with open(work, "w", newline="", **TEXT) as file:
            writer = csv.writer(file)
            writer.writerow(_columns(points.shape[1]))
            for name, values in zip(names, points.reshape(len(points), 2 * points.shape[1]).tolist(), strict=True):
                writer.writerow([to_cell(name), *("" if np.isnan(value) else value for value in values)])


def load_predictions(path, prepared, rows, missing="error"):
    """Reads a predictions file for (n,) rows of a `PreparedDataset`.

    A face is missing if the file does not name it, or has NaN (in a ``.csv`` also nothing) for all of its points.
    ``missing`` refuses that (``error``) or returns it as a row of NaN (``skip`` and ``fail``).

    Returns:
        (n, N, 2) float64 points in the order of ``rows``, and the number of faces in the file that are not in ``rows``.

    Raises:
        DataError: unreadable, damaged, incomplete, or points of another set.
    """
    if missing not in MISSING:
        raise ConfigError(f"missing is {missing!r}: expected one of {', '.join(MISSING)}")
    names, points, truth = _read(path)
    expected = prepared.scheme.num_points
    if points.ndim != 3 or points.shape[2] != 2 or len(points) != len(names):
        raise DataError(f"{path}: found {len(names)} names and points {points.shape}, expected points (n, N, 2)")
    if points.shape[1] != expected:
        raise DataError(f"{path}: holds {points.shape[1]} points a face, {prepared.dataset} has {expected}: other set?")
    if any((np.isfinite(array) & (np.abs(array) >= _FAR)).any() for array in (points, truth) if array is not None):
        raise DataError(f"{path}: holds points more than {_FAR:g} px away: they are no pixels; predict them again")
    index = {name: i for i, name in enumerate(names)}
    if len(index) != len(names):
        repeated = next(name for i, name in enumerate(names) if index[name] != i)
        raise DataError(f"{path}: {len(names) - len(index)} names repeat (the first: {repeated}): keep one of each")
    wanted = prepared.table["name"][rows].tolist()
    named = np.array([name in index for name in wanted])
    if not named.any():
        raise DataError(
            f"{path}: none of its names ({names[0] if names else 'none'}, ...) is that of a face to measure, such as "
            f"{wanted[0]} of {prepared.dataset}: give predictions of the same set and split"
        )
    order = [index[name] for name in wanted if name in index]
    found = np.full((len(wanted), expected, 2), np.nan)
    found[named] = points[order]
    _check_points(path, found, wanted, named, missing)
    if truth is not None:
        if truth.shape != points.shape:
            raise DataError(f"{path}: truth has shape {truth.shape}, expected {points.shape} as its points")
        _check_truth(path, truth[order], prepared.source_points[rows][named])
    return found, len(names) - len(order)


def _check_points(path, points, wanted, named, missing):
    absent = missing_faces(points)
    bad = ~np.isfinite(points).all(axis=(1, 2)) & ~absent
    if bad.any():
        raise DataError(
            f"{path}: {int(bad.sum())} faces hold NaN, empty or infinite points "
            f"(the first: {wanted[int(bad.argmax())]}): predict them again, or leave out all of a face's points"
        )
    if absent.all():
        raise DataError(f"{path}: holds no points for any of {len(wanted)} faces: predict them again")
    if absent.any() and missing == "error":
        unfound = int((absent & named).sum())
        raise DataError(
            f"{path}: {int(absent.sum())} of {len(wanted)} faces are missing (the first: "
            f"{wanted[int(absent.argmax())]}{f'; {unfound} named without points' if unfound else ''}): predict them "
            "too, or give --missing skip (leave them out) or --missing fail (count them as failures)"
        )


def _check_truth(path, truth, expected):
    if (np.isfinite(truth) != np.isfinite(expected)).any():
        raise DataError(f"{path}: its truth holds NaN or infinite points: leave truth out to be measured without")
    distance = np.fmax.reduce(np.linalg.norm(truth - expected, axis=-1), axis=1)
    off = distance > TRUTH_TOLERANCE
    if off.any():
        raise DataError(
            f"{path}: its truth is {distance.max():.1f} px off for {int(off.sum())} of {len(off)} faces: another "
            "release, other image sizes, or 1-based points? Leave truth out to be measured against this set's"
        )


def _read(path):
    """names (list), points and truth (or None) of a file; nothing in it is executed."""
    if not Path(path).exists():
        raise DataError(f"{path}: no such file: give a .npz or .csv with names and points")
    if Path(path).is_dir():
        raise DataError(f"{path}: a folder, expected a .npz or .csv of points; a run folder is given as --checkpoint")
    if not Path(path).is_file():
        raise DataError(f"{path}: no regular file: give a .npz or .csv with names and points")
    return _read_npz(path) if _suffix(path) == ".npz" else _read_csv(path)


def _suffix(path):
    if not holds_predictions(path):
        raise DataError(f"{path}: found a file named {Path(path).name!r}, expected one in {' or '.join(SUFFIXES)}")
    return Path(path).suffix.lower()


def _read_npz(path):
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: not a readable .npz (another kind of file, or cut off): write it with numpy.savez")
    try:
        stored = read_npz(path, _MOST_BYTES)
    except ValueError as error:
        raise DataError(f"{path}: not a readable .npz of plain arrays ({error})") from error
    if absent := [key for key in ("names", "points") if key not in stored]:
        raise DataError(f"{path}: no {' and no '.join(absent)} in it (found: {', '.join(stored) or 'nothing'})")
    names = np.atleast_1d(stored["names"])
    if names.ndim != 1:
        raise DataError(f"{path}: names has shape {names.shape}, expected (n,)")
    try:
        names = np.char.decode(names, "utf-8") if names.dtype.kind == "S" else names
    except UnicodeError as error:
        raise DataError(f"{path}: names are no UTF-8 ({_in_one_line(error)}): write them as text") from error
    numbers = {"truth": None}
    for key in {"points", "truth"} & set(stored):
        if stored[key].dtype.kind not in "fiu":
            raise DataError(f"{path}: {key} of type {stored[key].dtype}, expected plain arrays of numbers")
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are judged later
            numbers[key] = stored[key].astype(np.float64)
    return [str(name) for name in names], numbers["points"], numbers["truth"]


def _read_csv(path):
    try:
        # The byte order mark is a spreadsheet's; strict finds a quote that the end of a cut file leaves open.
        with io.StringIO(read_text(path, "utf-8-sig"), newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = _header(path, next(reader, []))
            faces = [_csv_face(path, reader.line_num, columns, cells) for cells in reader if cells]
    except csv.Error as error:
        line = f"{path}: line {reader.line_num}"
        raise DataError(f"{line}: {error}: put names with a comma or quote in quotes") from error
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: not a readable .csv in UTF-8 ({_in_one_line(error)})") from error
    if not faces:
        raise DataError(f"{path}: a header and no faces: write one line a face")
    points = np.array([values for _, values in faces], np.float64).reshape(len(faces), len(columns) // 2, 2)
    return [name for name, _ in faces], points, None


def _header(path, cells):
    columns = [cell.strip() for cell in cells]
    if not columns:
        raise DataError(f"{path}: empty, expected a header name,x0,y0,x1,y1,...")
    if separator := next((sign for sign in ";\t" if sign in columns[0]), None):
        raise DataError(f"{path}: line 1: separated by {separator!r}, expected commas: name,x0,y0,x1,y1,...")
    expected = _columns(max(1, (len(columns) - 1) // 2))
    if columns != expected:
        pairs = enumerate(zip(columns, expected, strict=False), start=1)
        found = next((f"column {i} {one!r}" for i, (one, other) in pairs if one != other), f"{len(columns)} columns")
        raise DataError(f"{path}: line 1: found {found[:60]}, expected a header name,x0,y0,x1,y1,...")
    return columns


def _columns(num_points):
    return ["name", *(f"{axis}{i}" for i in range(num_points) for axis in "xy")]


def _csv_face(path, line, columns, cells):
    if len(cells) != len(columns):
        raise DataError(f"{path}: line {line}: found {len(cells)} cells, expected {len(columns)} as in the header")
    values = []
    for column, cell in zip(columns[1:], cells[1:], strict=True):
        try:
            values.append(float(cell) if cell.strip() else np.nan)
        except ValueError:
            raise DataError(f"{path}: line {line}: {column} is {cell[:40]!r}, expected a number in pixels") from None
    return from_cell(cells[0]), values


def _in_one_line(error):
    return " ".join(str(error).split())[:200] or type(error).__name__
