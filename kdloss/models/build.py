"""Builds networks by name (`build_model`), and handles their batch normalisation."""

import keras
import numpy as np

from kdloss.errors import ConfigError, DataError
from kdloss.models.architectures import HEATMAP_NETWORKS, network_of, require_side
from kdloss.models.heatmap_networks import READOUTS, build_heatmap_network
from kdloss.models.locate import find_weights
from kdloss.models.regressors import HEAD, build_regressor
from kdloss.models.weights import load_weights


def build_model(
    arch,
    num_points,
    image_size,
    *,
    weights="none",
    dropout=None,
    batchnorm_momentum=0.9,
    mean_shape=None,
    readout="integral",
) -> keras.Model:
    """Builds a landmark network.

    Args:
        arch: one of `kdloss.models.architectures.architecture_names`; it becomes the model's name.
        num_points: N.
        image_size: S, the side of the square input in pixels: even, 32 at least; for heatmap networks a multiple of 32.
        weights: ``"none"`` (random), ``"imagenet"``, ``"imagenet-lite0"`` (MobileNetV2 alone: selected from
            EfficientNet-Lite0, see `kdloss.models.lite_weights`), or a file: a trunk without top (``.h5``,
            ``.weights.h5``, EfficientNet-Lite's ``.pth``) or a ``.keras`` of this project, whose head is taken too if
            it has N points.
        dropout: rate before the last layer; None is the paper's: 0.5 for EfficientNet regressors, 0 for the others.
        batchnorm_momentum: of every BatchNormalization layer.
        mean_shape: (N, 2) unit coordinates at which a regressor's new head starts, so that training need not find the
            mean face first. Heatmap networks start at nearly flat heatmaps.
        readout: of heatmap networks: ``"integral"`` or ``"argmax"``, see `kdloss.models.heatmaps`.

    Returns:
        A functional model from images (B, S, S, 3), RGB 0..255, to points (B, N, 2) float32 in unit coordinates of
        the crop, also under mixed precision.

    Raises:
        ConfigError: an unknown name, a value out of range, or weights that are not there.
        CheckpointError: a weights file that is damaged or of another architecture.

    Example:
        >>> build_model("mobilenetv2", num_points=68, image_size=224).output_shape
        (None, 68, 2)
    """
    network = network_of(arch)
    require_side(arch, image_size)
    if not _is_int(num_points) or num_points < 1:
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
            _start_at(model.get_layer(HEAD), mean_shape)
    if path is not None:
        load_weights(model, trunk, path)
    set_batchnorm_momentum(model, batchnorm_momentum)
    return model


def _start_at(head, mean_shape):
    # A kernel at full size would hide the shape in noise.
    head.kernel.assign(head.kernel * 0.1)
    head.bias.assign(np.reshape(mean_shape, -1))


def count_parameters(model) -> int:
    """All parameters, trainable or not, as the papers count them."""
    return int(model.count_params())


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def set_batchnorm_momentum(model, momentum):
    """Sets the momentum of every BatchNormalization layer, nested ones included. It is saved with the model.

    With the 0.999 of Keras' MobileNetV2 the moving statistics lag for thousands of steps, and a network that trains
    well evaluates badly.

    Raises:
        ConfigError: momentum is not in [0, 1).
    """
    if not 0 <= momentum < 1:
        raise ConfigError(f"batchnorm_momentum is {momentum}: expected a number from 0 to below 1, for example 0.9")
    for layer in _layers(model, keras.layers.BatchNormalization):
        layer.momentum = float(momentum)


def recalibrate_batchnorm(model, batches):
    """Replaces the moving statistics by the mean of the statistics of some batches.

    Weights stay as they are, and dropout (drop-connect too) is off, as in evaluation. Frozen layers
    (``trainable=False``) keep their statistics.

    Args:
        model: any keras model.
        batches: iterable of images (B, S, S, 3), 0..255; batches of equal size give an unweighted average.

    Raises:
        DataError: there is no batch.
    """
    norms = [(layer, layer.momentum) for layer in _layers(model, keras.layers.BatchNormalization)]
    dropouts = [(layer, layer.rate) for layer in _layers(model, keras.layers.Dropout)]
    seen = 0
    try:
        for layer, _ in dropouts:
            layer.rate = 0.0
        for images in batches:
            # old * i/(i+1) + new/(i+1) is the running mean; the first batch overwrites the old statistics.
            for layer, _ in norms:
                layer.momentum = seen / (seen + 1)
            model(keras.ops.convert_to_tensor(images, dtype="float32"), training=True)
            seen += 1
    finally:
        for layer, momentum in norms:
            layer.momentum = momentum
        for layer, rate in dropouts:
            layer.rate = rate
    if not seen:
        raise DataError("no batch to re-estimate batch normalisation from: expected at least one batch of images")


def _layers(model, kind):
    # Model.layers stops at nested models; _flatten_layers of keras is private.
    for layer in model.layers:
        if isinstance(layer, kind):
            yield layer
        elif isinstance(layer, keras.Model):
            yield from _layers(layer, kind)
