"""First weights: ImageNet files as keras publishes them, our own checkpoints, and everything that can be wrong."""

import socket
import time

import h5py
import keras
import numpy as np
import pytest
from keras.src.applications import efficientnet
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from kdloss import pretrained
from kdloss.errors import CheckpointError, ConfigError
from kdloss.models import build_model, locate
from kdloss.models.regressors import HEAD
from tests.models.random_weights import randomise
from tests.training.tiny_chain import ARCH, DEEP, FAN, SKIPS, same

SMALL = "mobilenetv2-0.35"
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
SUFFIXES = (".keras", ".weights.h5", ".h5")


def _write(model, path):
    """As ``save``, as ``save_weights``, or in the layout of the files that keras publishes."""
    if path.name.endswith(".keras"):
        model.save(path)
    elif path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        with h5py.File(path, "w") as file:
            save_weights_to_hdf5_group(file, model)
    return str(path)


def _maps(model, layer="pool"):
    return keras.ops.convert_to_numpy(keras.Model(model.input, model.get_layer(layer).output)(IMAGES))


@pytest.fixture(scope="module")
def published_b0(tmp_path_factory):
    """A stand-in for efficientnetb0_notop.h5: random, but with the normalisation that the real file holds."""
    model = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(32, 32, 3))
    layer = next(x for x in model.layers if isinstance(x, keras.layers.Normalization))
    layer.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
    return _write(model, tmp_path_factory.mktemp("imagenet") / "efficientnetb0_notop.h5")


def test_efficientnet_file_gives_what_keras_gives_for_imagenet(published_b0, monkeypatch):
    monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *args, **kwargs: published_b0)
    reference = keras.applications.EfficientNetB0(include_top=False, input_shape=(32, 32, 3), pooling="avg")
    last = "block7a_project_bn"  # where the encoder of a heatmap network ends
    for arch, layer, expected in (
        ("efficientnetb0", "pool", keras.ops.convert_to_numpy(reference(IMAGES))),
        ("efficientfan-b0", last, _maps(reference, last)),
        ("efficientnetb0-skips", last, _maps(reference, last)),
    ):
        found = _maps(build_model(arch, 5, 32, weights=published_b0), layer)
        assert np.ptp(expected) > 0
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_imagenet_is_taken_from_the_keras_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    file = tmp_path / "models" / "x_notop.h5"
    file.parent.mkdir()
    file.touch()
    assert locate.find_weights("imagenet", "x_notop.h5", "http://127.0.0.1:9/x_notop.h5") == file


def test_mobilenet_file_without_top(tmp_path):
    published = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, include_top=False, weights=None, pooling="avg")
    model = build_model(SMALL, 5, 32, weights=_write(published, tmp_path / "notop.h5"))
    expected = keras.ops.convert_to_numpy(published(IMAGES / 127.5 - 1))
    np.testing.assert_allclose(_maps(model), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("suffix", SUFFIXES[:2])
@pytest.mark.parametrize("arch", [ARCH, FAN, SKIPS])
def test_own_file_gives_all_weights_and_another_head_where_its_own_does_not_fit(arch, suffix, tmp_path):
    mine = randomise(build_model(arch, 5, 32))
    path = _write(mine, tmp_path / f"mine{suffix}")
    np.testing.assert_array_equal(build_model(arch, 5, 32, weights=path)(IMAGES), mine(IMAGES))
    for points, options in ((5, {"image_size": 64, "readout": "argmax"}), (6, {"image_size": 32, "dropout": 0.1})):
        if points == 6 and arch != ARCH and suffix == ".weights.h5":
            continue  # keras numbers the layers in such a file: its encoder alone is not found
        other = build_model(arch, points, weights=path, **options)
        assert other.output_shape == (None, points, 2)
        for layer in mine.layers:
            if points == 5 or layer.name != HEAD:
                assert same(other.get_layer(layer.name).get_weights(), layer.get_weights()), layer.name


def test_another_network_with_the_same_encoder_gives_that(tmp_path):
    source = randomise(build_model(DEEP, 5, 32))
    model = build_model(FAN, 5, 32, weights=_write(source, tmp_path / "deep.keras"))
    shared = {layer.name for layer in source.layers if layer.weights} & {layer.name for layer in model.layers}
    assert shared == {"conv", "norm", HEAD}
    for name in shared:
        taken = same(model.get_layer(name).get_weights(), source.get_layer(name).get_weights())
        assert taken == (name != HEAD), name
    # A heatmap network lacks the end of a regressor's trunk.
    with pytest.raises(CheckpointError, match=f"found a model {FAN}, expected {DEEP}, or one with its encoder"):
        build_model(DEEP, 5, 32, weights=_write(model, tmp_path / "fan.keras"))


@pytest.fixture(scope="module")
def other_files(tmp_path_factory):
    """Suffix -> an intact file of another network."""
    folder, model = tmp_path_factory.mktemp("other"), build_model(ARCH, 5, 32)
    for suffix in SUFFIXES:
        _write(model, folder / f"other{suffix}")
    return {suffix: folder / f"other{suffix}" for suffix in SUFFIXES}


@pytest.mark.parametrize("arch", [DEEP, FAN])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_of_another_architecture(arch, suffix, other_files):
    with pytest.raises(CheckpointError, match=rf"other{suffix}.*{arch}"):
        build_model(arch, 5, 32, weights=str(other_files[suffix]))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0, 0.5])
def test_damaged_file(suffix, share, other_files, tmp_path):
    path, content = tmp_path / f"cut{suffix}", other_files[suffix].read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=rf"cut{suffix}.*(damaged|can't be read)"):
        build_model(ARCH, 5, 32, weights=str(path))


def test_keras_file_that_wants_to_run_code(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x + 1)])
    with pytest.raises(CheckpointError, match=r"lambda\.keras"):
        build_model(ARCH, 5, 32, weights=_write(model, tmp_path / "lambda.keras"))


def test_whatever_names_a_model_names_its_weights(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best.keras").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("run", "run/best.keras", str(tmp_path / "run")):
        assert locate.find_weights(name, "", None).samefile("run/best.keras")
    assert locate.find_weights("mobilenetv2-300w", "", None) == pretrained.path("mobilenetv2-300w")
    with pytest.raises(CheckpointError, match=f"{tmp_path}/best.keras: no such checkpoint"):
        locate.find_weights(str(tmp_path), "", None)


@pytest.mark.parametrize("name", ["absent.h5", "model.onnx", "Imagenet"])
def test_no_such_weights(name, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(ConfigError, match=name):
        build_model(ARCH, 5, 32, weights=str(tmp_path / name))


@pytest.mark.parametrize(
    ("arch", "size", "file"),
    [
        ("mobilenetv2-0.5", 96, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.5_96_no_top.h5"),
        ("efficientnetb3", 112, "efficientnetb3_notop.h5"),
    ],
)
def test_without_a_network_the_message_names_the_file(arch, size, file, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise Exception("URL fetch failure")  # what keras raises

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", refuse)
    named = f"{tmp_path}/models/{file} .*https://storage.googleapis.com/.*--weights FILE"
    with pytest.raises(ConfigError, match=named):
        build_model(arch, 5, size, weights="imagenet")


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
    fresh = build_model(ARCH, 5, 32, mean_shape=shape)
    predicted = keras.ops.convert_to_numpy(fresh(IMAGES))
    np.testing.assert_allclose(predicted, np.stack([shape, shape]), atol=0.12)
    path = _write(fresh, tmp_path / "trained.keras")
    same_head = build_model(ARCH, 5, 32, weights=path, mean_shape=np.zeros((5, 2)))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(same_head(IMAGES)), predicted, atol=1e-5)
    other_head = build_model(ARCH, 7, 32, weights=path, mean_shape=np.full((7, 2), 0.25))
    assert abs(float(keras.ops.convert_to_numpy(other_head(IMAGES)).mean()) - 0.25) < 0.05
