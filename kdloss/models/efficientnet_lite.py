"""EfficientNet-Lite: EfficientNet without squeeze-and-excitation and with ReLU6, for phones and integer arithmetic.

Source: the published configuration of EfficientNet-Lite (Google, 2020): the blocks of EfficientNet-B0, stem and last
convolution of fixed width, first and last stage of fixed depth. Keras' applications do not have it. It is built of the
operations of MobileNetV2, so it costs on a phone or a CPU what MobileNetV2 of its size does.
"""

import math

import keras
from keras import layers

# kernel, stride, expansion, channels, blocks: EfficientNet-B0 (Tan and Le, 2019, table 1).
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
SCALES = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}  # width, depth


def efficientnet_lite_trunk(inputs, number):
    """The trunk from RGB 0..255 to the last feature map, 1280 channels at a 32nd of the image's side.

    Args:
        inputs: (None, S, S, 3) keras tensor.
        number: 0, 1 or 2.
    """
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescale")(inputs)
    x = _convolution(x, 32, 3, 2, "stem")
    blocks = list(block_settings(number))
    for index, (kernel, stride, expansion, channels) in enumerate(blocks):
        x = _block(x, kernel, stride, expansion, channels, f"block{index}")
    x = _convolution(x, 1280, 1, 1, "top")
    return keras.Model(inputs, x)


def block_settings(number):
    """Yields (kernel, stride, expansion, channels) of each block."""
    width, depth = SCALES[number]
    for stage, (kernel, stride, expansion, channels, count) in enumerate(STAGES):
        fixed = stage in (0, len(STAGES) - 1)
        channels = _rounded(channels * width)
        for repeat in range(count if fixed else math.ceil(count * depth)):
            yield kernel, 1 if repeat else stride, expansion, channels


def _rounded(channels):
    """Channels rounded to a multiple of 8, never down by more than a tenth, as in EfficientNet."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _block(x, kernel, stride, expansion, channels, name):
    start = x
    if expansion != 1:
        x = _convolution(x, x.shape[-1] * expansion, 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv")(x)
    x = _norm_relu(x, f"{name}_depthwise")
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_project_norm")(x)
    if stride == 1 and start.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([start, x])
    return x


def _convolution(x, channels, kernel, stride, name):
    x = layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return _norm_relu(x, name)


def _norm_relu(x, name):
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)
