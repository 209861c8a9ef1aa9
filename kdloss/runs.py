"""Run folders: where results lie, which are finished, and how a command finds the one it needs."""

import importlib.util
import itertools
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from asm.atomic import write_whole
from kdloss.errors import ConfigError

FINISHED = "finished.json"
ACCELERATORS = ("nvidia*", "kfd", "dxg", "accel*", "vfio/*")  # device files of GPUs and TPUs
BACKENDS = ("tensorflow", "jax", "torch")
PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "opencv-python", "scikit-learn")


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


def require_place(path, flag="--out", *, folder=True):
    """Checks that a folder, or else a file, can be made at a path; raises `ConfigError`, which begins with the flag."""
    start = Path(path) if folder else Path(path).parent
    nearest = next(place for place in (start, *start.absolute().parents) if place.exists())
    wrong = "" if nearest.is_dir() else f"{nearest} is no folder"
    wrong = wrong or ("" if folder or not Path(path).is_dir() else "it is a folder, expected the name of a file")
    if wrong := wrong or ("" if os.access(nearest, os.W_OK) else f"{nearest} is protected"):
        raise ConfigError(f"{flag} {path}: cannot be written ({wrong}): give another place")


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


def keras_backend():
    """The name of Keras' back end, found as Keras finds it: in the environment, then in its file of settings."""
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    try:
        stored = json.loads((home / "keras.json").read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError):
        stored = None
    return os.environ.get("KERAS_BACKEND") or stored or "tensorflow"


def require_backend():
    """Checks that Keras' back end is one that it knows, and installed; raises `ConfigError`."""
    name = keras_backend()
    if name not in BACKENDS:
        raise ConfigError(f"KERAS_BACKEND={name}: expected one of {', '.join(BACKENDS)}")
    if importlib.util.find_spec(name) is None:
        raise ConfigError(f"KERAS_BACKEND={name}: {name} is not installed: pip install '.[{name}]', or take another")


def may_have_accelerator():
    """False if this machine has no accelerator; True if it may have one that the back end can use."""
    return sys.platform != "linux" or any(next(Path("/dev").glob(name), None) for name in ACCELERATORS)


def environment():
    """What a network's result depends on besides its configuration: versions, machine, back end, accelerators."""
    import keras

    backend = keras.backend.backend()
    return machine() | {"backend": backend, "accelerators": _accelerators(backend)}


def machine():
    """The part of `environment` that needs no network library."""
    return {
        "python": sys.version.split()[0],
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _accelerators(backend):
    if backend == "tensorflow":
        import tensorflow as tf

        return [device.name for device in tf.config.list_physical_devices("GPU")]
    if backend == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
