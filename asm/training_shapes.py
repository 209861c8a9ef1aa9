"""Where `python -m asm fit` finds its shapes: a plain .npy, or the training rows of a prepared folder."""

import csv
import json
from pathlib import Path

import numpy as np

from asm.array_files import map_npy
from asm.errors import UserError

# The unit of prepared shapes: the crop that is this many times the longer side of the landmark box.
UNIT_CROP_SCALE = 1.25


def load_training_shapes(path):
    """Reads the shapes to fit on.

    Args:
        path: a .npy of points (n, N, 2), taken as they are; or a prepared folder (manifest.json, points.npy,
            table.csv), of which only the rows of split ``train`` are read, in unit coordinates of the gt x1.25 crop.

    Returns:
        ``(shapes, metadata)``: an array (n, N, 2) and a dict of strings for `ShapeModel.fit`.

    Raises:
        UserError: neither of the two, damaged, or without training rows.
    """
    path = Path(path)
    if path.is_dir():
        return _load_prepared(path)
    return load_points(path), {"unit": "as given", "source": path.name}


def load_points(path):
    """The array in a .npy file. Its shape is left to whoever uses it.

    Raises:
        UserError: no such file, or not a .npy of numbers.
    """
    return np.array(_open_array(Path(path)))


def to_unit_crop(points, size, crop_scale):
    """Prepared-crop pixels -> unit coordinates of the gt x1.25 crop, in which the box's crop spans [-0.5, 0.5].

    A prepared crop is the square around the landmark box, ``crop_scale`` times its longer side, ``size`` pixels wide,
    pixel centres at whole numbers. The gt x1.25 crop has the same centre, so one factor leads from one to the other.

    Args:
        points: (..., N, 2) pixels.
        size: side of the prepared crop, pixels.
        crop_scale: side of the prepared crop over the longer side of the landmark box.
    """
    return ((np.asarray(points, np.float64) + 0.5) / size - 0.5) * (crop_scale / UNIT_CROP_SCALE)


def _load_prepared(folder):
    manifest = _read_manifest(folder / "manifest.json")
    splits = _read_splits(folder / "table.csv")
    points = _open_array(folder / "points.npy")
    if points.ndim != 3 or len(points) != len(splits):
        raise UserError(
            f"{folder / 'points.npy'}: found shape {points.shape}, expected {len(splits)} shapes, one a row of "
            "table.csv: prepare the set again"
        )
    rows = [i for i, split in enumerate(splits) if split == "train"]
    if not rows:
        raise UserError(f"{folder}: none of its {len(splits)} faces is of split train: prepare a set that has some")
    scheme = manifest["scheme"]
    metadata = {
        "scheme": str(scheme["name"]),
        "skeleton": json.dumps(scheme["skeleton"]),
        "unit": f"gt x{UNIT_CROP_SCALE} crop, [-0.5, 0.5]",
        "source": str(manifest.get("dataset", folder.name)),
    }
    return to_unit_crop(points[rows], manifest["size"], manifest["crop_scale"]), metadata


def _read_manifest(path):
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        usable = manifest["size"] > 0 and manifest["crop_scale"] > 0 and {"name", "skeleton"} <= set(manifest["scheme"])
    except FileNotFoundError:
        raise UserError(f"{path}: missing, so not a prepared folder: make one with python -m data_prep") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}: {error}): prepare the set again") from error
    if not usable:
        raise UserError(f"{path}: expected size and crop_scale > 0 and a scheme's name and skeleton: prepare it again")
    return manifest


def _read_splits(path):
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [row["split"] for row in csv.DictReader(file)]
    except KeyError as error:
        raise UserError(f"{path}: has no column split: prepare the set again") from error
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: unreadable ({error}): prepare the set again") from error


def _open_array(path):
    """A .npy by memory map, so that only the rows used are read."""
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder, expected points (n, N, 2) in a .npy, or a prepared folder")
    try:
        return map_npy(path)
    except ValueError as error:
        raise UserError(f"{path}: not a readable .npy of numbers ({error}): write it with numpy.save") from error
