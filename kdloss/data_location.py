"""From ``--data`` and ``--dataset`` to an opened prepared data set."""

import os
from pathlib import Path

from data_prep.prepare import prepare
from data_prep.source_state import state_of
from kdloss.errors import DataError
from kdloss.manifest import is_prepared
from kdloss.prepared import PreparedDataset


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
        folder = _prepare_into_cache(dataset, Path(data), size)
    return PreparedDataset(folder).require(dataset=dataset)


def _prepare_into_cache(dataset, source, size):
    if not source.is_dir():
        raise DataError(f"--data {source}: no such folder: give a prepared or an official {dataset} folder")
    folder = data_root() / "cache" / f"{dataset}-{size}-{state_of(source)[:10]}"
    if not is_prepared(folder):
        prepare(dataset, source, folder, size=size)
    return folder
