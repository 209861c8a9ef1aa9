"""Run folders: how a run begins and ends in one, and how a command finds the one it needs."""

import contextlib
import dataclasses
import itertools
import json
import os
import zipfile
from pathlib import Path

from kdloss.data.prepared import read_manifest
from kdloss.errors import CheckpointError, ConfigError
from kdloss.evaluation.evaluation import learned_validation
from kdloss.files import held, is_held, read_text, remove_leftovers, replacing, write_whole
from kdloss.machine import environment
from kdloss.training.config import NONE, TrainConfig

CONFIG, FACES, FINISHED = "config.json", "faces.json", "finished.json"
SHAPE = "shape.npz"  # the shape model of soft landmarks
FOLDER = "folder"  # in `FACES`: where the faces were


def runs_root():
    """The folder of all runs: the environment variable ``KDLOSS_RUNS``, or ``runs``."""
    return Path(os.environ.get("KDLOSS_RUNS", "runs"))


def run_folders(name):
    """Yields ``name``, ``name-2``, ``name-3`` ... in `runs_root`, without end."""
    for number in itertools.count(1):
        yield runs_root() / (name if number == 1 else f"{name}-{number}")


def faces_of(config, prepared):
    """The content hashes of the faces that a run learns from, by what they are."""
    faces = {"faces": prepared.manifest["content"]}
    if config.unlabelled not in (NONE, "rest"):
        faces["faces without labels"] = read_manifest(config.unlabelled)["content"]
    return faces


def begun_run(folder):
    """The `TrainConfig` of the run that was begun in a folder, and the folder of its faces: None where it does not say.

    Of folds the first, and of rounds too, with the settings that all of them share. Two times None: there is no run.
    """
    for place in (Path(f"{folder}-round-1"), folder, folder / "fold-1"):
        if (place / CONFIG).is_file():
            faces = _stored_faces(place)
            return dataclasses.replace(_read(place / CONFIG), fold=0), faces and faces.get(FOLDER)
    return None, None


def require_twins(run, twin):
    """Raises `ConfigError` unless the run of the folder ``twin`` has the settings of another, and spared the validation
    faces."""
    settings, others = (dataclasses.asdict(_read(folder / CONFIG)) for folder in (run, twin))
    different = [name for name in settings if settings[name] != others[name] and name != "keep"]
    if different or learned_validation(twin):
        found = f"another {', '.join(different)}" if different else "--keep last"
        raise ConfigError(f"{twin}: found {found}, expected a run with the settings of {run}, but without --keep last")


def lengthen(folder, epochs):
    """Gives the run of a folder, if it has one, more epochs; the learning rate then falls as in a run of so many."""
    if (stored := folder / CONFIG).is_file():
        write_whole(stored, dataclasses.replace(_read(stored), epochs=epochs).to_json())


def check_run_folder(folder, config, resume, prepared=None):
    """Checks that a run may use a folder: a new one, or one with a run of the same settings, which is then continued.

    Args:
        folder: of the run (`pathlib.Path`).
        config: its `TrainConfig`.
        resume: whether the user asked to continue this run. If settings differ, the message is then about them.
        prepared: the `PreparedDataset`, once it is known.

    Raises:
        ConfigError: it holds something else, or a run of other settings or on other faces.
        CheckpointError: its saved state or its results are damaged, or its checkpoint is gone.
    """
    remove_leftovers(folder)
    if (stored := folder / CONFIG).exists():
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
        if prepared and (other := _other_faces(folder, config, prepared)):
            raise ConfigError(f"--out {folder}: holds a run on other {other}: give another folder, or those {other}")
        if finished(folder) and not (folder / "best.keras").is_file():
            raise CheckpointError(f"{folder}: finished, but its best.keras is gone: bring it back, or begin another")
        if (state := folder / "last" / "state.npz").exists() and not zipfile.is_zipfile(state):
            raise CheckpointError(f"{state}: damaged: the run cannot continue: begin another")
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out {folder}: exists and is no run folder: give another")


@contextlib.contextmanager
def open_run_folder(folder, config, prepared, shape=None):
    """Within this context a run's folder is locked. What the run is made of is written at its start.

    Enter it after all checks: a refused run must leave nothing behind.
    """
    # config.json comes first: it marks the folder as a run, so a run that is cut off here can continue.
    contents = {
        CONFIG: config.to_json,
        FACES: lambda: json.dumps(faces_of(config, prepared) | {FOLDER: str(prepared.path.resolve())}, indent=1),
        "environment.json": lambda: json.dumps(environment(), indent=1),
    }
    for name, content in contents.items():
        if not (folder / name).exists():
            write_whole(folder / name, content())
    with held(folder):
        if shape is not None:
            with replacing(folder / SHAPE) as work:
                shape.save(work)
        yield


def is_cut_off(runs, prepared):
    """True if runs of these settings and faces were begun, not all are finished, and no process continues them now.

    ``runs`` are pairs of a folder and its `TrainConfig`.
    """
    begun = [(folder, config) for folder, config in runs if (folder / CONFIG).is_file()]
    try:
        if not begun or all(finished(folder) for folder, _ in runs) or any(is_held(folder) for folder, _ in begun):
            return False
        return not any(
            _read(folder / CONFIG).differences(config) or _other_faces(folder, config, prepared)
            for folder, config in begun
        )
    except (CheckpointError, ConfigError):
        return False


def mark_finished(folder, results):
    """Marks a run as finished, with its results, a dict for JSON."""
    write_whole(Path(folder) / FINISHED, json.dumps(results, indent=1), durable=True)


def finished(folder, epochs=0):
    """The results of a finished run of so many epochs at least, a dict, or None; `CheckpointError` if damaged."""
    path = Path(folder) / FINISHED
    if not path.is_file():
        return None
    try:
        results = dict(json.loads(read_text(path)))
        return results if results["epochs"] >= epochs else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged ({error}): give --out another folder") from error


def find_checkpoint(dataset, kind="student", image_size=None, box=None):
    """The ``best.keras`` of the newest finished run.

    Args:
        dataset: name of the data set.
        kind: ``student``, ``tough`` or ``tolerant``.
        image_size, box: only runs with such views; None: any.

    Raises:
        ConfigError: there is none; the message says how to train one.
    """
    wanted = {"image-size": image_size, "box": box}
    for path, views in _finished_runs(dataset, kind):
        if all(value in (None, found) for value, found in zip(wanted.values(), views, strict=True)):
            return path
    raise _none_found(dataset, kind, " ".join(f"--{name} {value}" for name, value in wanted.items() if value))


def find_teachers(dataset):
    """The newest finished tough and tolerant teachers that see views of the same size and box.

    Returns:
        ``{"tough": path, "tolerant": path}``, the paths as texts.

    Raises:
        ConfigError: there is no such pair; the message says how to train one.
    """
    runs = {kind: _finished_runs(dataset, kind) for kind in ("tough", "tolerant")}
    for kind, found in runs.items():
        if not found:
            raise _none_found(dataset, kind)
    for (tough, views), (tolerant, other_views) in itertools.product(*runs.values()):
        if views == other_views:
            return {"tough": str(tough), "tolerant": str(tolerant)}
    raise ConfigError(
        f"{runs_root()}: no tough and tolerant teacher of {dataset} see views of the same size and box: "
        f"train both with the same --image-size and --box"
    )


def _finished_runs(dataset, kind):
    """``(best.keras, (image size, box))`` of finished runs, the newest first."""
    runs = []
    for marker in runs_root().rglob(FINISHED):
        config, best = marker.with_name(CONFIG), marker.with_name("best.keras")
        if config.is_file() and best.is_file():
            try:
                record = json.loads(config.read_text(encoding="utf-8"))
                run, views = (record["dataset"], record["kind"]), (record["image_size"], record["box"])
                if record.get("fold"):
                    continue  # it has not seen all faces
            except (ValueError, KeyError, TypeError, RecursionError):
                continue  # not a configuration of this project
            if run == (dataset, kind):
                runs.append((marker.stat().st_mtime, best, views))
    return [(best, views) for _, best, views in sorted(runs, key=lambda run: run[0], reverse=True)]


def _none_found(dataset, kind, view_flags=""):
    train = "train_student" if kind == "student" else f"train_teacher --kind {kind}"
    flags = f"--dataset {dataset} {view_flags}".strip()
    alone = "" if kind == "student" else ", or learn without teachers by --method none"
    return ConfigError(
        f"{runs_root()}: holds no finished {kind} for {dataset}{f' with {view_flags}' if view_flags else ''}: train "
        f"one with python -m kdloss.{train} {flags}, or name a checkpoint{alone}"
    )


def _other_faces(folder, config, prepared):
    """What the run in a folder learns from that has other faces now, or None. Older runs do not say."""
    stored = _stored_faces(folder)
    names = faces_of(config, prepared).items() if stored is not None else ()
    return next((name for name, content in names if stored.get(name) != content), None)


def _stored_faces(folder):
    """The content of `FACES`, a dict; None in older runs, which have none."""
    try:
        return dict(json.loads((folder / FACES).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{folder / FACES}: damaged ({error}): give --out another folder") from error


def _read(stored):
    try:
        return TrainConfig.from_json(stored.read_text(encoding="utf-8"))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{stored}: damaged ({error}): give --out another folder") from error
