"""Prepared faces: a folder with the same files for every data set, whose pictures are read one by one.

manifest.json   version, data set, scheme, counts, what was skipped, hashes of the small files and of itself
faces.npy       (n, S, S, 3) uint8 RGB; each a square around the landmark box, ``crop_scale`` times its longer side
points.npy      (n, N, 2) float32, pixels of those crops; NaN for a point that is not known
to_image.npy    (n, 2, 3) float64, crop pixels -> pixels of the source image
occluded.npy    (n, N) bool, only if the data set has such flags
digests.npy     (n, 32) uint8, SHA-256 of each face's pixels
table.csv       name, split, source, group, dataset box in source pixels, hash of the source image, one column a subset

Faces without landmarks have N = 0 points, the split ``unlabelled``, and a box in place of the landmark box.
"""

import csv
import functools
import hashlib
import io
import json
import math
import os
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdloss.data.geometry import invert, landmark_box, transform_each
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import DataError
from kdloss.files import npy_header, open_input, read_npy, read_text, write_whole
from kdloss.names import TEXT, from_cell

NAME = "manifest.json"
BOX_COLUMNS = ("box_x", "box_y", "box_width", "box_height")
IMAGE_COLUMN = "image"  # which sets that were prepared before there was one lack
UNLABELLED = "unlabelled"  # the split of faces without landmarks
SUBSET_PREFIX = "subset_"

_VERSION = 2
_FACTS = {
    "dataset": str,
    "scheme": dict,
    "count": int,
    "size": int,
    "crop_scale": (int, float),
    "synthetic": bool,
    "content": str,
    "files": dict,
}
_SPLITS = ("train", "val", "test")
# The manifest has the hash of each of these that is there.
_SMALL_FILES = ("points.npy", "to_image.npy", "digests.npy", "table.csv", "occluded.npy")
# A larger coordinate is damage: no picture has as many pixels.
_FAR = 1e9


class PreparedDataset:
    """A prepared folder, opened. Only the table, the points and other small arrays are read into memory.

    Opening it checks that all files are as they were written, except for the pixels, of which only the size is
    checked. ``python -m data_prep check`` reads all pixels. Opening anything but an undamaged folder of this version
    raises a `DataError`.

    Attributes:
        path, manifest, scheme: the folder, its manifest, its landmark scheme.
        dataset, size, synthetic: the data set's name (``300w``), side S of the crops in pixels, whether rendered.
        unlabelled: whether its faces have no landmarks; the scheme then has no points.
        faces: a `RowFile` of (n, S, S, 3) uint8: ``faces[i]`` reads one face.
        points: (n, N, 2) float32, crop pixels; NaN where not known.
        to_image: (n, 2, 3) float64.
        digests: (n, 32) uint8, SHA-256 of each face's pixels.
        occluded: (n, N) bool or None.
        table: column name -> (n,) array.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.manifest = read_manifest(self.path)
        self.dataset, self.size, self.synthetic = (self.manifest[key] for key in ("dataset", "size", "synthetic"))
        self.unlabelled = bool(self.manifest.get(UNLABELLED))
        try:
            # `from_json` refuses a scheme without points, which nothing but this can use.
            scheme = self.manifest["scheme"]
            self.scheme = LandmarkScheme.plain(0) if self.unlabelled else LandmarkScheme.from_json(scheme)
        except DataError as error:
            raise DataError(f"{self.path}/{NAME}: damaged ({error}): prepare the set again") from error
        _check_small_files(self.path, self.manifest)
        n, num_points = len(self), self.scheme.num_points
        self.faces = self._load("faces.npy", np.uint8, (n, self.size, self.size, 3), RowFile)
        self.points = self._load("points.npy", np.float32, (n, num_points, 2))
        self.to_image = self._load("to_image.npy", np.float64, (n, 2, 3))
        self.digests = self._load("digests.npy", np.uint8, (n, 32))
        flagged = (self.path / "occluded.npy").exists()
        self.occluded = self._load("occluded.npy", bool, (n, num_points)) if flagged else None
        self.table = read_table(self.path / "table.csv")
        self._check_values()

    def __len__(self):
        return self.manifest["count"]

    def indices(self, split, subset=None):
        """Row numbers of a split (``train``, ``val``, ``test``), or of one of its subsets.

        A subset may be empty; an empty split raises a `DataError`.
        """
        rows = self.table["split"] == split
        if subset not in (None, "full"):
            rows &= self.table.get(SUBSET_PREFIX + subset, False)
        found = np.flatnonzero(rows)
        if not len(found) and subset is None:
            splits = (*_SPLITS, UNLABELLED) if self.unlabelled else _SPLITS
            counts = ", ".join(f"{name} {int((self.table['split'] == name).sum())}" for name in splits)
            raise DataError(f"{self.path}: holds no {split} faces ({counts}): prepare a set that does")
        return found

    def unlabelled_rows(self):
        """Row numbers of the faces that may serve as faces without labels: those of all splits but ``test``.

        None at all raises a `DataError`.
        """
        rows = np.flatnonzero(self.table["split"] != "test")
        if not len(rows):
            raise DataError(f"{self.path}: holds test faces only, which never serve as faces without labels")
        return rows

    @functools.cached_property
    def source_points(self):
        """(n, N, 2) float64: all landmarks in pixels of their source images. They stay in memory."""
        return self.source_points_of(slice(None))

    def source_points_of(self, rows):
        """(m, N, 2) float64: the landmarks of the faces ``rows`` in pixels of their source images."""
        return transform_each(self.to_image[rows], self.points[rows])

    def boxes(self, policy):
        """(n, 4) boxes to cut by a `BoxPolicy`, in pixels of the *stored crops*.

        A face without landmarks has one box, for policies of all sources.

        Raises a `DataError` if the policy takes the data set's own boxes and a face has none.
        """
        if policy.source == "gt" and not self.unlabelled:
            source = landmark_box(self.source_points_of(slice(None)))
        else:
            source = np.stack([self.table[column] for column in BOX_COLUMNS], axis=-1)
            if missing := int(np.isnan(source).any(axis=-1).sum()):
                raise DataError(f"--box {policy}: {missing} of {len(self)} faces have no box of their own: use gt:1.25")
        box = policy.grow(source)
        corner = transform_each(invert(self.to_image), box[:, None, :2])[:, 0]
        return np.concatenate([corner, box[:, 2:] / self.to_image[:, 0, :1]], axis=-1)

    def require(self, dataset):
        """Returns itself, or raises a `DataError` if this is another data set, or its faces have no landmarks."""
        if self.dataset != dataset:
            raise DataError(f"{self.path}: holds faces of {self.dataset}, expected {dataset}: give another --data")
        if self.unlabelled:
            raise DataError(f"{self.path}: holds faces without landmarks: give another --data")
        return self

    def _load(self, name, dtype, shape, read=read_npy):
        path = self.path / name
        try:
            array = read(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: unreadable ({error}): prepare the set again") from error
        for what, found, expected in (("shape", array.shape, shape), ("type", array.dtype, np.dtype(dtype))):
            if found != expected:
                raise DataError(f"{path}: found {what} {found}, expected {expected}: prepare the set again")
        return array

    def _check_values(self):
        n, rows = len(self), len(self.table["name"])
        if rows != n:
            raise DataError(f"{self.path}/table.csv: found {rows} rows, expected {n}: prepare again")
        x_unknown, y_unknown = np.moveaxis(np.isnan(self.points), -1, 0)
        damaged = (x_unknown != y_unknown).any(axis=1) | (np.abs(self.points) >= _FAR).any(axis=(1, 2))
        damaged |= ~_invertible(self.to_image) | (x_unknown.all(axis=1) & (not self.unlabelled))
        if damaged.any():
            found = f"{int(damaged.sum())} of {n} faces have points or transforms that no picture has"
            first = self.table["name"][damaged.argmax()]
            raise DataError(f"{self.path}: {found} (the first: {first}): prepare the set again")


class RowFile(Sequence):
    """The rows of a .npy file, read one by one by any number of threads. Nothing of it stays in memory.

    A memory map would count as memory of the process, and training touches all pages. Opening anything but a whole
    .npy of numbers in C order raises a `ValueError`.

    Attributes:
        shape, dtype: of the whole array.
    """

    def __init__(self, path):
        self.path = path
        with open_input(path) as file:
            self._file = os.dup(file.fileno())
            weakref.finalize(self, os.close, self._file)
            self.shape, fortran_order, self.dtype = npy_header(file)
            self._start = file.tell()
        if not self.shape or fortran_order:
            order = " in Fortran order" if fortran_order else ""
            raise ValueError(f"found shape {self.shape} of {self.dtype}{order}, expected rows")
        self._row_shape = self.shape[1:]
        self._row_bytes = math.prod(self._row_shape) * self.dtype.itemsize
        found, expected = os.fstat(self._file).st_size, self._start + len(self) * self._row_bytes
        if found != expected:
            raise ValueError(f"found {found} bytes, expected {expected}")

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        """Row ``key``, an array of the shape of a row; or the rows of a slice, stacked."""
        if isinstance(key, slice):
            rows = [self[number] for number in range(*key.indices(len(self)))]
            return np.stack(rows) if rows else np.empty((0, *self._row_shape), self.dtype)
        row = os.pread(self._file, self._row_bytes, self._place(key.__index__()))
        if len(row) < self._row_bytes:
            raise self._cut_short()
        return np.frombuffer(row, self.dtype).reshape(self._row_shape)

    def read_part(self, number, part):
        """Row ``number`` with only ``part``, a slice of its first axis, read; its other values are undefined.

        To read many rows in order, read them whole: the system then reads ahead.
        """
        row = np.empty(self._row_shape, self.dtype)
        before = part.start * self._row_bytes // len(row)
        if os.preadv(self._file, [row[part]], self._place(number) + before) < row[part].nbytes:
            raise self._cut_short()
        return row

    def _place(self, number):
        """Where a row begins in the file."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"{self.path}: no row {number} of {len(self)}")
        return self._start + number % len(self) * self._row_bytes

    def _cut_short(self):
        return OSError(f"{self.path}: was cut short while it was read")


def shared_rows(unlabelled, labelled, splits=("test", "val")):
    """Row numbers of faces that would serve without labels although they are to be evaluated.

    Two faces count as the same if their crops are the same to the bit, or the pictures that they were cut from. Sets
    that were prepared before tables had `IMAGE_COLUMN` tell the crops only.

    Args:
        unlabelled: a `PreparedDataset`, of which `PreparedDataset.unlabelled_rows` would serve.
        labelled: the `PreparedDataset` whose faces of ``splits`` are to be evaluated.
    """
    evaluated = set().union(*_identities(labelled, np.flatnonzero(np.isin(labelled.table["split"], splits))))
    rows = unlabelled.unlabelled_rows()
    found = [not evaluated.isdisjoint(own) for own in _identities(unlabelled, rows)]
    return rows[np.array(found)]


def is_prepared(path):
    """True if a folder looks like a prepared data set."""
    return (Path(path) / NAME).is_file()


def write_manifest(folder, facts):
    """Writes and returns the manifest, ``facts`` and hashes, of a folder that has all its other files."""
    folder = Path(folder)
    files = {name: file_hash(folder / name) for name in _SMALL_FILES if (folder / name).exists()}
    manifest = {"version": _VERSION, **facts, "files": files}
    manifest["manifest"] = _own_hash(manifest)
    write_whole(folder / NAME, json.dumps(manifest, indent=1))
    return manifest


def read_manifest(folder):
    """The manifest of a prepared folder, a dict; a `DataError` if it is missing, of another version, or changed."""
    path = Path(folder) / NAME
    if not path.parent.is_dir():
        raise DataError(f"{folder}: no such folder: expected a prepared set: python -m data_prep makes one")
    try:
        manifest = json.loads(read_text(path))
        version = manifest["version"]
    except FileNotFoundError:
        raise DataError(f"{folder}: no {NAME} in it, so not a prepared set: run python -m data_prep") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: damaged ({error}): prepare the set again") from error
    if version != _VERSION:
        raise DataError(f"{folder}: prepared format version {version}, expected {_VERSION}: prepare the set again")
    if missing := [fact for fact, kind in _FACTS.items() if not isinstance(manifest.get(fact), kind)]:
        raise DataError(f"{path}: damaged (no {missing[0]}): prepare the set again")
    if not 0 <= manifest["count"] <= sys.maxsize:
        raise DataError(f"{path}: damaged (no count of faces): prepare the set again")
    if not 0 < manifest["crop_scale"] < _FAR:
        raise DataError(f"{path}: damaged (no crop scale): prepare the set again")
    if manifest.get("manifest") != _own_hash(manifest):
        raise DataError(f"{path}: changed since it was written (its hash is another): prepare the set again")
    return manifest


def read_table(path):
    """``table.csv`` as column name -> (n,) array: float64 for boxes (NaN if empty), bool for subsets, else texts."""
    if not path.exists():
        raise DataError(f"{path}: missing: prepare the set again")
    try:
        with io.StringIO(read_text(path), newline="") as file:
            rows = filter(None, csv.reader(file))
            names = next(rows, [])
            if missing := [name for name in ("name", "split", "source", *BOX_COLUMNS) if name not in names]:
                raise ValueError(f"no column {missing[0]}")
            columns = zip(*rows, strict=True)
            return {name: _column(name, texts) for name, texts in zip(names, columns, strict=True)}
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path}: damaged ({error}): prepare the set again") from error


def file_hash(path):
    """SHA-256 of a file, hexadecimal; a `DataError` if it cannot be read."""
    try:
        with open_input(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def content_hash(points, names, splits, digests):
    """The hash that tells one set of faces from another; ``digests`` (n, 32) uint8 are those of their pixels."""
    digest = hashlib.sha256(np.ascontiguousarray(points, np.float32).tobytes())
    for name, split, pixels in zip(names, splits, digests, strict=True):
        digest.update(f"{name}\0{split}\n".encode(**TEXT) + pixels.tobytes())
    return digest.hexdigest()[:16]


def _identities(prepared, rows):
    """Yields for each row the set of what tells its face from others: digest of its crop, hash of its picture."""
    images = prepared.table.get(IMAGE_COLUMN)
    for row in rows:
        crop = {prepared.digests[row].tobytes()}
        yield crop if images is None else crop | {images[row]}


def _own_hash(manifest):
    facts = {key: value for key, value in manifest.items() if key != "manifest"}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _check_small_files(folder, manifest):
    for name in _SMALL_FILES:
        path, expected = folder / name, manifest["files"].get(name)
        if not path.exists() and expected is not None:
            raise DataError(f"{path}: missing: prepare the set again")
        if path.exists() and file_hash(path) != expected:
            raise DataError(f"{path}: damaged (its hash is not the manifest's): prepare the set again")


def _column(name, texts):
    if name in BOX_COLUMNS:
        numbers = np.array([float(text) if text else np.nan for text in texts])
        if (np.abs(numbers) >= _FAR).any():
            raise ValueError(f"{name} that no picture has")
        return numbers
    if name.startswith(SUBSET_PREFIX):
        return np.array([text == "1" for text in texts], bool)
    return np.array([from_cell(text) for text in texts])


def _invertible(matrices):
    """(n,) bool: which of (n, 2, 3) transforms from pixels to pixels have an inverse."""
    with np.errstate(all="ignore"):
        determinants = matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]
        scaled = np.minimum(matrices[:, 0, 0], np.abs(determinants)) > 1 / _FAR
        return (np.abs(matrices) < _FAR).all(axis=(1, 2)) & scaled
