"""Prepared faces: a folder that is read by memory map, the same for every data set.

manifest.json   version, data set, scheme, counts, what was skipped, hash of the content
faces.npy       (n, S, S, 3) uint8 RGB; each a square around the landmark box, ``crop_scale`` times its longer side
points.npy      (n, N, 2) float32, pixels of those crops
to_image.npy    (n, 2, 3) float64, crop pixels -> pixels of the source image
occluded.npy    (n, N) bool, only where the data set says
table.csv       name, split, source, group, dataset box in source pixels, one column a subset
"""

import csv
import functools
import json
from pathlib import Path

import numpy as np

from kdloss.errors import DataError
from kdloss.geometry import invert, landmark_box, transform_points
from kdloss.schemes import LandmarkScheme

VERSION = 1
SPLITS = ("train", "val", "test")
BOX_COLUMNS = ("box_x", "box_y", "box_width", "box_height")
SUBSET_PREFIX = "subset_"
_FACTS = ("dataset", "scheme", "count", "size", "crop_scale", "synthetic", "content")


class PreparedDataset:
    """A prepared folder, opened. Nothing but the table and the points is read into memory.

    Attributes:
        path, manifest, scheme: where it is, what it says of itself, its landmark scheme.
        faces: (n, S, S, 3) uint8, memory-mapped.
        points: (n, N, 2) float32, crop pixels.
        to_image: (n, 2, 3) float64.
        occluded: (n, N) bool or None.
        table: column name -> (n,) array.
    """

    def __init__(self, path):
        """Opens a folder.

        Raises:
            DataError: not a prepared folder, of another version, damaged, or with points that are not finite.
        """
        self.path = Path(path)
        self.manifest = _read_manifest(self.path)
        self.scheme = _read_scheme(self.path, self.manifest)
        self.faces = self._load("faces.npy", mmap_mode="r")
        self.points = self._load("points.npy")
        self.to_image = self._load("to_image.npy")
        has_flags = (self.path / "occluded.npy").exists()
        self.occluded = self._load("occluded.npy") if has_flags else None
        self.table = self._read_table()
        n, size = self.manifest["count"], self.manifest["size"]
        expected = {"faces": (n, size, size, 3), "points": (n, self.scheme.num_points, 2), "to_image": (n, 2, 3)}
        for name, shape in expected.items():
            found = getattr(self, name).shape
            if found != shape:
                raise DataError(f"{self.path / name}.npy: found shape {found}, expected {shape}: prepare the set again")
        if len(self.table["name"]) != n:
            raise DataError(f"{self.path}/table.csv: found {len(self.table['name'])} rows, expected {n}: prepare again")
        lost = ~np.isfinite(self.points).all(axis=(1, 2))
        if lost.any():
            raise DataError(
                f"{self.path}/points.npy: {int(lost.sum())} of {n} faces have NaN or infinite points (the first: "
                f"{self.table['name'][lost.argmax()]}), expected finite ones: mend or leave out these faces, and "
                "prepare the set again"
            )

    def __len__(self):
        return self.manifest["count"]

    @property
    def dataset(self):
        """Name of the data set, for example ``300w``."""
        return self.manifest["dataset"]

    @property
    def size(self):
        """Side of the stored crops, pixels."""
        return self.manifest["size"]

    @property
    def synthetic(self):
        """True if the faces were rendered."""
        return self.manifest["synthetic"]

    def indices(self, split, subset=None):
        """Row numbers of a split (``train``, ``val``, ``test``), optionally of one of its subsets.

        Raises:
            DataError: the split holds no face.
        """
        rows = self.table["split"] == split
        if subset not in (None, "full"):
            column = SUBSET_PREFIX + subset
            rows &= self.table.get(column, False)
        found = np.flatnonzero(rows)
        if not len(found) and subset is None:
            raise DataError(f"{self.path}: holds no {split} faces ({self._split_counts()}): prepare a set that does")
        return found

    @functools.cached_property
    def source_points(self):
        """(n, N, 2) float64: the landmarks in pixels of their source images."""
        return np.stack([transform_points(m, p) for m, p in zip(self.to_image, self.points, strict=True)])

    def boxes(self, policy):
        """(n, 4) boxes to cut by a `BoxPolicy`, in pixels of the *stored crops*.

        Raises:
            DataError: the policy wants the data set's boxes and a face has none.
        """
        if policy.source == "gt":
            source = landmark_box(self.source_points)
        else:
            source = np.stack([self.table[column] for column in BOX_COLUMNS], axis=-1)
            if np.isnan(source).any():
                missing = int(np.isnan(source).any(axis=-1).sum())
                raise DataError(f"--box {policy}: {missing} of {len(self)} faces have no box of their own: use gt:1.25")
        box = policy.grow(source)
        corner = np.stack([transform_points(invert(m), b[:2]) for m, b in zip(self.to_image, box, strict=True)])
        return np.concatenate([corner, box[:, 2:] / self.to_image[:, 0, :1]], axis=-1)

    def require(self, dataset=None, scheme=None):
        """Checks that this is the data set or scheme that was asked for; returns itself.

        Raises:
            DataError: it is another.
        """
        if dataset is not None and self.dataset != dataset:
            raise DataError(
                f"{self.path}: holds faces of {self.dataset}, expected {dataset}: give --data another folder"
            )
        if scheme is not None and self.scheme.name != scheme:
            raise DataError(
                f"{self.path}: has scheme {self.scheme.name}, expected {scheme}: give --data another folder"
            )
        return self

    def _split_counts(self):
        return ", ".join(f"{split} {int((self.table['split'] == split).sum())}" for split in SPLITS)

    def _load(self, name, **how):
        try:
            return np.load(self.path / name, allow_pickle=False, **how)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{self.path / name}: unreadable ({error}): prepare the set again") from error

    def _read_table(self):
        path = self.path / "table.csv"
        if not path.exists():
            raise DataError(f"{path}: missing: prepare the set again")
        try:
            with open(path, newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
            missing = {"name", "split", "source"} - set(reader.fieldnames or ())
            if missing or not rows:
                raise ValueError(f"no column {min(missing)}" if missing else "no rows")
            return {key: _column(key, [row[key] for row in rows]) for key in reader.fieldnames}
        except (ValueError, csv.Error) as error:
            raise DataError(f"{path}: damaged ({error}): prepare the set again") from error


def _column(key, values):
    if key in BOX_COLUMNS:
        return np.array([float(value) if value else np.nan for value in values])
    if key.startswith(SUBSET_PREFIX):
        return np.array([value == "1" for value in values], bool)
    return np.array(values)


def is_prepared(path):
    """True if a folder looks like a prepared data set."""
    return (Path(path) / "manifest.json").is_file()


def _read_manifest(path):
    if not path.is_dir():
        raise DataError(f"{path}: no such folder: give --data a prepared or an official data set")
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        version = manifest["version"]
    except FileNotFoundError:
        raise DataError(f"{path}: no manifest.json in it, so not a prepared set: run python -m data_prep") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}/manifest.json: damaged ({error}): prepare the set again") from error
    if version != VERSION:
        raise DataError(f"{path}: prepared format version {version}, expected {VERSION}: prepare the set again")
    if missing := [fact for fact in _FACTS if fact not in manifest]:
        raise DataError(f"{path}/manifest.json: damaged (no {missing[0]}): prepare the set again")
    return manifest


def _read_scheme(path, manifest):
    try:
        return LandmarkScheme.from_json(manifest["scheme"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}/manifest.json: damaged (scheme without {error}): prepare the set again") from error
