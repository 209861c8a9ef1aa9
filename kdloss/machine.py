"""The machine: cores, accelerators, Keras' back end, versions; and how to keep network libraries quiet."""

import contextlib
import importlib.abc
import importlib.machinery
import json
import logging
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# Device files of GPUs and TPUs.
_ACCELERATORS = ("nvidia*", "kfd", "dxg", "accel*", "vfio/*")
_PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "opencv-python-headless", "opencv-python", "scikit-learn")
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def usable_cores():
    """The number of cores that this process may use. The machine may have more."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def may_have_accelerator():
    """False if this machine has no accelerator; True if it may have one that the back end can use."""
    return sys.platform != "linux" or any(next(Path("/dev").glob(name), None) for name in _ACCELERATORS)


def keras_backend():
    """The name of Keras' back end, without importing Keras: from the environment, then from Keras' settings file."""
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    try:
        stored = json.loads((home / "keras.json").read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError):
        stored = None
    return os.environ.get("KERAS_BACKEND") or stored or "tensorflow"


def environment():
    """What a network's result depends on besides its configuration: versions, machine, back end, accelerators."""
    import keras

    backend = keras.backend.backend()
    return machine() | {"backend": backend, "accelerators": accelerators()}


def machine():
    """The part of `environment` that needs no network library."""
    return {
        "python": sys.version.split()[0],
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def device_memory():
    """Bytes of the memory of the device that trains; None if the back end does not say."""
    import keras

    if not accelerators():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if keras.backend.backend() != "jax":
        return None
    import jax

    return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")


def quiet_libraries():
    """Makes network libraries that are imported from now on log fatal errors only."""
    if os.environ.setdefault(_LOG_LEVEL, "3") in ("0", "1"):
        return
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if not any(isinstance(finder, _TensorFlowFinder) for finder in sys.meta_path):
        sys.meta_path.insert(sys.meta_path.index(importlib.machinery.PathFinder), _TensorFlowFinder())


@contextlib.contextmanager
def without_messages():
    """Drops all that the block writes to standard error, from C code too. Exceptions still come through."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


class _TensorFlowFinder(importlib.abc.MetaPathFinder):
    """Imports TensorFlow without messages: it writes the first ones before it reads the log level."""

    def find_spec(self, name, path=None, target=None):
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if name == "tensorflow" else None
        if spec:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: without_messages()(execute)(module)
        return spec


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


def accelerators():
    """The names of the accelerators that Keras' back end uses. Starts it."""
    import keras

    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return [device.name for device in tf.config.list_physical_devices("GPU")]
    if backend == "jax":
        import jax

        return [device.device_kind for device in jax.devices() if device.platform != "cpu"]
    import torch

    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
