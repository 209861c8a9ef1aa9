"""A network's outputs besides its points: feature maps for distillation, heatmaps, and their spread."""

import keras

from kdloss.models.architectures import STRIDES, require_feature_maps
from kdloss.models.heatmap_networks import HeatmapReadout, HeatmapSpread
from kdloss.models.regressors import HEAD


def feature_maps(model):
    """The maps of a network at a 32nd, 16th, 8th and quarter of the image's side.

    For each side this is the last map before the head. In EfficientFAN these are the end of the encoder and the three
    decoder stages (reconstructed); in a decoder with skips what it takes from the encoder, and its end; in regressors
    the maps before each stride of 2.

    Args:
        model: from `kdloss.models.build_model`.

    Returns:
        Four symbolic tensors (None, side, side, channels), the smallest map first.

    Raises:
        ConfigError: the image's side is no multiple of 32.
    """
    size, found = model.input_shape[1], {}
    require_feature_maps(size)
    for layer in model.layers:
        if layer.name in (HEAD, "head_dropout"):
            break
        shape = layer.output.shape
        if len(shape) == 4 and shape[1] == shape[2]:
            found[shape[1]] = layer.output
    return [found[size // stride] for stride in STRIDES]


def observed(model, *, logits=False, maps=False):
    """The same network with more outputs.

    Args:
        model: from `kdloss.models.build_model`.
        logits: whether to yield the logits of its heatmaps, as ``"logits"``.
        maps: whether to yield its `feature_maps`, as ``"maps"``.

    Returns:
        A model from images to a dict that shares every layer with ``model``; the points are its ``"points"``.
    """
    outputs = {"points": model.output}
    if logits:
        outputs["logits"] = model.get_layer(HEAD).output
    if maps:
        outputs["maps"] = feature_maps(model)
    return keras.Model(model.input, outputs, name=model.name)


def deployed(model):
    """The same network with the outputs of its exported files.

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.

    Returns:
        A model from images to a dict that shares every layer with ``model``: ``"points"``, and of a network with
        heatmaps ``"spread"`` (B, N), see `kdloss.models.heatmaps.heatmap_spread`.
    """
    outputs = {"points": model.output}
    for layer in model.layers:
        if isinstance(layer, HeatmapReadout):
            outputs["spread"] = HeatmapSpread(dtype="float32", name="spread")(layer.input)
    return keras.Model(model.input, outputs, name=model.name)
