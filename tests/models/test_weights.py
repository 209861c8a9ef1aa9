"""First weights: ImageNet files as keras publishes them, our own checkpoints, and everything that can be wrong."""

import socket
import time

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import efficientnet
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from kdloss import locate
from kdloss.errors import CheckpointError, ConfigError
from kdloss.models import build_model
from kdloss.models.regressors import HEAD
from tests.models.random_weights import randomise
from tests.training.tiny_chain import FAN, use_tiny_networks

SMALL = "mobilenetv2-0.35"
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")


def _write_legacy(model, path):
    """The layout of the files that keras publishes."""
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)


def _features(model):
    return keras.ops.convert_to_numpy(keras.Model(model.input, model.get_layer("pool").output)(IMAGES))


@pytest.fixture(scope="module")
def published_b0(tmp_path_factory):
    """A stand-in for efficientnetb0_notop.h5: random, but with the normalisation that the real file holds."""
    model = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    layer = next(x for x in model.layers if isinstance(x, keras.layers.Normalization))
    layer.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
    path = tmp_path_factory.mktemp("imagenet") / "efficientnetb0_notop.h5"
    _write_legacy(model, path)
    return path


@pytest.fixture(scope="module")
def imagenet_b0(published_b0):
    return build_model("efficientnetb0", 5, 32, weights=str(published_b0))


def test_efficientnet_file_gives_what_keras_gives_for_imagenet(published_b0, imagenet_b0, monkeypatch):
    monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *args, **kwargs: str(published_b0))
    reference = keras.applications.EfficientNetB0(include_top=False, input_shape=(32, 32, 3), pooling="avg")
    expected = keras.ops.convert_to_numpy(reference(IMAGES))
    np.testing.assert_allclose(_features(imagenet_b0), expected, atol=1e-5 * np.abs(expected).max())


def test_efficientnet_file_fills_the_encoder_of_a_heatmap_network(published_b0, imagenet_b0):
    model = build_model("efficientfan-b0", 5, 32, weights=str(published_b0))
    ours, theirs = (
        keras.ops.convert_to_numpy(keras.Model(x.input, x.get_layer("block7a_project_bn").output)(IMAGES))
        for x in (model, imagenet_b0)
    )
    assert np.ptp(theirs) > 0
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_imagenet_is_taken_from_the_keras_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    file = tmp_path / "models" / "x_notop.h5"
    file.parent.mkdir()
    file.touch()
    assert locate.find_weights("imagenet", "x_notop.h5", "http://127.0.0.1:9/x_notop.h5") == file


def test_mobilenet_file_without_top(tmp_path):
    published = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None, pooling="avg")
    _write_legacy(published, tmp_path / "notop.h5")
    model = build_model(SMALL, 5, 32, weights=str(tmp_path / "notop.h5"))
    expected = keras.ops.convert_to_numpy(published(IMAGES / 127.5 - 1))
    np.testing.assert_allclose(_features(model), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_own_file_gives_the_trunk_and_a_fitting_head(suffix, tmp_path):
    path = tmp_path / f"mine{suffix}"
    mine = build_model(SMALL, 5, 32)
    (mine.save if suffix == ".keras" else mine.save_weights)(path)
    same = build_model(SMALL, 5, 32, weights=str(path))
    np.testing.assert_array_equal(same(IMAGES), mine(IMAGES))
    other = build_model(SMALL, 6, 32, weights=str(path), dropout=0.1)
    assert other.output_shape == (None, 6, 2)
    np.testing.assert_array_equal(_features(other), _features(mine))
    assert build_model(SMALL, 6, 64, weights=str(path)).output_shape == (None, 6, 2)


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_own_file_of_a_heatmap_network_gives_its_heatmaps(suffix, tmp_path, monkeypatch):
    use_tiny_networks(monkeypatch)
    path, images = tmp_path / f"mine{suffix}", np.repeat(np.repeat(IMAGES, 2, axis=1), 2, axis=2)
    mine = build_model(FAN, 5, 64)
    randomise(mine)
    (mine.save if suffix == ".keras" else mine.save_weights)(path)
    np.testing.assert_array_equal(build_model(FAN, 5, 64, weights=str(path))(images), mine(images))


def test_own_normalisation_is_kept_as_the_file_has_it(tmp_path):
    """A trunk trained on plain 0..1 images must go on seeing them."""
    trunk = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    trunk.save_weights(tmp_path / "plain.weights.h5")
    model = build_model("efficientnetb0", 5, 32, weights=str(tmp_path / "plain.weights.h5"))
    expected = keras.ops.convert_to_numpy(trunk(IMAGES))
    np.testing.assert_array_equal(_features(model), expected)
    model.save(tmp_path / "plain.keras")
    again = build_model("efficientnetb0", 5, 32, weights=str(tmp_path / "plain.keras"))
    np.testing.assert_array_equal(again(IMAGES), model(IMAGES))
    np.testing.assert_array_equal(_features(again), expected)


@pytest.fixture(scope="module")
def other_files(tmp_path_factory):
    """Suffix -> an intact file of a network that is not SMALL."""
    model = build_model("mobilenetv2-0.5", 5, 32)
    folder = tmp_path_factory.mktemp("other")
    model.save(folder / "other.keras")
    model.save_weights(folder / "other.weights.h5")
    _write_legacy(model, folder / "other.h5")
    return {suffix: folder / f"other{suffix}" for suffix in (".keras", ".weights.h5", ".h5")}


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
def test_file_of_another_architecture(suffix, other_files):
    with pytest.raises(CheckpointError, match=rf"other{suffix}.*{SMALL}"):
        build_model(SMALL, 5, 32, weights=str(other_files[suffix]))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5", ".h5"])
@pytest.mark.parametrize("cut", [0, 20_000])
def test_damaged_file(suffix, cut, other_files, tmp_path):
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(other_files[suffix].read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=rf"cut{suffix}.*(damaged|can't be read)"):
        build_model("mobilenetv2-0.5", 5, 32, weights=str(path))


def test_keras_file_that_wants_to_run_code(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)])
    model.save(tmp_path / "lambda.keras")
    with pytest.raises(CheckpointError, match=r"lambda\.keras"):
        build_model(SMALL, 5, 32, weights=str(tmp_path / "lambda.keras"))


@pytest.mark.parametrize(("name", "exists"), [("absent.h5", False), ("model.onnx", True), ("Imagenet", False)])
def test_no_such_weights(name, exists, tmp_path):
    if exists:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ConfigError, match=name):
        build_model(SMALL, 5, 32, weights=str(tmp_path / name))


@pytest.mark.parametrize(
    ("arch", "size", "file"),
    [
        ("mobilenetv2", 112, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"),
        ("mobilenetv2-0.5", 96, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.5_96_no_top.h5"),
        ("efficientnetb3", 112, "efficientnetb3_notop.h5"),
    ],
)
def test_without_a_network_the_message_names_the_file(arch, size, file, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise Exception("URL fetch failure")  # what keras raises

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", refuse)
    with pytest.raises(ConfigError) as caught:
        build_model(arch, 5, size, weights="imagenet")
    message = str(caught.value)
    assert f"{tmp_path}/models/{file}" in message
    assert "https://storage.googleapis.com/" in message
    assert "--weights FILE" in message


def test_a_server_that_never_answers_does_not_hang_the_download(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(locate, "_DOWNLOAD_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/x.h5"
        started = time.monotonic()
        with pytest.raises(ConfigError, match=r"x\.h5 is not at"):
            locate.find_weights("imagenet", "x.h5", url)
    assert time.monotonic() - started < 5
    assert socket.getdefaulttimeout() is None
    assert not list((tmp_path / "models").iterdir())


def test_a_head_without_loaded_weights_starts_at_the_mean_shape(tmp_path):
    shape = np.random.default_rng(0).uniform(-0.4, 0.4, (5, 2)).astype("float32")
    fresh = build_model(SMALL, 5, 32, mean_shape=shape)
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    predicted = keras.ops.convert_to_numpy(fresh(images))
    np.testing.assert_allclose(predicted, np.stack([shape, shape]), atol=0.12)
    path = tmp_path / "trained.keras"
    fresh.save(path)
    same_head = build_model(SMALL, 5, 32, weights=str(path), mean_shape=np.zeros((5, 2)))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(same_head(images)), predicted, atol=1e-5)
    other_head = build_model(SMALL, 7, 32, weights=str(path), mean_shape=np.full((7, 2), 0.25))
    assert abs(float(keras.ops.convert_to_numpy(other_head(images)).mean()) - 0.25) < 0.05


@pytest.fixture
def tiny_heatmaps(monkeypatch):
    """A heatmap network with weights like no other's."""
    use_tiny_networks(monkeypatch)
    return randomise(build_model(FAN, 5, 32))


def test_own_file_gives_encoder_decoder_and_a_fitting_head(tiny_heatmaps, tmp_path):
    path = str(tmp_path / "mine.keras")
    tiny_heatmaps.save(path)
    for readout in ("integral", "argmax"):
        for size in (32, 64):
            same = build_model(FAN, 5, size, weights=path, readout=readout)
            for found, expected in zip(same.get_weights(), tiny_heatmaps.get_weights(), strict=True):
                np.testing.assert_array_equal(found, expected)
    other = build_model(FAN, 6, 32, weights=path, dropout=0.1)
    assert other.output_shape == (None, 6, 2)
    for layer in tiny_heatmaps.layers:
        if layer.name != HEAD:
            for found, expected in zip(other.get_layer(layer.name).get_weights(), layer.get_weights(), strict=True):
                np.testing.assert_array_equal(found, expected)


def test_file_of_a_regressor_is_no_heatmap_network(tiny_heatmaps, other_files):
    with pytest.raises(CheckpointError, match=rf"other\.keras: found a model mobilenetv2-0\.5, expected {FAN}"):
        build_model(FAN, 5, 32, weights=str(other_files[".keras"]))
