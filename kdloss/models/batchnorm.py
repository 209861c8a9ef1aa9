"""Batch normalisation whose moving statistics can be trusted after a short training."""

import keras

from kdloss.errors import ConfigError, DataError


def set_batchnorm_momentum(model, momentum):
    """Sets the momentum of every BatchNormalization layer, nested ones included. It is saved with the model.

    The 0.999 of keras' MobileNetV2 lets the moving statistics lag for thousands of steps, and a network
    that trains well evaluates badly.

    Raises:
        ConfigError: momentum is not in [0, 1).
    """
    if not 0 <= momentum < 1:
        raise ConfigError(f"batchnorm_momentum is {momentum}: expected a number from 0 to below 1, for example 0.9")
    for layer in _layers(model, keras.layers.BatchNormalization):
        layer.momentum = float(momentum)


def recalibrate_batchnorm(model, batches):
    """Replaces the moving statistics by the average of the statistics of each of the given batches.

    Weights stay as they are, and dropout (drop-connect too) is off, as it will be in evaluation. Layers that are
    frozen (``trainable=False``) keep their statistics.

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
            # old * i/(i+1) + new/(i+1) is the running mean, and the first batch overwrites what was there.
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
