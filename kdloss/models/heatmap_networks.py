"""Heatmap networks: an encoder, a decoder to a quarter of the image's side, a heatmap for each point, and a read-out.

The papers' decoder is that of EfficientFAN (Gao et al., TNNLS 2023): three upsampling layers with convolutions.
Reconstructed from its ancestor MobileFAN and from re-implementations: transposed convolutions of kernel 4 and stride 2
with batch normalisation and ReLU, 128 wide in the student and 256 in larger teachers.

The decoder of the ``-skips`` networks is ours, after H3R (Yu and Tao, TPAMI 2021). It joins maps of the encoder from
four strides: early maps know where a point is, late ones which. It has fewer parameters and operations. The ``-fpn``
networks sum these maps, as feature pyramids do (Lin et al., CVPR 2017). Their wide depthwise convolution then sees a
third of the channels: in 8 bits that convolution is slow.
"""

import keras
from keras import layers

from kdloss.models.architectures import HEATMAP_NETWORKS, STRIDES
from kdloss.models.heatmaps import argmax_readout, heatmap_spread, integral_readout
from kdloss.models.regressors import HEAD

READOUTS = {"integral": integral_readout, "argmax": argmax_readout}


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
    end = trunk.get_layer(network.encoder_end).input
    x = _joined(_narrow_maps(trunk, end), network) if network.skips else _upsampled(end, network)
    if dropout:
        x = layers.SpatialDropout2D(dropout, name="head_dropout")(x)
    # float32 under mixed precision too: the logarithm of a heatmap decides about fractions of a pixel.
    logits = layers.Conv2D(num_points, 1, dtype="float32", name=HEAD)(x)
    points = HeatmapReadout(readout, dtype="float32", name="points")(logits)
    return keras.Model(inputs, points, name=arch), trunk


def _upsampled(x, network):
    for stage in ("decoder_1", "decoder_2", "decoder_3"):
        x = layers.Conv2DTranspose(
            network.width, 4, strides=2, padding="same", use_bias=False, name=f"{stage}_transposed"
        )(x)
        x = _norm_relu(x, stage)
    return x


def _narrow_maps(trunk, end):
    """The maps of an encoder at `STRIDES`: its end, and before that the last sum of a block and its input.

    Blocks sum narrow maps; those within a block are six times as wide.
    """
    last = {layer.output.shape[1]: layer.output for layer in trunk.layers if isinstance(layer, layers.Add)}
    return [end, *(last[end.shape[1] * STRIDES[0] // stride] for stride in STRIDES[1:])]


def _joined(maps, network):
    same_side = []
    for x, channels, stride in zip(maps, network.skips, STRIDES, strict=True):
        x = layers.Conv2D(channels, 1, use_bias=False, name=f"skip_{stride}_conv")(x)
        x = layers.BatchNormalization(name=f"skip_{stride}")(x)
        if (factor := stride // STRIDES[-1]) > 1:
            x = layers.UpSampling2D(factor, interpolation="bilinear", name=f"skip_{stride}_upsample")(x)
        same_side.append(x)
    join = layers.Add if network.summed else layers.Concatenate
    x = join(name="skips_joined")(same_side)
    x = layers.ReLU(name="skips")(x)
    for stage, kernel in (("decoder_1", 5), ("decoder_2", 3)):
        x = layers.DepthwiseConv2D(kernel, padding="same", use_bias=False, name=f"{stage}_depthwise")(x)
        x = layers.Conv2D(network.width, 1, use_bias=False, name=f"{stage}_conv")(x)
        x = _norm_relu(x, stage)
    return x


def _norm_relu(x, name):
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.ReLU(name=name)(x)
