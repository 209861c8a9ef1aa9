"""Heatmap networks: an encoder, three upsampling stages, a heatmap for each point, and a read-out to points.

Source: EfficientFAN (Gao et al., TNNLS 2023): EfficientNet-B0 encoder and a decoder of three upsampling layers with
convolutions. Reconstructed from its ancestor MobileFAN and from re-implementations: transposed convolutions of kernel 4
and stride 2 with batch normalisation and ReLU, 128 wide in the student and 256 in larger teachers.
"""

import keras
from keras import layers

from kdloss.models.architectures import HEATMAP_NETWORKS
from kdloss.models.heatmaps import argmax_readout, heatmap_spread, integral_readout
from kdloss.models.regressors import HEAD

READOUTS = {"integral": integral_readout, "argmax": argmax_readout}
STAGES = ("decoder_1", "decoder_2", "decoder_3")


@keras.saving.register_keras_serializable("kdloss")
class HeatmapReadout(layers.Layer):
    """Logits (B, side, side, N) -> points (B, N, 2) float32 in unit coordinates.

    Args:
        method: ``"integral"`` or ``"argmax"``, see `kdloss.models.heatmaps`. The layer has no weights, so a network
            that was trained with one can be read with the other.
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
    """Logits (B, side, side, N) -> the spread of each heatmap (B, N) float32, see `heatmap_spread`."""

    def call(self, logits):
        return heatmap_spread(logits)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[3])


def build_heatmap_network(arch, num_points, image_size, dropout, readout="integral"):
    """The whole model, and its trunk with the same layers. The layer called `HEAD` yields the logits."""
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
