"""The folder of a training run before the training: whether it may be used, and what is written first."""

import json
import zipfile

from asm.atomic import is_held, remove_leftovers, write_whole
from kdloss.errors import CheckpointError, ConfigError
from kdloss.runs import environment, finished
from kdloss.training.config import TrainConfig

_CONFIG = "config.json"


def check_run_folder(folder, config, resume):
    """Checks that a run may use a folder: a new one, or that of the same run, which then is gone on with.

    Args:
        folder: of the run (`pathlib.Path`).
        config: its `TrainConfig`.
        resume: whether this run must be meant, so that another one is a mistake of the settings.

    Raises:
        ConfigError: it holds something else, or a run of other settings.
    """
    remove_leftovers(folder)
    if (stored := folder / _CONFIG).exists():
        changed = ", ".join(_read(stored).differences(config))
        if changed and not resume:
            raise ConfigError(
                f"--out {folder}: holds a run of other settings already ({changed} differ): give another folder"
            )
        if changed:
            raise ConfigError(
                f"--resume {folder}: {changed} differ from those the run was started with: leave them out, or start a "
                f"new run"
            )
        if (state := folder / "last" / "state.npz").exists() and not zipfile.is_zipfile(state):
            raise CheckpointError(f"{state}: damaged: the run cannot go on: begin another")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out {folder}: exists and is no run folder: give another")


def is_cut_off(folder, config):
    """True if a path is the folder of a run of these settings that was begun, is not finished, and does not go on."""
    stored = folder / _CONFIG
    if not stored.is_file() or finished(folder) or is_held(folder):
        return False
    try:
        return not _read(stored).differences(config)
    except ConfigError:
        return False


def start_run_folder(folder, config):
    """Writes the settings and the environment, where they are not written yet.

    Only when nothing speaks against the run any more: one that is refused leaves nothing behind.
    """
    # First what says that this is a run, so that a run that is cut off here can go on.
    contents = {_CONFIG: config.to_json, "environment.json": lambda: json.dumps(environment(), indent=1)}
    for name, content in contents.items():
        if not (folder / name).exists():
            write_whole(folder / name, content())


def _read(stored):
    try:
        return TrainConfig.from_json(stored.read_text(encoding="utf-8"))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{stored}: damaged ({error}): give --out another folder") from error
