"""Heatmap networks: an encoder, three upsampling stages, a heatmap for each point, and a read-out to points.

Source: EfficientFAN (Gao et al., TNNLS 2023): EfficientNet-B0 encoder and a decoder of three upsampling layers with
convolutions. Reconstructed from its ancestor MobileFAN and from re-implementations: transposed convolutions of kernel 4
and stride 2 with batch normalisation and ReLU, 128 wide in the student and 256 in larger teachers.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import layers

from kdloss.heatmaps import argmax_readout, heatmap_spread, integral_readout
from kdloss.models.efficientnet_lite import SCALES, efficientnet_lite_trunk
from kdloss.models.regressors import (
    HEAD,
    efficientnet_imagenet,
    efficientnet_lite_imagenet,
    efficientnet_trunk,
    mobilenet_imagenet,
    mobilenet_trunk,
)

READOUTS = {"integral": integral_readout, "argmax": argmax_readout}
STAGES = ("decoder_1", "decoder_2", "decoder_3")


@dataclass(frozen=True)
class HeatmapNetwork:
    """What makes one architecture.

    Args:
        trunk: (input tensor) -> keras model from that input's source to the last feature map.
        encoder_end: name of the trunk's layer whose input the decoder takes: the trunk's own last convolution, four
            times as wide as what it is made from, is left out.
        imagenet: (image size) -> (file name, url) of the ImageNet weights of the trunk, see `Regressor`.
        width: channels of the decoder.
        dropout: default rate before the heatmaps.
    """

    trunk: Callable
    encoder_end: str
    imagenet: Callable
    width: int
    dropout: float = 0.0


@keras.saving.register_keras_serializable("kdloss")
class HeatmapReadout(layers.Layer):
    """Logits (B, side, side, N) -> points (B, N, 2) float32 in unit coordinates.

    Args:
        method: ``"integral"`` or ``"argmax"``, see `kdloss.heatmaps`. It holds no weights: a network that was trained
            with one can be read with the other.
    """

    def __init__(self, method="integral", **kwargs):
        super().__init__(**kwargs)
        self.method = method

    def call(self, logits):
        return READOUTS[self.method](logits)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[3], 2)

    def get_config(self):
        return super().get_config() | {"method": self.method}


@keras.saving.register_keras_serializable("kdloss")
class HeatmapSpread(layers.Layer):
    """Logits (B, side, side, N) -> the spread of each heatmap (B, N) float32, see `kdloss.heatmaps.heatmap_spread`."""

    def call(self, logits):
        return heatmap_spread(logits)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[3])


def build_heatmap_network(arch, num_points, image_size, dropout, readout="integral"):
    """The whole model and its trunk, sharing layers. The layer called `HEAD` yields the logits."""
    network = HEATMAP_NETWORKS[arch]
    inputs = keras.Input((image_size, image_size, 3), name="image", dtype="float32")
    trunk = network.trunk(inputs)
    x = trunk.get_layer(network.encoder_end).input
    for stage in STAGES:
        x = layers.Conv2DTranspose(
            network.width, 4, strides=2, padding="same", use_bias=False, name=f"{stage}_upsample"
        )(x)
        x = layers.BatchNormalization(name=f"{stage}_norm")(x)
        x = layers.ReLU(name=stage)(x)
    if dropout:
        x = layers.SpatialDropout2D(dropout, name="head_dropout")(x)
    # float32 under mixed precision too: the logarithm of a heatmap decides about fractions of a pixel.
    logits = layers.Conv2D(num_points, 1, dtype="float32", name=HEAD)(x)
    points = HeatmapReadout(readout, dtype="float32", name="points")(logits)
    return keras.Model(inputs, points, name=arch), trunk


def _heatmap_networks():
    table = {
        # The encoder of MobileFAN (Gao et al., 2020), EfficientFAN's ancestor.
        "mobilefan": HeatmapNetwork(
            functools.partial(mobilenet_trunk, alpha=1.0),
            "Conv_1",
            functools.partial(mobilenet_imagenet, alpha=1.0),
            width=128,
        )
    }
    for number in SCALES:
        table[f"efficientfan-lite{number}"] = HeatmapNetwork(
            functools.partial(efficientnet_lite_trunk, number=number),
            "top_conv",
            functools.partial(efficientnet_lite_imagenet, number=number),
            width=128,
        )
    for number in range(8):
        table[f"efficientfan-b{number}"] = HeatmapNetwork(
            functools.partial(efficientnet_trunk, number=number),
            "top_conv",
            functools.partial(efficientnet_imagenet, number=number),
            width=256 if number else 128,
        )
    return table


HEATMAP_NETWORKS = _heatmap_networks()
