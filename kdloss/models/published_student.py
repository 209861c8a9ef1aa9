"""The students that the authors of KD-Loss published, as legacy Keras ``.h5`` files.

Certain, from the authors' code: MobileNetV2 (alpha 1), global average pooling and a linear ``Dense(2 N)`` named
``O_L``; images 224 x 224 RGB divided by 255; labels ((112 - x) / 224, (112 - y) / 224), interleaved x, y, of points in
pixels of that crop. Their 300-W test crops are `BoxPolicy` ``paper``: ground-truth box + 10 px, stretched to a square.
"""

import contextlib
from pathlib import Path

import h5py
import numpy as np

from kdloss.data.hdf5 import require_plain
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import CheckpointError
from kdloss.models.locate import PUBLISHED_STUDENT

SIZE = 224

_LEGACY_HEAD = "O_L"
_FEATURES = 1280  # that MobileNetV2 pools
_MOST_BYTES = 256 << 20  # of its arrays, and those of an optimizer
_MAX_POINTS = 1000  # far more than any scheme has; a kernel of this size still fits into memory
_EXPECTED = f"expected the authors' MobileNetV2 (alpha 1) with last layer {_LEGACY_HEAD}"


def load_published_student(path):
    """Loads a student that the authors published, or one that their code trained.

    Only arrays are read, by the names of the layers. The network that the file describes is not built, nothing in it is
    executed, and no other file is opened. The weights of the last layer are changed to undo the label convention:
    x = 112 - 224 o for an output o, so in unit coordinates (x + 0.5) / 224 - 0.5 = -o + 0.5 / 224.

    Args:
        path: an ``.h5`` that Keras 2 wrote with ``save`` or ``save_weights``, the trunk flat or nested as a model.

    Returns:
        A model from images (B, 224, 224, 3), RGB 0..255, to points (B, N, 2) float32 in unit coordinates of the crop.
        It is that of `build_model`, except for the scale of the images.

    Raises:
        CheckpointError: the file is damaged or keeps numbers in another file, or a layer is missing, of another shape
            or not part of this network.
    """
    with _arrays(path) as arrays:
        return _load(path, arrays)


def published_card(path):
    """The card of a student that the authors published, a dict as `kdloss.models.checkpoint.read_card` returns it.

    Its scheme numbers the points, because the file does not name them. No network library is imported.

    Args:
        path: see `load_published_student`. Of its errors only those of the file and of the last layer are raised.
    """
    with _arrays(path) as arrays:
        scheme = LandmarkScheme.plain(_num_points(path, arrays))
    facts = {"arch": "mobilenetv2", "kind": PUBLISHED_STUDENT, "image_size": SIZE, "box": "paper"}
    return facts | {"scheme": scheme.to_json()}


@contextlib.contextmanager
def _arrays(path):
    """Within this context a file is open; yields its `_datasets`."""
    path = Path(path)
    try:
        with h5py.File(path) as file:
            yield _datasets(path, file)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file: give the .h5 of a published student") from None
    except CheckpointError:
        raise
    except Exception as error:  # damaged structures make h5py raise anything
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: damaged, or no HDF5 file ({reason}): bring a whole copy") from error


def _load(path, arrays):
    from kdloss.models.build import build_model, dtype_policy
    from kdloss.models.regressors import HEAD

    with dtype_policy("float32"):
        model = build_model("mobilenetv2", _num_points(path, arrays), SIZE)
    rescale = model.get_layer("rescale")
    rescale.scale, rescale.offset = 1 / 255, 0.0
    layers = {_LEGACY_HEAD if layer.name == HEAD else layer.name: layer for layer in model.layers if layer.weights}
    found = _by_layer(path, arrays, layers)
    for name, layer in layers.items():
        weights = [_read(path, found, name, _legacy_name(layer, weight), weight.shape) for weight in layer.weights]
        if layer.name == HEAD:
            kernel, bias = weights
            weights = [-kernel, 0.5 / SIZE - bias]
        layer.set_weights(weights)
    return model


def _datasets(path, file):
    """Path inside the file -> dataset, of the weights only; ``model.save`` also writes those of the optimizer.

    Links out of the file and datasets stored elsewhere, which Keras never writes, are refused before any is followed.
    """
    try:
        require_plain(file, _MOST_BYTES)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}: bring a file as Keras writes it") from error
    weights = file.get("model_weights", file)
    if not isinstance(weights, h5py.Group):
        raise CheckpointError(f"{path}: model_weights is no group of layers: {_EXPECTED}")
    arrays = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            arrays[name] = item

    weights.visititems(collect)
    return arrays


def _num_points(path, arrays):
    kernels = [item for name, item in arrays.items() if _split(name, {_LEGACY_HEAD}) == (_LEGACY_HEAD, "kernel")]
    if not kernels:
        layers = list(dict.fromkeys(name.split("/")[0] for name in arrays))
        found = f"{', '.join(layers[:3])}, ..." if layers else "no weights"
        raise CheckpointError(f"{path}: has no layer {_LEGACY_HEAD} (found: {found}): {_EXPECTED}")
    shape = kernels[0].shape
    # Checked before the network is built, which allocates as many outputs as the file says.
    if not shape or len(shape) != 2 or shape[0] != _FEATURES or shape[1] not in range(2, 2 * _MAX_POINTS + 1, 2):
        raise CheckpointError(
            f"{path}: layer {_LEGACY_HEAD} has a kernel of shape {shape}, expected ({_FEATURES}, 2 N), an x and a y a "
            f"point, of {_MAX_POINTS} points at most"
        )
    return shape[1] // 2


def _by_layer(path, arrays, layers):
    """(layer, weight) -> dataset."""
    found = {}
    for name, item in arrays.items():
        key = _split(name, layers)
        if key is None or key in found:
            raise CheckpointError(f"{path}: layer {name!r} is {'there twice' if key else 'not expected'}: {_EXPECTED}")
        found[key] = item
    return found


def _split(name, layers):
    """The layer and the weight of ``group/.../layer/weight:0``, or None.

    The innermost group that is a layer's name counts: a trunk that is nested as a model lies one group deeper, and
    graphs of TensorFlow 1 number the scope again (``Conv1/Conv1_1/kernel:0``).
    """
    *groups, weight = name.split("/")
    layer = next((group for group in reversed(groups) if group in layers), None)
    return None if layer is None else (layer, weight.partition(":")[0])


def _legacy_name(layer, weight):
    import keras

    return "depthwise_kernel" if isinstance(layer, keras.layers.DepthwiseConv2D) else weight.name


def _read(path, found, layer, weight, shape):
    item = found.get((layer, weight))
    if item is None:
        raise CheckpointError(f"{path}: layer {layer} has no {weight}: {_EXPECTED}")
    if item.shape != tuple(shape) or item.dtype.kind != "f":
        raise CheckpointError(
            f"{path}: layer {layer}: {weight} is {item.dtype} {item.shape}, expected float {tuple(shape)}: {_EXPECTED}"
        )
    array = item[()]
    if not np.isfinite(array).all():
        raise CheckpointError(f"{path}: layer {layer}: {weight} holds NaN or infinite numbers: bring a whole copy")
    return array
