"""The networks: the sizes that the papers state, what goes in and what comes out."""

import functools

import keras
import numpy as np
import pytest

from kdloss.errors import ConfigError
from kdloss.models import build_model
from kdloss.models.regressors import HEAD
from tests.models.random_weights import randomise
from tests.training.tiny_chain import ARCH, FAN, SKIPS

SMALL = "mobilenetv2-0.35"
built = functools.cache(lambda arch: build_model(arch, 5, 32))


def _images(count, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3)).astype("float32")


@pytest.mark.parametrize(("arch", "parameters"), [("mobilenetv2", 2_432_200), ("efficientnetb3", 10_992_567)])
def test_parameters_are_those_of_the_paper(arch, parameters):
    assert build_model(arch, 68, 64).count_params() == parameters


def test_dropout_is_the_papers_unless_given():
    def rate(model):
        return [layer.rate for layer in model.layers if layer.name == "head_dropout"]

    assert rate(built("efficientnetb0")) == [0.5]
    assert rate(built(SMALL)) == rate(built(FAN)) == []
    assert rate(build_model(FAN, 5, 32, dropout=0.25)) == [0.25]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("resnet", 68, 64), {}, "'resnet'.*mobilenetv2.*efficientnetb7.*efficientfan-b7.*efficientnetb7-skips"),
        ((SMALL, 68, 64.0), {}, "image size is 64.0"),
        (("efficientfan-b0", 68, 100), {}, "image size is 100: expected a multiple of 32 for efficientfan-b0"),
        (("mobilenetv2-skips", 68, 80), {}, "image size is 80: expected a multiple of 32 for mobilenetv2-skips"),
        ((SMALL, 0, 64), {}, "number of points is 0"),
        (("efficientfan-b0", 68, 64), {"readout": "mean"}, "read-out is 'mean': expected integral or argmax"),
        ((SMALL, 68, 64), {"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_wrong_arguments(arguments, options, message):
    with pytest.raises(ConfigError, match=message):
        build_model(*arguments, **options)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize(
    ("arch", "readout"), [(ARCH, "integral"), (FAN, "integral"), (FAN, "argmax"), (SKIPS, "integral")]
)
def test_points_come_out_in_float32(arch, readout, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = build_model(arch, 5, 32, readout=readout)
    finally:
        keras.config.set_dtype_policy("float32")
    assert (model.name, model.input_shape) == (arch, (None, 32, 32, 3))
    assert model.get_layer("conv0" if arch == ARCH else "decoder_1").compute_dtype == policy.removeprefix("mixed_")
    assert model.get_layer(HEAD).compute_dtype == "float32"
    points = model(_images(2, 32))
    assert (points.dtype, points.shape) == ("float32", (2, 5, 2))
    assert np.isfinite(keras.ops.convert_to_numpy(points)).all()


@pytest.mark.parametrize(
    ("arch", "layer", "expected"),
    [
        (SMALL, keras.layers.Rescaling, lambda x: x / 127.5 - 1),
        (
            "efficientnetb0",
            keras.layers.Normalization,
            lambda x: (x / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
        ),
    ],
)
def test_images_are_rescaled_inside(arch, layer, expected):
    model = built(arch)
    scaled = next(x for x in model.layers if isinstance(x, layer)).output
    images = _images(1, 32)
    found = keras.ops.convert_to_numpy(keras.Model(model.input, scaled)(images))
    np.testing.assert_allclose(found, expected(images), atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "readout"), [(ARCH, "integral"), (FAN, "integral"), (FAN, "argmax"), (SKIPS, "integral")]
)
def test_keras_loads_it_safely_and_it_keeps_its_momentum(arch, readout, tmp_path):
    model = randomise(build_model(arch, 7, 64, readout=readout))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert again.name == arch
    norms = [layer for layer in again.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.momentum for layer in norms} == {0.9}
    np.testing.assert_array_equal(again(_images(2, 64)), model(_images(2, 64)))
