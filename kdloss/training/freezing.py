"""Layers that keep their first weights."""

STRIDES = (0, 2, 4, 8, 16)  # of the maps up to which `freeze` can freeze; 0 freezes nothing


def freeze(network, stride):
    """Freezes the layers up to the last map at a stride. They need no gradients, and their batch normalisation keeps
    its statistics.

    Args:
        network: from `kdloss.models.build_model`.
        stride: image side divided by map side; 0 freezes nothing.
    """
    size = network.input_shape[1]
    for layer in network.layers:
        shape = layer.output.shape
        # Map sides are rounded up. Everything after the first smaller map is trained, also a decoder's larger maps.
        if not stride or len(shape) != 4 or shape[1] * stride < size:
            break
        layer.trainable = False
