"""Checkpoints: a ``.keras`` file that also holds a card (what the model is), and the state a run resumes from.

Nothing that is loaded can execute code: the network is built by name from the card, and only arrays are read.
"""

import json
import warnings
import zipfile

import keras
import numpy as np

from asm.atomic import replacing
from kdloss.cards import CARD, checked_card
from kdloss.errors import CheckpointError, ConfigError
from kdloss.locate import EXPORTED, checkpoint_path
from kdloss.models import build_model, predicts_heatmaps
from kdloss.schemes import LandmarkScheme


def save_model(path, model, card):
    """Writes a model and its card; the file appears whole or not at all.

    Args:
        path: ends in ``.keras``; Keras itself can load it too, heatmap networks once ``kdloss.models`` is imported.
        model: from `kdloss.models.build_model`.
        card: a dict for JSON with at least ``arch``, ``dataset``, ``scheme``, ``image_size``, ``box``.
    """
    with replacing(path) as work:
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
        with zipfile.ZipFile(path) as archive:
            card = json.loads(archive.read(CARD))
    except KeyError:
        raise CheckpointError(f"{path}: holds no {CARD}, so it is no checkpoint of kdloss: train one first") from None
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise CheckpointError(
            f"{path}: damaged, or no checkpoint ({error}): give a .keras file of kdloss, or bring a whole copy"
        ) from error
    return checked_card(card, path, "train it again")


def load_model(path, readout=None):
    """Loads a checkpoint.

    Args:
        path: a ``.keras`` file of `save_model`, a run folder that holds ``best.keras``, or a shipped model's name.
        readout: of a heatmap network, see `build_model`; None: the integral, with which it was trained.

    Returns:
        ``(model, card)``.

    Raises:
        CheckpointError: no such file, damaged, or not one of this project's.
        ConfigError: a read-out of a network that has none.
    """
    path = checkpoint_path(path)
    if path.suffix in EXPORTED:
        raise CheckpointError(f"{path}: an exported file, which is run as it is: give the checkpoint it was made from")
    card = read_card(path)
    if readout and not predicts_heatmaps(card["arch"]):
        raise ConfigError(f"--readout {readout}: {path} is a {card['arch']}, which has no heatmaps: leave it out")
    num_points = LandmarkScheme.from_json(card["scheme"]).num_points
    model = build_model(card["arch"], num_points, card["image_size"], **{"readout": readout} if readout else {})
    try:
        # Keras warns about its own containers where layers are missing; what matters it raises as an error.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            model.load_weights(path)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: its weights do not load ({error}): train it again") from error
    return model, card


def require_scheme(card, scheme, path):
    """Checks that a checkpoint reads the points of a scheme.

    Raises:
        CheckpointError: it was trained for another.
    """
    found = LandmarkScheme.from_json(card["scheme"])
    if found.names != scheme.names:
        raise CheckpointError(
            f"{path}: trained for the {found.num_points} points of scheme {found.name}, expected the "
            f"{scheme.num_points} of scheme {scheme.name}: give a checkpoint of this data set"
        )


def save_state(path, variables, progress):
    """Writes everything a run resumes from into one file, which appears whole or not at all.

    Args:
        path: the ``.npz`` file.
        variables: Keras variables: weights, seed generators and optimizer, in a fixed order.
        progress: a dict for JSON: epoch, best score and so on.
    """
    arrays = {f"v{i:05d}": keras.ops.convert_to_numpy(variable) for i, variable in enumerate(variables)}
    with replacing(path) as work:
        np.savez(work, progress=np.array(json.dumps(progress)), **arrays)


def load_state(path, variables):
    """Reads `save_state`'s file back into the variables; returns the progress.

    Raises:
        CheckpointError: damaged, or the variables are others.
    """
    try:
        # np.load leaves a damaged file open; opened here, it is closed.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            progress = json.loads(str(file["progress"]))
            arrays = [file[f"v{i:05d}"] for i in range(len(file.files) - 1)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: damaged ({error}): start the run anew without --resume") from error
    shapes = [tuple(array.shape) for array in arrays]
    if shapes != [tuple(variable.shape) for variable in variables]:
        raise CheckpointError(f"{path}: holds the state of another network: start the run anew without --resume")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return progress
