"""Multiply-accumulates of networks, by hand."""

import pytest
from keras import Input, Model, layers

from kdloss.deploy.networks import count_macs
from kdloss.errors import ConfigError
from kdloss.models import build_model

# A layer on an input of 8 x 8 x 4, and its multiply-accumulates: output (or input) numbers times taps times channels.
BY_HAND = {
    "convolution": (layers.Conv2D(6, 3, padding="same"), 8 * 8 * 6 * (3 * 3 * 4)),
    "strided": (layers.Conv2D(6, (3, 5), strides=2, padding="same"), 4 * 4 * 6 * (3 * 5 * 4)),
    "grouped": (layers.Conv2D(6, 3, groups=2, padding="same"), 8 * 8 * 6 * (3 * 3 * 2)),
    "depthwise": (layers.DepthwiseConv2D(5, strides=2, padding="same"), 4 * 4 * 4 * (5 * 5)),
    "depthwise, multiplied": (layers.DepthwiseConv2D(3, depth_multiplier=2), 6 * 6 * 8 * (3 * 3)),
    "transposed": (layers.Conv2DTranspose(6, 4, strides=2, padding="same"), 8 * 8 * 4 * (4 * 4 * 6)),
    "dense": (layers.Dense(7), 8 * 8 * 4 * 7),
    "normalised": (layers.BatchNormalization(), 0),
}


def _model(*chain, size=8):
    inputs = x = Input((size, size, 4))
    for layer in chain:
        x = layer(x)
    return Model(inputs, x)


@pytest.mark.parametrize("case", BY_HAND)
def test_one_layer_by_hand(case):
    layer, macs = BY_HAND[case]
    assert count_macs(_model(layer)) == macs


@pytest.mark.parametrize("layer", [layers.PReLU(), layers.SeparableConv2D(4, 3)])
def test_unknown_layers_with_weights_are_refused(layer):
    with pytest.raises(ConfigError, match=rf"{layer.name}: .* of {type(layer).__name__} are not known: .*Conv2D"):
        count_macs(_model(layer))


def test_each_use_of_a_layer_counts_at_its_size():
    shared = layers.Conv2D(4, 3, padding="same")
    assert count_macs(_model(shared, layers.AveragePooling2D(2), shared)) == (8 * 8 + 4 * 4) * 4 * (3 * 3 * 4)
    inner = _model(shared)
    assert count_macs(_model(inner, layers.Conv2D(5, 1))) == 8 * 8 * 4 * (3 * 3 * 4) + 8 * 8 * 5 * 4


@pytest.mark.parametrize(("arch", "macs"), [("mobilenetv2-skips", 459_254_656), ("mobilefan", 595_733_376)])
def test_what_decoders_cost_at_224_px(arch, macs):
    assert count_macs(build_model(arch, 68, 224)) == macs
