"""Predictions files: any model's points, in pixels of the source images, by the names of the faces.

``names`` (n,) text as in the prepared table, ``points`` (n, N, 2), and optionally ``truth`` (n, N, 2), in one ``.npz``.
"""

import zipfile
import zlib

import numpy as np

from asm.atomic import replacing
from kdloss.errors import DataError

# A file that holds its own truth must agree with the set's within this many pixels: 1-based points do not.
TRUTH_TOLERANCE = 0.5


def save_predictions(path, names, points, truth):
    """Writes a predictions file.

    Args:
        path: of the ``.npz``.
        names: (n,) names of the faces.
        points, truth: (n, N, 2) in pixels of the source images, pixel centres at integers.
    """
    with replacing(path) as work:
        np.savez(
            work,
            names=np.asarray(names, dtype=np.str_),
            points=np.asarray(points, np.float64),
            truth=np.asarray(truth, np.float64),
        )


def load_predictions(path, prepared, rows):
    """Reads a predictions file for the faces ``rows`` of a prepared data set.

    Args:
        path: an ``.npz`` with ``names``, ``points`` and optionally ``truth``, in any order of faces.
        prepared: the `PreparedDataset` that names the faces.
        rows: (n,) row numbers to predict.

    Returns:
        (n, N, 2) float64 points in the order of ``rows``, and how many faces of the file were not asked for.

    Raises:
        DataError: unreadable; another number of points; a name twice; NaN; faces missing; points of another set.
    """
    names, points, truth = _read(path)
    expected = prepared.scheme.num_points
    if points.ndim != 3 or points.shape[2] != 2 or len(points) != len(names):
        raise DataError(f"{path}: found {len(names)} names and points {points.shape}, expected points (n, N, 2)")
    if points.shape[1] != expected:
        raise DataError(f"{path}: holds {points.shape[1]} points a face, {prepared.dataset} has {expected}: other set?")
    index = {name: i for i, name in enumerate(names)}
    if len(index) != len(names):
        repeated = next(name for i, name in enumerate(names) if index[name] != i)
        raise DataError(f"{path}: {len(names) - len(index)} names come twice (the first: {repeated}): keep one of each")
    wanted = prepared.table["name"][rows].tolist()
    missing = [name for name in wanted if name not in index]
    if len(missing) == len(wanted):
        raise DataError(
            f"{path}: not one of its faces ({names[0] if names else 'none'}, ...) is asked for; "
            f"{prepared.dataset} names them as {wanted[0]}: predictions of another set or split?"
        )
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of {len(wanted)} faces are missing (the first: {missing[0]}): predict them too"
        )
    order = [index[name] for name in wanted]
    points = points[order]
    bad = ~np.isfinite(points).all(axis=(1, 2))
    if bad.any():
        raise DataError(
            f"{path}: {int(bad.sum())} faces hold NaN or infinite points "
            f"(the first: {wanted[int(bad.argmax())]}): predict them again"
        )
    if truth is not None:
        _check_truth(path, truth[order] if len(truth) == len(names) else truth, prepared.source_points[rows])
    return points, len(names) - len(wanted)


def _read(path):
    """names (list), points and truth (or None) of a file; nothing in it is executed."""
    try:
        # Opened here, because numpy leaves the file of a damaged archive open.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            absent = [key for key in ("names", "points") if key not in file.files]
            if absent:
                raise DataError(
                    f"{path}: no {' and no '.join(absent)} in it (found: {', '.join(file.files) or 'nothing'})"
                )
            names = [str(name) for name in np.atleast_1d(file["names"])]
            points = file["points"].astype(np.float64)
            truth = file["truth"].astype(np.float64) if "truth" in file.files else None
            return names, points, truth
    except FileNotFoundError:
        raise DataError(f"{path}: no such file: give --predictions an .npz with names and points") from None
    except DataError:
        raise
    except (OSError, ValueError, EOFError, TypeError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .npz of plain arrays ({error})") from error


def _check_truth(path, truth, expected):
    if truth.shape != expected.shape:
        raise DataError(f"{path}: truth has shape {truth.shape}, expected {expected.shape}")
    distance = np.linalg.norm(truth - expected, axis=-1)
    # Written so that NaN fails too.
    off = ~(distance.max(axis=1) <= TRUTH_TOLERANCE)
    if off.any():
        raise DataError(
            f"{path}: its truth is {np.nanmax(distance):.1f} px off for {int(off.sum())} of {len(off)} faces: another "
            "release, other image sizes, or 1-based points? Leave truth out to be measured against this set's"
        )
