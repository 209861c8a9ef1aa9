"""Batch normalisation by one kernel of the back end, which makes training faster.

Keras 3 computes moments and normalised maps by a dozen operations, forwards and backwards. Each of them reads and
writes all maps, which takes half the time of a MobileNetV2's training step on a CPU. JAX fuses them by itself.
"""

import keras


def fused(model):
    """The same network with the batch normalisation kernel of TensorFlow or PyTorch in training.

    Args:
        model: a functional model.

    Returns:
        A model that shares every layer and variable with ``model`` and computes the same numbers up to rounding;
        ``model`` itself on a back end without such a kernel.
    """
    if keras.backend.backend() not in _KERNELS:
        return model
    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=_call)


def _call(layer, inputs, *args, **kwargs):
    if isinstance(layer, keras.layers.BatchNormalization) and _has_kernel(layer, len(inputs.shape)):
        return FusedBatchNormalization(layer)(inputs)
    return layer(inputs, *args, **kwargs)


def _has_kernel(layer, rank):
    # TensorFlow's kernel for maps (B, C, H, W) exists on GPUs only.
    maps = rank == 4 and (layer.axis in (-1, 3) or keras.backend.backend() == "torch")
    return maps and layer.scale and layer.center and not layer.renorm and not layer.synchronized


class FusedBatchNormalization(keras.layers.Layer):
    """Replaces a `keras.layers.BatchNormalization` of maps and shares its variables.

    Args:
        layer: the layer that it replaces.
    """

    def __init__(self, layer):
        super().__init__(name=f"{layer.name}_fused", dtype=layer.dtype_policy)
        self.layer = layer

    def call(self, inputs, training=None):
        layer = self.layer
        if not (training and layer.trainable):
            return layer(inputs, training=False)
        outputs, mean, unbiased = _KERNELS[keras.backend.backend()](inputs, layer)
        # The kernels give the unbiased variance; Keras stores the biased one.
        count = keras.ops.cast(keras.ops.size(inputs) // layer.gamma.shape[0], "float32")
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, unbiased * (count - 1) / count)):
            moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
        return outputs


def _tensorflow_kernel(inputs, layer):
    import tensorflow as tf

    gamma, beta, nothing = layer.gamma.value, layer.beta.value, tf.zeros(0)
    outputs, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs, scale=gamma, offset=beta, mean=nothing, variance=nothing, epsilon=layer.epsilon, is_training=True
    )
    return outputs, mean, unbiased


def _torch_kernel(inputs, layer):
    import torch

    gamma, beta = layer.gamma.value, layer.beta.value
    mean, unbiased = torch.zeros_like(gamma), torch.zeros_like(gamma)
    # With a momentum of 1 the moving statistics become those of this batch.
    outputs = torch.nn.functional.batch_norm(
        inputs.movedim(layer.axis, 1), mean, unbiased, gamma, beta, training=True, momentum=1.0, eps=layer.epsilon
    )
    return outputs.movedim(1, layer.axis), mean, unbiased


_KERNELS = {"tensorflow": _tensorflow_kernel, "torch": _torch_kernel}
