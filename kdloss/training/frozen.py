"""Layers that are not trained: the first ones, whose maps are large and whose ImageNet weights serve faces as well."""

STRIDES = (0, 2, 4, 8, 16)


def freeze(network, stride):
    """Freezes the layers up to the last map at a stride, which then need no gradients; batch normalisation among them
    keeps its statistics.

    Args:
        network: from `kdloss.models.build_model`.
        stride: side of the image over side of the map; 0 leaves all layers as they are.
    """
    size = network.input_shape[1]
    for layer in network.layers:
        shape = layer.output.shape
        # Sides are rounded up; what comes after the first smaller map, a decoder too, is trained.
        if not stride or len(shape) != 4 or shape[1] * stride < size:
            break
        layer.trainable = False
