"""From ``--data`` and ``--dataset`` to an opened prepared data set."""

import hashlib
import os
from pathlib import Path

from data_prep.prepare import open_raw, prepare
from kdloss.data.prepared import PreparedDataset, is_prepared
from kdloss.errors import DataError


def data_root():
    """The folder of prepared sets: the environment's ``KDLOSS_DATA``, or ``data``."""
    return Path(os.environ.get("KDLOSS_DATA", "data"))


def find_prepared(dataset, data=None, size=256):
    """Opens the faces of a data set.

    Args:
        dataset: its name.
        data: a prepared folder, or a raw one in the official layout, which then is prepared into
            ``KDLOSS_DATA/cache`` first; None looks for ``KDLOSS_DATA/<dataset>``.
        size: side of the stored crops when a raw folder has to be prepared.

    Raises:
        DataError: there are no such faces; the message says how to get some.
    """
    return check_data(dataset, data, size) or PreparedDataset(_prepare_into_cache(dataset, Path(data), size))


def check_data(dataset, data=None, size=256):
    """What `find_prepared` opens, or None: these faces are raw, and have to be prepared first.

    Raises:
        DataError: there are no such faces, or a raw folder that is not of the official layout.
    """
    if data is None:
        folder = data_root() / dataset
        if not is_prepared(folder):
            raise DataError(
                f"{folder}: no prepared {dataset} faces there: run make demo for synthetic ones, or "
                f"python -m data_prep {dataset} --source RAW --out {folder} for real ones"
            )
    elif is_prepared(data):
        folder = Path(data)
    else:
        if not Path(data).is_dir():
            found = "not a" if Path(data).exists() else "no such"
            raise DataError(f"--data {data}: {found} folder: give a prepared or an official {dataset} folder")
        if not is_prepared(folder := _cache(dataset, data, size)):
            open_raw(dataset, data)
            return None
    return PreparedDataset(folder).require(dataset)


def _prepare_into_cache(dataset, source, size):
    prepare(dataset, source, folder := _cache(dataset, source, size), size=size)
    return folder


def _cache(dataset, source, size):
    return data_root() / "cache" / f"{dataset}-{size}-{_state_of(source)[:10]}"


def _state_of(source):
    """A key of 64 characters that changes when the folder is another, or a file in it comes, goes or changes."""
    source = os.path.realpath(source)
    lines = []
    for folder, folders, files in os.walk(source):
        for path in (os.path.join(folder, name) for name in (*folders, *files)):
            state = os.stat(path, follow_symlinks=os.path.exists(path))  # a link may lead nowhere
            lines.append(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n")
    return hashlib.sha256("".join([source, *sorted(lines)]).encode(errors="surrogateescape")).hexdigest()
