"""Checks picture by picture that a prepared folder is what was written."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

from kdloss.data.prepared import PreparedDataset, content_hash
from kdloss.errors import DataError
from kdloss.machine import usable_cores

_LISTED = 3


def check_prepared(path, processes=None):
    """Reads all of a prepared folder, ``processes`` pictures at a time.

    Returns its `PreparedDataset`, or raises a `DataError` that says where it is damaged.
    """
    prepared = PreparedDataset(path)
    names, splits, stored = prepared.table["name"], prepared.table["split"], prepared.digests
    # Threads are enough: reading and hashing release Python's lock.
    with ThreadPoolExecutor(processes or usable_cores()) as pool:
        found = pool.map(lambda number: hashlib.sha256(prepared.faces[number]).digest(), range(len(prepared)))
        damaged = [row for row, digest in enumerate(found) if digest != stored[row].tobytes()]
    if damaged:
        rest = f" and {len(damaged) - _LISTED} more" if len(damaged) > _LISTED else ""
        raise DataError(
            f"{prepared.path}/faces.npy: damaged: {len(damaged)} of {len(prepared)} faces are not those that were "
            f"written ({', '.join(names[damaged[:_LISTED]])}{rest}): prepare the set again"
        )
    if content_hash(prepared.points, names, splits, stored) != prepared.manifest["content"]:
        raise DataError(f"{prepared.path}/manifest.json: its content hash is of other faces: prepare the set again")
    return prepared
