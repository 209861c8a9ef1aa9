"""Loads a network's first weights from a file that `kdloss.models.locate.find_weights` found."""

import io
import math
import warnings
import zipfile

import h5py
import keras
import numpy as np

from kdloss.data.hdf5 import require_plain
from kdloss.errors import CheckpointError
from kdloss.models.checkpoint import WEIGHTS
from kdloss.models.lite_weights import load_lite_weights
from kdloss.models.regressors import HEAD, IMAGENET_STD, standardise

_SPARE = 1 << 20  # bytes, of numbers that are no weights


def load_weights(model, trunk, path):
    """Fills a fresh model in place.

    Args:
        model: from `kdloss.models.build_model`.
        trunk: its part without the head.
        path: from `kdloss.models.locate.find_weights`.

    Raises:
        CheckpointError: the file is damaged or of another architecture.
    """
    if path.suffix == ".keras":
        _copy_checkpoint(model, trunk, path)
    elif path.suffix == ".pth":
        load_lite_weights(model, trunk, path)
    else:
        _load_h5(model, trunk, path)


def require_plain_weights(model, path):
    """Checks the weights in a ``.keras`` file before one is read; a `ValueError` if Keras writes no such file."""
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read(WEIGHTS))
    with h5py.File(content) as file:
        require_plain(file, _most_bytes(model))


def _most_bytes(model):
    """For each weight a number, and those of an optimizer beside it."""
    return _SPARE + 16 * sum(math.prod(weight.shape) for weight in model.weights)


def _load_h5(model, trunk, path):
    try:
        try:
            with h5py.File(path) as file:
                require_plain(file, _most_bytes(model))
        except ValueError as error:
            raise CheckpointError(f"{path}: {error}: bring weights as Keras writes them") from error
        # Keras warns about containers without layers; it raises an error for everything that matters.
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            (model if _holds_head_of(model, path) else trunk).load_weights(path)
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file makes Keras and h5py raise anything
        raise CheckpointError(
            f"{path}: damaged, or not the weights of {model.name}; expected a file of this architecture "
            f"without its classifier (notop), or one this project wrote"
        ) from error
    _mend_normalisation(trunk)


def _holds_head_of(model, path):
    if not path.name.endswith(".weights.h5"):
        return False
    head = model.get_layer(HEAD)
    # Keras 3 numbers layers by class in these files, and the head is the last of its class.
    name, earlier = type(head).__name__.lower(), sum(type(layer) is type(head) for layer in model.layers) - 1
    with h5py.File(path) as file:
        kernel = file.get(f"layers/{name}_{earlier}/vars/0" if earlier else f"layers/{name}/vars/0")
        return kernel is not None and kernel.shape == tuple(head.kernel.shape)


def _mend_normalisation(trunk):
    for layer in trunk.layers:
        if isinstance(layer, keras.layers.Normalization):
            variance = keras.ops.convert_to_numpy(layer.adapt_variance).ravel()
            # Keras' ImageNet files hold the standard deviation here; all other files hold the variance.
            if np.allclose(variance, IMAGENET_STD, atol=1e-4):
                standardise(trunk)
            layer.finalize_state()


def _copy_checkpoint(model, trunk, path):
    try:
        require_plain_weights(model, path)
        source = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise CheckpointError(
            f"{path}: can't be read as a .keras model ({' '.join(str(error).split())[:200]})"
        ) from error
    ours, theirs = _weighted_layers(model), _weighted_layers(source)
    head, other_head = ours.pop(HEAD, None), theirs.pop(HEAD, None)
    pairs = list(zip(ours.values(), theirs.values(), strict=False))
    if len(ours) != len(theirs) or not _alike(pairs):
        # Another decoder, perhaps behind the same encoder.
        names, other_head = {layer.name for layer in trunk.layers}, None
        pairs = [(layer, theirs.get(name)) for name, layer in ours.items() if name in names]
    if not pairs or not _alike(pairs):
        wrong = f"found a model {source.name}, expected {model.name}, or one with its encoder"
        raise CheckpointError(f"{path}: {wrong}: use the same --arch")
    for layer, other in pairs:
        layer.set_weights(other.get_weights())
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()
    if other_head and _shapes(head) == _shapes(other_head):
        head.set_weights(other_head.get_weights())


def _weighted_layers(model):
    return {layer.name: layer for layer in model.layers if layer.weights}


def _alike(pairs):
    return all(other is not None and _shapes(layer) == _shapes(other) for layer, other in pairs)


def _shapes(layer):
    return [tuple(weight.shape) for weight in layer.weights]
