"""LiteRT and ONNX files: the same points as the network that they are made from, weights as stated, refusals."""

import keras
import numpy as np
import pytest

from kdloss.deploy.exported_files import PRECISIONS, image_signature
from kdloss.deploy.onnx import export_onnx
from kdloss.errors import CheckpointError
from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.onnx_reader import OnnxModel
from kdloss.models import build_model, deployed
from kdloss.models.regressors import HEAD
from tests.deploy.conftest import crops_of, export
from tests.models.random_weights import randomise
from tests.training.tiny_chain import FAN, MAPS_SIZE, SIZE, SKIPS

interpreter = pytest.importorskip("ai_edge_litert.interpreter")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

RUNNERS = {"litert": LiteRTModel, "onnx": OnnxModel}
# Pixels of the tiny networks' crops: at most for the regressor, on average for the network with random heatmaps.
MOVES = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.5}
MOVES_OF_MAPS = {"fp32": 1e-3, "fp16": 0.05, "int8": 1.0}
forms = pytest.mark.parametrize("form", RUNNERS)
precisions = pytest.mark.parametrize("precision", PRECISIONS)


@forms
@precisions
def test_the_points_are_those_of_the_network(form, precision, student, exported, faces):
    model, crops, runner = student[0], crops_of(faces, SIZE), RUNNERS[form](exported(form, precision))
    assert (runner.input_shape, runner.output_shape) == (model.input_shape, model.output_shape)
    found, spread = runner.read(crops)
    assert (found.dtype, spread, runner.card) == (np.float32, None, None)
    assert SIZE * np.abs(found - model.predict_on_batch(crops.astype("float32"))).max() < MOVES[precision]
    assert len(np.unique(found, axis=0)) == len(crops)
    for count in (0, 1, 3):  # any batch, and with any number of threads
        some = RUNNERS[form](exported(form, precision), threads=2).predict_on_batch(crops[:count])
        np.testing.assert_allclose(some, found[:count], atol=1e-6)


@pytest.fixture(scope="module", params=[(FAN, 1e-2), (SKIPS, 1.5e-4)], ids=[FAN, SKIPS])
def fan(tiny_networks, request):
    """A heatmap network whose points depend on the whole picture."""
    arch, share = request.param
    model = randomise(build_model(arch, 5, MAPS_SIZE))
    head = model.get_layer(HEAD)
    head.kernel.assign(head.kernel * share)  # broad heatmaps, so that rounding cannot move a peak far
    return model


@forms
@pytest.mark.parametrize("precision", ["fp32", *(pytest.param(p, marks=pytest.mark.slow) for p in PRECISIONS[1:])])
def test_a_heatmap_network_yields_points_and_spread(form, precision, fan, faces, tmp_path):
    """Also in 8 bits: a read-out in 8 bits would round small masses to 0, and be off by half the crop."""
    crops = crops_of(faces, MAPS_SIZE)
    file = export(form, fan, tmp_path / "fan", precision, crops)
    expected = deployed(fan).predict_on_batch(crops.astype("float32"))
    points, spread = RUNNERS[form](file).read(crops)
    assert (spread.dtype, spread.shape) == (np.float32, (len(crops), 5))
    assert MAPS_SIZE * np.abs(points - expected["points"]).mean() < MOVES_OF_MAPS[precision]
    assert MAPS_SIZE * np.abs(spread - expected["spread"]).mean() < MOVES_OF_MAPS[precision]
    # Both differ from face to face.
    assert MAPS_SIZE * np.std(expected["points"]) > 1
    assert MAPS_SIZE * np.std(expected["spread"]) > 0.5
    if form == "litert":
        signature = {"serving_default": {"inputs": ["image"], "outputs": ["points", "spread"]}}
        assert interpreter.Interpreter(str(file), num_threads=1).get_signature_list() == signature
    else:
        fields = {"image": ("batch", MAPS_SIZE, MAPS_SIZE, 3), "points": ("batch", 5, 2), "spread": ("batch", 5)}
        assert onnx_signature(file) == fields
    # The whole read-out, which points and spread share, is in float32.
    inside = [name.upper() for name in operators(form, file)]
    assert inside.count("SOFTMAX") == 1
    assert not {"QUANTIZE", "DEQUANTIZE", "QUANTIZELINEAR"}.intersection(inside[inside.index("SOFTMAX") :])


def operators(form, file):
    """The names of a file's operators in their order."""
    if form == "onnx":
        return [node.op_type for node in onnx.load(file).graph.node]
    plain = interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    runner = interpreter.Interpreter(str(file), num_threads=1, experimental_op_resolver_type=plain)
    return [operator["op_name"] for operator in runner._get_ops_details()]


def onnx_signature(file):
    """Name -> shape of the inputs and outputs of a file."""
    graph = onnx.load(file).graph
    return {
        value.name: tuple(dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.output)
    }


@forms
@precisions
def test_weights_are_stored_as_said_and_operators_are_plain(form, precision, exported):
    file = exported(form, precision)
    if form == "onnx":
        model = onnx.load(file)
        kinds = {onnx.numpy_helper.to_array(tensor).dtype for tensor in model.graph.initializer}
        assert {node.domain for node in model.graph.node} == {""}
    else:
        runner = interpreter.Interpreter(str(file), num_threads=1)
        kinds = {np.dtype(tensor["dtype"]) for tensor in runner.get_tensor_details()}
        assert not [name for name in operators(form, file) if name.startswith("Flex") or name == "CUSTOM"]
    small = {"fp32": set(), "fp16": {np.dtype(np.float16)}, "int8": {np.dtype(np.int8)}}
    assert kinds & {np.dtype(np.float16), np.dtype(np.int8)} == small[precision]


def test_models_of_something_else(exported, tmp_path):
    entry = keras.Input((8, 8, 3), name="image")
    other = keras.Model(entry, keras.layers.Conv2D(2, 3)(entry))
    other.export(tmp_path / "map.tflite", format="litert", input_signature=image_signature(other, 1), verbose=False)
    with pytest.raises(CheckpointError, match=r"map\.tflite: yields \(1, 6, 6, 2\), expected points"):
        LiteRTModel(tmp_path / "map.tflite")
    other = onnx.load(exported("onnx"))
    onnx.compose.add_prefix(other, "x_", inplace=True)
    onnx.save(other, tmp_path / "other.onnx")
    with pytest.raises(CheckpointError, match="takes and yields x_image, x_points, expected image and points"):
        OnnxModel(tmp_path / "other.onnx")


@pytest.mark.slow
def test_a_network_that_normalises_takes_nothing_but_images(tmp_path):
    """EfficientNet holds means and variances as tensors, of which tf2onnx would make inputs."""
    model = build_model("efficientnetb0", 5, 32)
    export_onnx(model, tmp_path / "b0.onnx")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    found = OnnxModel(tmp_path / "b0.onnx").predict_on_batch(images)
    assert np.abs(found - model.predict_on_batch(images)).max() < 1e-5
