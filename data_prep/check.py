"""Whether a prepared folder is still what was written, picture by picture."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from asm.array_files import read_npy
from asm.cores import usable_cores
from kdloss.errors import DataError
from kdloss.manifest import content_hash
from kdloss.prepared import PreparedDataset

_LISTED = 3


def check_prepared(path, processes=None):
    """Reads all of a prepared folder; returns it, opened.

    Args:
        path: the folder.
        processes: how many pictures are read at a time; as many as there are cores by default. They are threads: both
            reading and hashing let others run.

    Raises:
        DataError: it is damaged, and where.
    """
    prepared = PreparedDataset(path)
    stored = _digests(prepared)
    with ThreadPoolExecutor(processes or usable_cores()) as pool:
        found = pool.map(lambda number: hashlib.sha256(prepared.faces[number]).digest(), range(len(prepared)))
        damaged = [row for row, digest in enumerate(found) if digest != stored[row].tobytes()]
    if damaged:
        names = ", ".join(prepared.table["name"][damaged[:_LISTED]])
        rest = f" and {len(damaged) - _LISTED} more" if len(damaged) > _LISTED else ""
        raise DataError(
            f"{prepared.path}/faces.npy: damaged: {len(damaged)} of {len(prepared)} faces are not those that were "
            f"written ({names}{rest}): prepare the set again"
        )
    names, splits = prepared.table["name"], prepared.table["split"]
    if content_hash(prepared.points, names, splits, stored) != prepared.manifest["content"]:
        raise DataError(f"{prepared.path}/manifest.json: its content hash is of other faces: prepare the set again")
    return prepared


def _digests(prepared):
    path = prepared.path / "digests.npy"
    try:
        stored = read_npy(path)
        if stored.shape != (len(prepared), 32) or stored.dtype != np.uint8:
            raise ValueError(f"found {stored.dtype} {stored.shape}")
    except ValueError as error:
        raise DataError(f"{path}: unreadable ({error}): prepare the set again") from error
    return stored
