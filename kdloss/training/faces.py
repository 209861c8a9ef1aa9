"""Which faces a run learns from: the share with labels, the folds of teachers, and the faces without labels."""

import hashlib

import numpy as np

from kdloss.data.prepared import PreparedDataset, shared_rows
from kdloss.errors import ConfigError, DataError
from kdloss.names import TEXT
from kdloss.training.config import NONE

_NAMED = 3


def training_rows(prepared, config):
    """Row numbers (m,) of the training faces, and of the validation faces where a run validates nothing."""
    rows = prepared.indices("train")
    return rows if config.keep == "best" else np.flatnonzero(np.isin(prepared.table["split"], ("train", "val")))


def labelled_rows(prepared, config):
    """Row numbers (m,) of the faces whose labels a run learns: its share of `training_rows`, without its own fold.

    A smaller share is a part of a larger one, and the same for every seed.
    """
    rows = training_rows(prepared, config)
    names = prepared.table["name"][rows]
    order = sorted(range(len(rows)), key=lambda number: _digest(names[number]))
    rows = np.sort(rows[order[: max(1, round(config.label_share * len(rows)))]])
    if config.fold:
        rows = rows[fold_numbers(prepared, config.folds)[rows] != config.fold]
    return rows


def rest_rows(prepared, config):
    """Row numbers of the training faces whose labels a run does not learn."""
    return np.setdiff1d(training_rows(prepared, config), labelled_rows(prepared, config))


def fold_numbers(prepared, folds):
    """(n,) the fold of each prepared face, from 1. Faces of one picture or person share it, whatever the share."""
    groups = prepared.table.get("group", prepared.table["name"])
    return np.array([int.from_bytes(_digest(group)[:8]) % folds + 1 for group in groups])


def unlabelled_faces(config, prepared):
    """The faces without labels of a run: a `PreparedDataset` and row numbers, or None. Validation faces are left out.

    Raises:
        ConfigError, DataError: there are none, or test faces are among them.
    """
    if config.unlabelled == NONE:
        return None
    if config.unlabelled == "rest":
        return prepared, rest_rows(prepared, config)

    faces = PreparedDataset(config.unlabelled)
    if shared := faces.table["name"][shared_rows(faces, prepared, ("test",))].tolist():
        more = f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
        raise DataError(
            f"--unlabelled {config.unlabelled}: holds {len(shared)} test faces of {prepared.path} "
            f"({', '.join(shared[:_NAMED])}{more}): leave them out and prepare it again"
        )
    return faces, np.setdiff1d(faces.unlabelled_rows(), shared_rows(faces, prepared, ("val",)))


def check_enough(prepared, config):
    """Checks that a run has the faces of a batch, and every fold some; raises `ConfigError` or `DataError`."""
    labelled, found = config.batch_size - config.unlabelled_batch, len(labelled_rows(prepared, config))
    if config.folds > (faces := len(training_rows(prepared, config))):
        raise ConfigError(f"--folds {config.folds}: more than the {faces} training faces")
    if labelled > found:
        left = [f"--label-share {config.label_share:g}"] if config.label_share < 1 else []
        left += [f"fold {config.fold} of {config.folds}"] if config.fold else []
        left = f" that {' and '.join(left)} leave" if left else ""
        way_out = "give a smaller one" + (", or a larger --label-share" if config.label_share < 1 else "")
        raise ConfigError(f"--batch-size {config.batch_size}: larger than the {found} faces{left}: {way_out}")
    if (faces := unlabelled_faces(config, prepared)) and config.unlabelled_batch > len(faces[1]):
        raise ConfigError(
            f"--unlabelled {config.unlabelled}: holds {len(faces[1])} faces, expected {config.unlabelled_batch} or "
            f"more, as in each batch: give a smaller --batch-size or --unlabelled-share"
        )


def _digest(name):
    return hashlib.sha256(str(name).encode(**TEXT)).digest()
