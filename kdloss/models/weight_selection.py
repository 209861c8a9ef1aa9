"""ImageNet weights for MobileNetV2 from EfficientNet-Lite0, which is a little wider and otherwise alike.

Source: weight selection (Xu et al., Initializing Models with Larger Ones, ICLR 2024): a small network starts from a
choice of the weights of a larger one of its family. Reconstructed, with two changes: channels are chosen by their
importance, not evenly; and surplus blocks start as the identity.

Stem and the first two stages have the same shapes in both networks and are taken as they are. In the four later stages
Lite0 has 40, 80, 112 and 192 channels for MobileNetV2's 32, 64, 96 and 160, and some depthwise kernels of side 5 for 3,
of which the middle is taken. The moving statistics no longer fit where channels are missing: training mends them.
"""

import numpy as np

# Per stage, the blocks of MobileNetV2 (0 is ``expanded_conv``) and those of EfficientNet-Lite0.
_STAGES = (
    ((0,), (0,)),
    ((1, 2), (1, 2)),
    ((3, 4, 5), (3, 4)),
    ((6, 7, 8, 9), (5, 6, 7)),
    ((10, 11, 12), (8, 9, 10)),
    ((13, 14, 15), (11, 12, 13, 14)),
    ((16,), (15,)),
)


def select_mobilenet_weights(trunk, lite):
    """Fills a MobileNetV2 (alpha 1) trunk in place.

    Args:
        trunk: from `kdloss.models.regressors.mobilenet_trunk`.
        lite: layer of EfficientNet-Lite0 -> its arrays, from `kdloss.models.torch_weights.lite_weights`.

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
    """Places of the largest values, in their own order."""
    return np.sort(np.argsort(-values, kind="stable")[:count])


def _set(trunk, name, arrays):
    trunk.get_layer(name).set_weights(arrays)
