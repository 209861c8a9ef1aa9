"""Heatmap networks: size, what comes out under any read-out, feature maps, checkpoints, decoders with skips."""

import numpy as np
import pytest
from keras import ops

from kdloss.data.schemes import LandmarkScheme
from kdloss.models import build_model, deployed, feature_maps, observed
from kdloss.models.checkpoint import load_model, save_model
from kdloss.models.heatmaps import argmax_readout, heatmap_spread, integral_readout
from kdloss.models.regressors import HEAD
from tests.models.random_weights import randomise
from tests.training.tiny_chain import ARCH, FAN, SKIPS

SIZE = 64


@pytest.fixture(scope="module")
def efficientfan():
    return build_model("efficientfan-b0", 68, SIZE)


@pytest.fixture(scope="module", params=[FAN, SKIPS])
def tiny(request):
    """A network of five points whose heatmaps differ from each other and from picture to picture."""
    return randomise(build_model(request.param, 5, SIZE))


def images(count=2, size=SIZE):
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3)).astype("float32")


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


def test_parameters_of_the_student(efficientfan):
    # EfficientNet-B0 without its top is 4,049,571; its last convolution, 320 x 1280, and that one's four statistics a
    # channel are left out.
    trunk = 4_049_571 - 320 * 1280 - 4 * 1280
    # Kernels of 4 x 4 without bias, from 320 channels to 128 and twice from 128 to 128, each with four statistics.
    decoder = 4 * 4 * (320 + 128 + 128) * 128 + 3 * 4 * 128
    head = 128 * 68 + 68
    assert trunk + decoder + head == 4_824_807
    assert efficientfan.count_params() == 4_824_807
    assert efficientfan.get_layer(HEAD).output.shape == (None, SIZE // 4, SIZE // 4, 68)
    # Fresh heatmaps are flat, so the points start at the centre of the crop.
    assert np.abs(numbers(efficientfan(images(1)))).max() < 0.1


def test_a_checkpoint_is_read_by_either_readout(tiny, tmp_path):
    path = tmp_path / "best.keras"
    card = {"arch": tiny.name, "dataset": "folder", "image_size": SIZE, "box": "gt:1.25"}
    save_model(path, tiny, card | {"scheme": LandmarkScheme.plain(5).to_json()})
    as_trained, integral, argmax = (load_model(path, *how)[0] for how in ((), ("integral",), ("argmax",)))
    found = numbers(as_trained(images()))
    np.testing.assert_array_equal(found, numbers(tiny(images())))
    np.testing.assert_array_equal(found, numbers(integral(images())))
    logits = observed(tiny, logits=True)(images())["logits"]
    np.testing.assert_allclose(found, numbers(integral_readout(logits)), atol=1e-6)
    expected = numbers(argmax_readout(logits))
    np.testing.assert_allclose(numbers(argmax(images())), expected, atol=1e-6)
    assert np.abs(found - expected).max() > 0.01


@pytest.mark.parametrize(
    ("arch", "layers"),
    [
        # The end of the encoder, and the decoder.
        ("efficientfan-b0", {"block7a_project_bn": 320, "decoder_1": 128, "decoder_2": 128, "decoder_3": 128}),
        # What the decoder takes of the encoder, and its end.
        ("mobilenetv2-0.35-skips", {"skip_32": 64, "skip_16": 64, "skip_8": 32, "decoder_2": 128}),
        # The end of the trunk, and what it makes the next smaller map from: the widened maps before a stride of 2.
        (
            "mobilenetv2-0.35",
            {"out_relu": 1280, "block_13_expand_relu": 192, "block_6_expand_relu": 96, "block_3_expand_relu": 48},
        ),
    ],
)
def test_feature_maps(arch, layers, request):
    model = request.getfixturevalue("efficientfan") if arch == "efficientfan-b0" else build_model(arch, 68, SIZE)
    maps = feature_maps(model)
    assert [tuple(x.shape[1:3]) for x in maps] == [(2, 2), (4, 4), (8, 8), (16, 16)]
    assert {x._keras_history.operation.name: x.shape[3] for x in maps} == layers


@pytest.mark.parametrize("readout", ["integral", "argmax"])
def test_the_network_as_it_is_exported(readout, tiny, tmp_path):
    model = build_model(tiny.name, 5, SIZE, readout=readout)
    model.set_weights(tiny.get_weights())
    exported = deployed(model)
    found = exported(images())
    assert list(found) == ["points", "spread"]
    np.testing.assert_array_equal(numbers(found["points"]), numbers(model(images())))
    logits = observed(model, logits=True)(images())["logits"]
    np.testing.assert_allclose(numbers(found["spread"]), numbers(heatmap_spread(logits)), atol=1e-6)
    assert {id(weight) for weight in exported.weights} == {id(weight) for weight in model.weights}
    # A regressor has no spread.
    assert list(deployed(build_model(ARCH, 5, 32))(images(size=32))) == ["points"]


def test_parameters_of_the_decoder_with_skips():
    # MobileNetV2 without its top has 2,257,984; its last convolution, 320 x 1280, and its statistics are left out.
    trunk = 2_257_984 - 320 * 1280 - 4 * 1280
    # 1x1 convolutions from 320, 96, 32 and 24 channels to 192 in all.
    skips = 320 * 64 + 96 * 64 + 32 * 32 + 24 * 32 + 4 * 192
    # A kernel of 5 x 5 and one of 3 x 3 for each channel, and 1x1 convolutions to 128 and 128.
    decoder = 5 * 5 * 192 + 192 * 128 + 3 * 3 * 128 + 128 * 128 + 2 * 4 * 128
    head = 128 * 68 + 68
    assert trunk + skips + decoder + head == 1_929_156
    assert build_model("mobilenetv2-skips", 68, SIZE).count_params() == 1_929_156
    # Summed, 64 channels of each.
    skips = 64 * (320 + 96 + 32 + 24) + 4 * 4 * 64
    decoder -= 128 * (5 * 5 + 128)
    assert trunk + skips + decoder + head == build_model("mobilenetv2-fpn", 68, SIZE).count_params() == 1_911_620


@pytest.mark.parametrize(
    ("arch", "taken"),
    [
        ("mobilenetv2-skips", ["block_16_project_BN", "block_12_add", "block_5_add", "block_2_add"]),
        ("efficientnet-lite0-skips", ["block15_project_norm", "block10_add", "block4_add", "block2_add"]),
        ("efficientnetb0-skips", ["block7a_project_bn", "block5c_add", "block3b_add", "block2b_add"]),
    ],
)
def test_the_maps_that_a_decoder_with_skips_takes(arch, taken):
    for size in (32, 96):
        network = build_model(arch, 5, size)
        inputs = [network.get_layer(f"skip_{stride}_conv").input for stride in (32, 16, 8, 4)]
        assert [x._keras_history.operation.name for x in inputs] == taken
        assert [x.shape[1:3] for x in inputs] == [(size // stride, size // stride) for stride in (32, 16, 8, 4)]
        assert network.get_layer(HEAD).output.shape == (None, size // 4, size // 4, 5)
