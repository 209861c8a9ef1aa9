"""Checkpoints: a ``.keras`` file that also holds the model's card.

Loading executes nothing from the file: the network is built by the name in the card, and only arrays are read.
"""

import importlib.util
import json
import warnings
import zipfile

from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import CheckpointError, ConfigError
from kdloss.files import replacing
from kdloss.machine import keras_backend
from kdloss.models.architectures import predicts_heatmaps, require_side
from kdloss.models.card import CARD, archived_card, parsed_card
from kdloss.models.locate import EXPORTED, checkpoint_path

BACKENDS = ("tensorflow", "jax", "torch")
WEIGHTS = "model.weights.h5"  # the archive member in which Keras stores them
_MOST_BYTES = 1 << 30  # of an unpacked checkpoint, twice those of the largest network of Keras


def save_model(path, model, card):
    """Writes a model and its card; the file appears whole or not at all.

    Args:
        path: ends in ``.keras``; Keras itself can load it too, heatmap networks once
            `kdloss.models.heatmap_networks` is imported.
        model: from `kdloss.models.build_model`.
        card: a dict for JSON with at least ``arch``, ``dataset``, ``scheme``, ``image_size``, ``box``.
    """
    with replacing(path, durable=True) as work:
        model.save(work)
        with zipfile.ZipFile(work, "a") as archive:
            archive.writestr(CARD, json.dumps(card, indent=1))


def read_card(path):
    """The card of a checkpoint, a dict.

    Raises:
        CheckpointError: no such file, damaged, or not one of this project's.
    """
    path = checkpoint_path(path)
    try:
        text = archived_card(path)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: damaged, or no checkpoint ({error}): give a .keras file of kdloss, or bring a whole copy"
        ) from error
    if text is None:
        raise CheckpointError(f"{path}: holds no {CARD}, so it is no checkpoint of kdloss: train one first")
    return parsed_card(text, path, "train it again")


def loadable_card(path, readout=None):
    """The card of a checkpoint, after all checks that need no network library.

    Raises:
        CheckpointError, ConfigError: as `load_model`.
    """
    require_backend()
    path = checkpoint_path(path)
    if path.suffix in EXPORTED:
        raise CheckpointError(f"{path}: an exported file, which is run as it is: give the checkpoint it was made from")
    card = read_card(path)
    if readout and not predicts_heatmaps(card["arch"]):
        raise ConfigError(f"--readout {readout}: {path} is a {card['arch']}, which has no heatmaps: leave it out")
    require_side(card["arch"], card["image_size"])
    require_whole(path)
    return card


def require_whole(path):
    """Checks that a ``.keras`` file holds weights and no damaged member; raises `CheckpointError`."""
    try:
        with zipfile.ZipFile(path) as archive:
            archive.getinfo(WEIGHTS)
            size = sum(member.file_size for member in archive.infolist())
            reason = f"{size / 1e6:.0f} MB unpacked" if size > _MOST_BYTES else archive.testzip()
    except Exception as error:  # the archive and the decompressor raise many kinds
        reason = " ".join(str(error).split())[:200]
    if reason:
        raise CheckpointError(f"{path}: its weights do not load ({reason}): bring a whole copy, or train it again")


def load_model(path, readout=None, precision="float32"):
    """Loads a checkpoint.

    Args:
        path: a ``.keras`` file of `save_model`, a run folder that holds ``best.keras``, or a shipped model's name.
        readout: of a heatmap network, see `build_model`; None: the integral, with which it was trained.
        precision: name of Keras' dtype policy in which it computes.

    Returns:
        ``(model, card)``.

    Raises:
        CheckpointError: no such file, damaged, or not one of this project's.
        ConfigError: a read-out of a network that has none.
    """
    path, card = checkpoint_path(path), loadable_card(path, readout)
    from kdloss.models.build import build_model, dtype_policy
    from kdloss.models.weights import require_plain_weights

    num_points = LandmarkScheme.from_json(card["scheme"]).num_points
    with dtype_policy(precision):
        model = build_model(card["arch"], num_points, card["image_size"], **{"readout": readout} if readout else {})
    try:
        # Keras warns about containers without layers; it raises an error for everything that matters.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            require_plain_weights(model, path)
            model.load_weights(path)
    except Exception as error:  # Keras, h5py and the archive raise many kinds
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CheckpointError(f"{path}: its weights do not load ({reason}): train it again") from error
    return model, card


def require_scheme(card, scheme, path):
    """Checks that a checkpoint reads the points of a scheme; raises `CheckpointError`."""
    found = LandmarkScheme.from_json(card["scheme"])
    if found.names != scheme.names:
        raise CheckpointError(
            f"{path}: trained for the {found.num_points} points of scheme {found.name}, expected the "
            f"{scheme.num_points} of scheme {scheme.name}: give a checkpoint of this data set"
        )


def require_backend():
    """Checks that Keras knows its configured back end and that it is installed; raises `ConfigError`."""
    name = keras_backend()
    if name not in BACKENDS:
        raise ConfigError(f"KERAS_BACKEND={name}: expected one of {', '.join(BACKENDS)}")
    if importlib.util.find_spec(name) is None:
        package = name if name == "tensorflow" else f"'kdloss[{name}]'"
        raise ConfigError(f"KERAS_BACKEND={name}: {name} is not installed: pip install {package}, or take another")
