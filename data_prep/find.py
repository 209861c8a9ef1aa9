"""Opens the prepared data set that ``--data`` and ``--dataset`` name."""

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
        data: a prepared folder, or a raw one in the official layout, which is first prepared into
            ``KDLOSS_DATA/cache``; None means ``KDLOSS_DATA/<dataset>``.
        size: side of the stored crops if a raw folder has to be prepared.

    Raises:
        DataError: there are no such faces; the message says how to get some.
    """
    prepared = check_data(dataset, data, size)
    if prepared is None:
        prepare(dataset, data, folder := _cache(dataset, data, size), size=size)
        prepared = PreparedDataset(folder)
    return prepared


def check_data(dataset, data=None, size=256):
    """Opens what `find_prepared` opens, or returns None if these faces are raw and have to be prepared first.

    Raises a `DataError` if there are no such faces, or if a raw folder is not of the official layout.
    """
    if data is None:
        folder = data_root() / dataset
        if not is_prepared(folder):
            raise DataError(
                f"{folder}: no prepared {dataset} faces there: run python -m data_prep {dataset} --source RAW --out "
                f"{folder}, for rendered faces after python -m data_prep synthetic --layout {dataset} --out RAW"
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


def _cache(dataset, source, size):
    """The folder in the cache for a raw folder. It changes when a file in there appears, disappears or changes."""
    source = os.path.realpath(source)
    lines = []
    for folder, folders, files in os.walk(source):
        for path in (os.path.join(folder, name) for name in (*folders, *files)):
            state = os.stat(path, follow_symlinks=os.path.exists(path))  # a link may lead nowhere
            # The time of change, unlike that of modification, cannot be set.
            lines.append(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_ctime_ns}\n")
    key = hashlib.sha256("".join([source, *sorted(lines)]).encode(errors="surrogateescape")).hexdigest()[:10]
    return data_root() / "cache" / f"{dataset}-{size}-{key}"
