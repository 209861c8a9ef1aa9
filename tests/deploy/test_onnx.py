"""ONNX files: the same points as the network they were made from, and no worse inside than they say."""

import numpy as np
import pytest

from kdloss.deploy.onnx import OnnxModel, export_onnx
from kdloss.deploy.signature import PRECISIONS
from kdloss.errors import CheckpointError, ConfigError
from kdloss.geometry import BoxPolicy, FaceCrop
from kdloss.models import build_model, deployed
from kdloss.models.regressors import HEAD
from kdloss.prediction import predict_dataset
from kdloss.training.checkpoint import load_model
from tests.models.random_weights import randomise
from tests.training.tiny_chain import FAN, MAPS_SIZE, SIZE

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

BOX = BoxPolicy.parse("gt:1.25")
# Of a pixel of the tiny networks' crops, at most for the regressor and on average for the one with random heatmaps.
MOVES = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.5}
MOVES_OF_MAPS = {"fp32": 1e-3, "fp16": 0.05, "int8": 1.0}


def crops_of(faces, size):
    """(26, size, size, 3) uint8: every face in its own box."""
    boxes = faces.boxes(BOX)
    return np.stack([FaceCrop.from_box(box, size).image(face) for box, face in zip(boxes, faces.faces, strict=True)])


def exported(model, crops, folder):
    """Precision -> file."""
    for precision in PRECISIONS:
        given = {"representative": iter(np.split(crops, 2))} if precision == "int8" else {}
        export_onnx(model, folder / f"{precision}.onnx", precision, **given)
    assert sorted(file.name for file in folder.iterdir()) == ["fp16.onnx", "fp32.onnx", "int8.onnx"]
    return {precision: folder / f"{precision}.onnx" for precision in PRECISIONS}


@pytest.fixture(scope="module")
def model(run):
    return load_model(run)[0]


@pytest.fixture(scope="module")
def crops(faces):
    return crops_of(faces, SIZE)


@pytest.fixture(scope="module")
def files(model, crops, tmp_path_factory):
    return exported(model, crops, tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def fan(tiny_networks):
    """A heatmap network whose points depend on all of the picture."""
    model = randomise(build_model(FAN, 5, MAPS_SIZE))
    head = model.get_layer(HEAD)
    head.kernel.assign(head.kernel * 0.01)  # broad heatmaps: no point hangs on which of two far pixels is the higher
    return model


@pytest.fixture(scope="module")
def fan_files(fan, faces, tmp_path_factory):
    return exported(fan, crops_of(faces, MAPS_SIZE), tmp_path_factory.mktemp("fan"))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_points_are_those_of_the_network(precision, model, files, crops):
    runner = OnnxModel(files[precision])
    assert runner.input_shape == model.input_shape
    assert runner.output_shape == model.output_shape
    found, spread = runner.read(crops)
    assert (found.dtype, spread, runner.card) == (np.float32, None, None)
    assert SIZE * np.abs(found - model.predict_on_batch(crops.astype("float32"))).max() < MOVES[precision]
    assert len(np.unique(found, axis=0)) == len(crops)
    for count in (0, 1, 3):  # any batch, and with any number of threads
        some = OnnxModel(files[precision], threads=2).predict_on_batch(crops[:count])
        np.testing.assert_allclose(some, found[:count], atol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_points_and_spread_of_a_heatmap_network(precision, fan, fan_files, faces):
    images = crops_of(faces, MAPS_SIZE)
    points, spread = OnnxModel(fan_files[precision]).read(images)
    expected = deployed(fan).predict_on_batch(images.astype("float32"))
    assert (spread.dtype, spread.shape) == (np.float32, (len(images), 5))
    assert MAPS_SIZE * np.abs(points - expected["points"]).mean() < MOVES_OF_MAPS[precision]
    assert MAPS_SIZE * np.abs(spread - expected["spread"]).mean() < MOVES_OF_MAPS[precision]
    # Neither is the same for all faces.
    assert MAPS_SIZE * np.std(expected["points"]) > 1
    assert MAPS_SIZE * np.std(expected["spread"]) > 0.5


def test_it_stands_in_a_networks_place(model, files, faces):
    rows = faces.indices("test")
    expected = predict_dataset(model, faces, rows, BOX, 4, flip=True)
    found = predict_dataset(OnnxModel(files["fp32"]), faces, rows, BOX, 4, flip=True)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def values(file):
    """Name -> shape of what a file takes and yields; None for the batch."""
    graph = onnx.load(file).graph
    return {
        value.name: tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.output)
    }


@pytest.mark.parametrize("precision", PRECISIONS)
def test_signature(precision, files, fan_files):
    image = {"image": ("batch", SIZE, SIZE, 3)}
    assert values(files[precision]) == image | {"points": ("batch", 68, 2)}
    fan = {"image": ("batch", MAPS_SIZE, MAPS_SIZE, 3), "points": ("batch", 5, 2), "spread": ("batch", 5)}
    assert values(fan_files[precision]) == fan
    model = onnx.load(fan_files[precision])
    assert {node.domain for node in model.graph.node} == {""}
    assert {entry.domain for entry in model.opset_import} <= {"", "ai.onnx.ml"}


def constants(file):
    """Name -> array."""
    return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(file).graph.initializer}


def test_weights_are_stored_as_said(files):
    assert {array.dtype for array in constants(files["fp32"]).values()} <= {np.dtype(x) for x in ("f4", "i4", "i8")}
    half = constants(files["fp16"])
    assert not [
        name for name, array in half.items() if array.dtype == np.float32 and array.size > 64 and array.ndim > 1
    ]
    assert len([name for name, array in half.items() if array.dtype == np.float16]) == 3  # two convolutions, the head
    whole = constants(files["int8"])
    kernels = {array.shape for array in whole.values() if array.dtype == np.int8 and array.ndim > 1}
    assert kernels == {(8, 3, 3, 3), (16, 8, 3, 3), (16, 136)}
    scales = [len(array) for array in whole.values() if array.dtype == np.float32 and array.ndim == 1]
    assert {8, 16, 136} <= set(scales)  # each channel has its own
    assert not [array for array in whole.values() if array.dtype == np.float32 and array.ndim > 1 and array.size > 64]


def test_in_8_bits_coordinates_are_computed_in_float32(files, fan_files):
    for file, first in ((files["int8"], "GlobalAveragePool"), (fan_files["int8"], "Softmax")):
        inside = [node.op_type for node in onnx.load(file).graph.node]
        assert inside.count("Softmax") <= 1  # of points and spread together
        assert "QuantizeLinear" in inside[: inside.index(first)]
        assert "QuantizeLinear" not in inside[inside.index(first) :]


def test_refused(model, files, tmp_path, monkeypatch):
    path = tmp_path / "a.onnx"
    with pytest.raises(ConfigError, match="precision bf16: expected one of fp32, fp16, int8"):
        export_onnx(model, path, "bf16")
    with pytest.raises(ConfigError, match="precision int8: found no representative images"):
        export_onnx(model, path, "int8")
    with pytest.raises(ConfigError, match="device tpu: expected one of cpu, gpu"):
        OnnxModel(files["fp32"], device="tpu")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ConfigError, match="device gpu: this onnxruntime has no CUDAExecutionProvider: pip install"):
        OnnxModel(files["fp32"], device="gpu")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_none(files, tmp_path):
    whole = files["fp32"].read_bytes()
    for name, content in (("empty", b""), ("text", b"no model"), ("short", whole[: len(whole) // 2])):
        (tmp_path / f"{name}.onnx").write_bytes(content)
    for name in ("absent", "empty", "text", "short"):
        with pytest.raises(CheckpointError, match=rf"{name}\.onnx: no ONNX file, or damaged \([^\n]*export it again$"):
            OnnxModel(tmp_path / f"{name}.onnx")


def test_a_file_of_something_else(files, tmp_path):
    other = onnx.load(files["fp32"])
    onnx.compose.add_prefix(other, "x_", inplace=True)
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(CheckpointError, match="takes and yields x_image, x_points, expected image and points"):
        OnnxModel(tmp_path / "other.onnx")


def test_a_network_that_normalises_takes_nothing_but_images(tmp_path):
    """EfficientNet holds means and variances as tensors, of which tf2onnx would make inputs."""
    model = build_model("efficientnetb0", 5, 32)
    export_onnx(model, tmp_path / "b0.onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    found = OnnxModel(tmp_path / "b0.onnx").predict_on_batch(images)
    assert np.abs(found - model.predict_on_batch(images)).max() < 1e-5
