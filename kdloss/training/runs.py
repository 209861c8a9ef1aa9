"""Run folders: where results lie, which are finished, and how a command finds the one it needs."""

import itertools
import json
import os
import zipfile
from pathlib import Path

from kdloss.errors import CheckpointError, ConfigError
from kdloss.files import is_held, remove_leftovers, write_whole
from kdloss.machine import environment
from kdloss.training.config import TrainConfig

FINISHED = "finished.json"


def runs_root():
    """The folder of all runs: the environment's ``KDLOSS_RUNS``, or ``runs``."""
    return Path(os.environ.get("KDLOSS_RUNS", "runs"))


def run_folders(name):
    """Yields ``name``, ``name-2``, ``name-3`` ... below `runs_root`; the last that it yields does not exist yet."""
    for number in itertools.count(1):
        folder = runs_root() / (name if number == 1 else f"{name}-{number}")
        yield folder
        if not folder.exists():
            return


def finish(folder, results):
    """Marks a run as finished, with its results, a dict for JSON."""
    write_whole(Path(folder) / FINISHED, json.dumps(results, indent=1), durable=True)


def finished(folder):
    """The results of a finished run, or None."""
    path = Path(folder) / FINISHED
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def find_checkpoint(dataset, role="student", image_size=None, box=None):
    """The ``best.keras`` of the newest finished run.

    Args:
        dataset: name of the data set.
        role: ``student``, ``tough`` or ``tolerant``.
        image_size, box: only runs whose views are like this; None: any.

    Raises:
        ConfigError: there is none; the message says how to train one.
    """
    wanted = (image_size, box)
    for path, seen in _finished_runs(dataset, role):
        if all(value in (None, found) for value, found in zip(wanted, seen, strict=True)):
            return path
    like = " ".join(f"--{name} {value}" for name, value in zip(("image-size", "box"), wanted, strict=True) if value)
    raise ConfigError(_none_found(dataset, role, like))


def find_teachers(dataset):
    """The newest finished tough and tolerant teachers that see views of the same size and box.

    Returns:
        ``{"tough": path, "tolerant": path}``, texts.

    Raises:
        ConfigError: there is no such pair; the message says how to train one.
    """
    tough, tolerant = (_finished_runs(dataset, role) for role in ("tough", "tolerant"))
    for role, runs in (("tough", tough), ("tolerant", tolerant)):
        if not runs:
            raise ConfigError(_none_found(dataset, role))
    for path, seen in tough:
        for other, seen_too in tolerant:
            if seen == seen_too:
                return {"tough": str(path), "tolerant": str(other)}
    raise ConfigError(
        f"{runs_root()}: no tough and tolerant teacher of {dataset} see views of the same size and box: "
        f"train both with the same --image-size and --box"
    )


def _finished_runs(dataset, role):
    """``(best.keras, (image size, box))`` of finished runs, the newest first."""
    found = []
    for marker in runs_root().rglob(FINISHED):
        config, best = marker.with_name("config.json"), marker.with_name("best.keras")
        if config.is_file() and best.is_file():
            try:
                record = json.loads(config.read_text(encoding="utf-8"))
                run, seen = (record["dataset"], record["kind"]), (record["image_size"], record["box"])
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # not a configuration of this project
            if run == (dataset, role):
                found.append((marker.stat().st_mtime, best, seen))
    return [(best, seen) for _, best, seen in sorted(found, key=lambda run: run[0], reverse=True)]


def _none_found(dataset, role, like=""):
    """``like``: the flags of the runs that alone would do."""
    train = "train_student" if role == "student" else f"train_teacher --kind {role}"
    flags = f"--dataset {dataset} {like}".strip()
    return (
        f"{runs_root()}: holds no finished {role} for {dataset}{f' with {like}' if like else ''}: train one with "
        f"python -m kdloss.{train} {flags}, name a checkpoint, or run make demo"
    )


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
