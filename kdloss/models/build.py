"""Builds networks by name."""

import contextlib

import keras
import numpy as np

from kdloss.errors import ConfigError
from kdloss.models.architectures import HEATMAP_NETWORKS, network_of, require_side
from kdloss.models.heatmap_networks import READOUTS, build_heatmap_network
from kdloss.models.locate import find_weights
from kdloss.models.regressors import HEAD, build_regressor
from kdloss.models.weights import load_weights

# With the 0.999 of Keras' MobileNetV2 the moving statistics lag for thousands of steps, and a network that trains well
# evaluates badly.
BATCHNORM_MOMENTUM = 0.9


@contextlib.contextmanager
def dtype_policy(name):
    """Within the block Keras builds networks in this precision, whatever the user's defaults."""
    before = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_floatx(before[1])
        keras.config.set_dtype_policy(before[0])


def build_model(
    arch,
    num_points,
    image_size,
    *,
    weights="none",
    dropout=None,
    mean_shape=None,
    readout="integral",
) -> keras.Model:
    """Builds a landmark network.

    Args:
        arch: one of `kdloss.models.architectures.architecture_names`; it becomes the model's name.
        num_points: N.
        image_size: S, the side of the square input in pixels: even, 32 at least; for heatmap networks a multiple of 32.
        weights: ``"none"`` (random), ``"imagenet"``, ``"imagenet-lite0"`` (only MobileNetV2: selected from
            EfficientNet-Lite0, see `kdloss.models.lite_weights`), a trunk without top (a file ``.h5``, ``.weights.h5``,
            or EfficientNet-Lite's ``.pth``), or a model of this project (a ``.keras``, a run folder, or the name of a
            shipped model), whose head is taken too if it has N points.
        dropout: rate before the last layer; None is the paper's: 0.5 for EfficientNet regressors, 0 for the others.
        mean_shape: (N, 2) unit coordinates at which a regressor's new head starts; training then need not find the mean
            face first. Heatmap networks start at nearly flat heatmaps.
        readout: of heatmap networks: ``"integral"`` or ``"argmax"``, see `kdloss.models.heatmaps`.

    Returns:
        A functional model from images (B, S, S, 3), RGB 0..255, to points (B, N, 2) float32 in unit coordinates of
        the crop, also under mixed precision.

    Raises:
        ConfigError: an unknown name, a value out of range, or weights that are not there.
        CheckpointError: a weights file that is damaged or of another architecture.

    Examples:
        >>> build_model("mobilenetv2", num_points=68, image_size=224).output_shape
        (None, 68, 2)
    """
    # Whatever the user's default: some layers ask for it only when they run.
    keras.config.set_image_data_format("channels_last")
    network = network_of(arch)
    require_side(arch, image_size)
    if type(num_points) is not int or num_points < 1:
        raise ConfigError(f"number of points is {num_points}: expected a whole number, 1 at least")
    if readout not in READOUTS:
        raise ConfigError(f"read-out is {readout!r}: expected {' or '.join(READOUTS)}")
    rate = network.dropout if dropout is None else dropout
    if not 0 <= rate < 1:
        raise ConfigError(f"dropout is {rate}: expected a number from 0 to below 1")
    path = find_weights(weights, *network.imagenet(image_size))
    if arch in HEATMAP_NETWORKS:
        model, trunk = build_heatmap_network(arch, num_points, image_size, rate, readout)
    else:
        model, trunk = build_regressor(arch, num_points, image_size, rate)
        if mean_shape is not None:
            head = model.get_layer(HEAD)
            head.kernel.assign(head.kernel * 0.1)  # at full size it would hide the shape in noise
            head.bias.assign(np.reshape(mean_shape, -1))
    if path is not None:
        load_weights(model, trunk, path)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCHNORM_MOMENTUM
    return model
