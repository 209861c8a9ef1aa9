"""What goes into an exported file and comes out of it, the same in every format."""

import numpy as np

from kdloss.errors import ConfigError

IMAGE, POINTS, SPREAD = "image", "points", "spread"
PRECISIONS = ("fp32", "fp16", "int8")


def prepare_export(model, runtime, precision="fp32", representative=None):
    """The network to export, and the images that decide about 8 bits.

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        runtime: for messages.
        precision: one of `PRECISIONS`.
        representative: an iterable of batches of images, or None.

    Returns:
        The network as `kdloss.models.deployed` has it, and a list of images (S, S, 3) float32.

    Raises:
        ConfigError: an unknown precision, ``int8`` without images, or another back end than TensorFlow.
    """
    import keras

    from kdloss.models import deployed

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()}: export to {runtime} needs tensorflow: unset it")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision}: expected one of {', '.join(PRECISIONS)}")
    images = [image.astype(np.float32) for batch in representative or () for image in np.asarray(batch)]
    if precision == "int8" and not images:
        raise ConfigError("precision int8: found no representative images, expected some hundred training crops")
    network = deployed(model)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            # EfficientNet's, held as tensors, which tf2onnx would make inputs of the network; of arrays it makes
            # constants.
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    return network, images


def image_signature(model, batch=None):
    """The signature of a network whose batches have ``batch`` images, or any number."""
    import keras

    return [keras.InputSpec(shape=(batch, *model.input_shape[1:]), dtype="float32", name=IMAGE)]
