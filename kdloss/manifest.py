"""The manifest of a prepared folder: what it says of the faces, and the hashes by which damage is noticed.

``files``     SHA-256 of the small files
``content``   of points, names, splits and pixels: tells one set of faces from another, wherever it lies
``manifest``  SHA-256 of the manifest itself, as JSON with sorted keys and without this entry
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from asm.atomic import write_whole
from kdloss.errors import DataError

VERSION = 2
NAME = "manifest.json"
# Those that a folder may lack are hashed where they are there.
SMALL_FILES = ("points.npy", "to_image.npy", "digests.npy", "table.csv", "occluded.npy")
# Names of faces are names of files, which need not be valid UTF-8; bytes that are not are written as \\udcXX.
TEXT = {"encoding": "utf-8", "errors": "backslashreplace"}
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


def is_prepared(path):
    """True if a folder looks like a prepared data set."""
    return (Path(path) / NAME).is_file()


def write_manifest(folder, facts):
    """Writes the manifest of a folder whose other files are all there, ``facts`` and the hashes; returns it."""
    folder = Path(folder)
    files = {name: file_hash(folder / name) for name in SMALL_FILES if (folder / name).exists()}
    manifest = {"version": VERSION, **facts, "files": files}
    manifest["manifest"] = _own_hash(manifest)
    write_whole(folder / NAME, json.dumps(manifest, indent=1))
    return manifest


def read_manifest(folder):
    """The manifest of a prepared folder, a dict.

    Raises:
        DataError: no prepared folder, of another version, or changed since it was written.
    """
    path = Path(folder) / NAME
    if not path.parent.is_dir():
        raise DataError(f"{folder}: no such folder: give --data a prepared or an official data set")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["version"]
    except FileNotFoundError:
        raise DataError(f"{folder}: no {NAME} in it, so not a prepared set: run python -m data_prep") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: damaged ({error}): prepare the set again") from error
    if version != VERSION:
        raise DataError(f"{folder}: prepared format version {version}, expected {VERSION}: prepare the set again")
    if missing := [fact for fact, kind in _FACTS.items() if not isinstance(manifest.get(fact), kind)]:
        raise DataError(f"{path}: damaged (no {missing[0]}): prepare the set again")
    if not 0 <= manifest["count"] <= sys.maxsize:
        raise DataError(f"{path}: damaged (no count of faces): prepare the set again")
    if manifest.get("manifest") != _own_hash(manifest):
        raise DataError(f"{path}: changed since it was written (its hash is another): prepare the set again")
    return manifest


def check_small_files(folder, manifest):
    """Raises a `DataError` for the first file that is not the one the manifest was written for; pixels aside."""
    for name in SMALL_FILES:
        path, expected = Path(folder) / name, manifest["files"].get(name)
        if not path.exists() and expected is not None:
            raise DataError(f"{path}: missing: prepare the set again")
        if path.exists() and file_hash(path) != expected:
            raise DataError(f"{path}: damaged (its hash is not the manifest's): prepare the set again")


def file_hash(path):
    """SHA-256 of a file, hexadecimal. One that can't be read is a `DataError`."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def content_hash(points, names, splits, digests):
    """The hash that tells one set of faces from another; ``digests`` (n, 32) uint8 are those of their pixels."""
    digest = hashlib.sha256(np.ascontiguousarray(points, np.float32).tobytes())
    for name, split, pixels in zip(names, splits, digests, strict=True):
        digest.update(f"{name}\0{split}\n".encode(**TEXT) + pixels.tobytes())
    return digest.hexdigest()[:16]


def _own_hash(manifest):
    facts = {key: value for key, value in manifest.items() if key != "manifest"}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
