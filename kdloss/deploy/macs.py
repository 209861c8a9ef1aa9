"""Multiply-accumulates of a network, counted from the shapes of its layers."""

import itertools
import math

from keras import Model, layers

from kdloss.errors import ConfigError


def count_macs(model) -> int:
    """Multiply-accumulates of one image through a functional model.

    The usual convention: convolutions and dense layers count, bias and element-wise work (activations, sums, pooling,
    scaling) do not. Batch normalisation is 0, as it folds into the convolution before it. A layer that is used twice
    counts twice.

    Raises:
        ConfigError: a layer with weights that is of no known type, or a shape that is not fixed.
    """
    nodes = itertools.chain.from_iterable(model._nodes_by_depth.values())  # Keras has no public way to see all uses
    return sum(_node_macs(node) for node in nodes if getattr(node.operation, "weights", None))


def _node_macs(node):
    layer = node.operation
    if isinstance(layer, Model):
        return count_macs(layer)
    if type(layer) not in _COUNTS:
        raise ConfigError(
            f"layer {layer.name}: multiply-accumulates of {type(layer).__name__} are not known: expected one of "
            f"{', '.join(known.__name__ for known in _COUNTS)}"
        )
    numbers = [tensor.shape[1:] for tensor in (node.input_tensors[0], node.outputs[0])]
    if None in itertools.chain(*numbers):
        raise ConfigError(f"layer {layer.name}: goes from {numbers[0]} to {numbers[1]}: give the model a fixed size")
    return _COUNTS[type(layer)](layer, *map(math.prod, numbers))


# (layer, numbers of one image in its input, in its output) -> multiply-accumulates. Kernels: Conv2D (h, w, in / groups,
# out), DepthwiseConv2D (h, w, in, multiplier), Conv2DTranspose (h, w, out, in), Dense (in, out). A number of the output
# takes one for each tap and channel; in the transposed convolution a number of the input gives that many.
_COUNTS = {
    layers.Conv2D: lambda layer, taken, given: given * math.prod(layer.kernel.shape[:3]),
    layers.DepthwiseConv2D: lambda layer, taken, given: given * math.prod(layer.kernel.shape[:2]),
    layers.Conv2DTranspose: lambda layer, taken, given: taken * math.prod(layer.kernel.shape[:3]),
    layers.Dense: lambda layer, taken, given: given * layer.kernel.shape[0],
    layers.BatchNormalization: lambda layer, taken, given: 0,
    layers.Normalization: lambda layer, taken, given: 0,
}
