"""Predictions files: any model's points, in pixels of the source images, by the names of the faces.

``.npz``: ``names`` (n,) text as in the prepared table, ``points`` (n, N, 2), and optionally ``truth`` (n, N, 2).
``.csv``: a header ``name,x0,y0,x1,y1,...`` and one line per face. The guide to them is docs/evaluation.md.
"""

import csv
import io
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
    suffix = _suffix(path)
    if not Path(path).is_file():
        what = "no regular file" if Path(path).exists() else "no such file"
        raise DataError(f"{path}: {what}: give a .npz or .csv with names and points; a run folder is a --checkpoint")
    return _read_npz(path) if suffix == ".npz" else _read_csv(path)


def _suffix(path):
    if not holds_predictions(path):
        raise DataError(f"{path}: found a file named {Path(path).name!r}, expected one in {' or '.join(SUFFIXES)}")
    return Path(path).suffix.lower()


def _read_npz(path):
    try:
        stored = read_npz(path, _MOST_BYTES)
    except ValueError as error:
        raise DataError(f"{path}: not a readable .npz of plain arrays ({error}): write it with numpy.savez") from error
    if absent := [key for key in ("names", "points") if key not in stored]:
        raise DataError(f"{path}: no {' and no '.join(absent)} in it (found: {', '.join(stored) or 'nothing'})")
    names = np.ravel(stored["names"])
    names = np.char.decode(names, "utf-8", "replace") if names.dtype.kind == "S" else names
    numbers = {"truth": None}
    for key in {"points", "truth"} & set(stored):
        if stored[key].dtype.kind not in "fiu":
            raise DataError(f"{path}: {key} of type {stored[key].dtype}, expected plain arrays of numbers")
        with np.errstate(invalid="ignore", over="ignore"):  # NaN and infinity are judged later
            numbers[key] = stored[key].astype(np.float64)
    return [str(name) for name in names], numbers["points"], numbers["truth"]


def _read_csv(path):
    names, points = [], []
    try:
        # The byte order mark is a spreadsheet's; strict finds a quote that the end of a cut file leaves open.
        reader = csv.reader(io.StringIO(read_text(path, "utf-8-sig"), newline=""), strict=True)
        columns = [cell.strip() for cell in next(reader, [])]
        if columns != _columns(max(1, (len(columns) - 1) // 2)):
            found = ",".join(columns)[:40] or "nothing"
            raise DataError(f"{path}: line 1: found {found}, expected a header name,x0,y0,x1,y1,... with commas")
        for cells in filter(None, reader):
            if len(cells) != len(columns):
                raise ValueError(f"found {len(cells)} cells, expected {len(columns)} as in the header")
            names.append(from_cell(cells[0]))
            points.append([float(cell.strip() or "nan") for cell in cells[1:]])
    except DataError:
        raise
    except (OSError, UnicodeError) as error:
        raise DataError(f"{path}: not a readable .csv in UTF-8 ({error})") from error
    except (csv.Error, ValueError) as error:
        raise DataError(
            f"{path}: line {reader.line_num}: {str(error)[:100]}: give a name and numbers, pixels, a face"
        ) from error
    return names, np.array(points, np.float64).reshape(len(points), len(columns) // 2, 2), None


def _columns(num_points):
    return ["name", *(f"{axis}{i}" for i in range(num_points) for axis in "xy")]
