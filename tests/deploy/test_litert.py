"""LiteRT files: the same points as the network they were made from, and no worse inside than they say."""

import keras
import numpy as np
import pytest

from kdloss.deploy.litert import LiteRTModel, export_litert, litert_function
from kdloss.deploy.signature import PRECISIONS, image_signature
from kdloss.errors import CheckpointError, ConfigError
from kdloss.geometry import BoxPolicy, FaceCrop
from kdloss.models import build_model, deployed
from kdloss.models.regressors import HEAD
from kdloss.prediction import predict_dataset
from kdloss.training.checkpoint import load_model
from tests.models.random_weights import randomise
from tests.training.tiny_chain import FAN, MAPS_SIZE, SIZE

interpreter = pytest.importorskip("ai_edge_litert.interpreter")

BOX = BoxPolicy.parse("gt:1.25")
# Of a pixel of the tiny network's crops: to the bit but for order, hundredths, and a step of 8 bits or so.
MOVES = {"fp32": 1e-4, "fp16": 2e-2, "int8": 0.5}


@pytest.fixture(scope="module")
def model(run):
    return load_model(run)[0]


@pytest.fixture(scope="module")
def crops(faces):
    """(26, S, S, 3) uint8: every face in its own box."""
    boxes = faces.boxes(BOX)
    return np.stack([FaceCrop.from_box(box, SIZE).image(face) for box, face in zip(boxes, faces.faces, strict=True)])


@pytest.fixture(scope="module")
def files(model, crops, tmp_path_factory):
    """Precision -> file."""
    folder = tmp_path_factory.mktemp("litert")
    for precision in PRECISIONS:
        given = {"representative": iter(np.split(crops, 2))} if precision == "int8" else {}
        export_litert(model, folder / f"{precision}.tflite", precision, **given)
    assert sorted(file.name for file in folder.iterdir()) == ["fp16.tflite", "fp32.tflite", "int8.tflite"]
    return {precision: folder / f"{precision}.tflite" for precision in PRECISIONS}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_points_are_those_of_the_network(precision, model, files, crops):
    runner = LiteRTModel(files[precision])
    assert runner.input_shape == model.input_shape
    assert runner.output_shape == model.output_shape
    found, expected = runner.predict_on_batch(crops), model.predict_on_batch(crops.astype("float32"))
    assert found.dtype == np.float32
    assert SIZE * np.abs(found - expected).max() < MOVES[precision]
    assert len(np.unique(found, axis=0)) == len(crops)
    assert np.array_equal(litert_function(files[precision], threads=2)(crops[3:4].astype("float32"))[0], found[3])


def test_no_face_is_no_point(files):
    assert LiteRTModel(files["fp32"]).predict_on_batch(np.zeros((0, SIZE, SIZE, 3), np.uint8)).shape == (0, 68, 2)


def test_it_stands_in_a_networks_place(model, files, faces):
    rows = faces.indices("test")
    expected = predict_dataset(model, faces, rows, BOX, 4, flip=True)
    found = predict_dataset(LiteRTModel(files["fp32"]), faces, rows, BOX, 4, flip=True)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_inside(files):
    def tensors(precision):
        runner = interpreter.Interpreter(str(files[precision]), num_threads=1)
        (entry,), (result,) = runner.get_input_details(), runner.get_output_details()
        assert (entry["dtype"], result["dtype"]) == (np.float32, np.float32)
        assert tuple(entry["shape"]) == (1, SIZE, SIZE, 3)
        assert tuple(result["shape"]) == (1, 68, 2)
        return runner.get_tensor_details()

    assert not [x for x in tensors("fp32") if x["dtype"] in (np.float16, np.int8)]
    assert any(x["dtype"] == np.float16 for x in tensors("fp16"))
    scales = [x["quantization_parameters"]["scales"] for x in tensors("int8") if x["dtype"] == np.int8]
    assert {8, 16} <= {len(values) for values in scales}  # the channels of the two convolutions
    assert 1 in {len(values) for values in scales}  # activations


@pytest.mark.parametrize(("precision", "pixels"), [("fp32", 1e-3), ("fp16", 0.05), ("int8", 1.0)])
def test_a_heatmap_network(precision, pixels, faces, tmp_path):
    """In 8 bits too: a read-out in 8 bits, which cannot tell small masses from none, would be off by half the crop."""
    model = randomise(build_model(FAN, 5, MAPS_SIZE))
    head = model.get_layer(HEAD)
    head.kernel.assign(head.kernel * 0.01)  # broad heatmaps: no point hangs on which of two far pixels is the higher
    boxes = faces.boxes(BOX)
    crops = [FaceCrop.from_box(box, MAPS_SIZE).image(face) for box, face in zip(boxes, faces.faces, strict=True)]
    images = np.stack(crops).astype("float32")
    given = {"representative": [images]} if precision == "int8" else {}
    path = tmp_path / "fan.tflite"
    export_litert(model, path, precision, **given)
    points, spread = LiteRTModel(path).read(images)
    expected = deployed(model).predict_on_batch(images)
    assert MAPS_SIZE * np.abs(points - expected["points"]).mean() < pixels
    assert MAPS_SIZE * np.std(expected["points"]) > 1  # the points are no heap in the middle
    assert (spread.dtype, spread.shape) == (np.float32, (len(images), 5))
    assert MAPS_SIZE * np.abs(spread - expected["spread"]).mean() < pixels
    assert MAPS_SIZE * np.std(expected["spread"]) > 0.5
    runner = interpreter.Interpreter(str(path), num_threads=1)
    assert runner.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["points", "spread"]}}
    details = {output["index"]: output for output in runner.get_output_details()}
    assert {output["dtype"] for output in details.values()} == {np.float32}
    inside = operators(path)
    assert inside.count("SOFTMAX") == 1  # of points and spread together
    # All of the read-out is in float32, to the last operator.
    assert not {"QUANTIZE", "DEQUANTIZE"}.intersection(inside[inside.index("SOFTMAX") :])


def operators(path):
    """The names of a file's operators, in the order in which they run."""
    runner = interpreter.Interpreter(
        str(path), num_threads=1,
        experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )  # fmt: skip
    return [operator["op_name"] for operator in runner._get_ops_details()]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_operators_are_litert_s_own(precision, files):
    inside = operators(files[precision])
    assert "CONV_2D" in inside
    assert not [name for name in inside if name.startswith("Flex") or name == "CUSTOM"]


def test_a_file_of_points_alone(model, files, crops, tmp_path):
    """Of a regressor, or written before files told of the spread."""
    points, spread = LiteRTModel(files["fp32"]).read(crops[:2])
    assert spread is None
    fan = randomise(build_model(FAN, 5, MAPS_SIZE))
    fan.export(tmp_path / "old.tflite", format="litert", input_signature=image_signature(fan, 1), verbose=False)
    images = np.random.default_rng(0).integers(0, 256, (2, MAPS_SIZE, MAPS_SIZE, 3)).astype("float32")
    old = LiteRTModel(tmp_path / "old.tflite")
    points, spread = old.read(images)
    np.testing.assert_allclose(points, fan.predict_on_batch(images), atol=1e-4)
    assert (spread, old.card) == (None, None)


def test_a_file_of_something_else(tmp_path):
    entry = keras.Input((8, 8, 3), name="image")
    other = keras.Model(entry, keras.layers.Conv2D(2, 3)(entry))
    other.export(tmp_path / "map.tflite", format="litert", input_signature=image_signature(other, 1), verbose=False)
    with pytest.raises(CheckpointError, match=r"map\.tflite: yields \(1, 6, 6, 2\), expected points"):
        LiteRTModel(tmp_path / "map.tflite")


def test_refused(model, tmp_path, monkeypatch):
    path = tmp_path / "a.tflite"
    with pytest.raises(ConfigError, match="precision bf16: expected one of fp32, fp16, int8"):
        export_litert(model, path, "bf16")
    for none in (None, []):
        with pytest.raises(ConfigError, match="precision int8: found no representative images"):
            export_litert(model, path, "int8", none)
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ConfigError, match="KERAS_BACKEND=jax: export to LiteRT needs tensorflow"):
        export_litert(model, path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_none(files, tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.tflite: no LiteRT file"):
        LiteRTModel(tmp_path / "absent.tflite")
    (tmp_path / "text.tflite").write_text("no model")
    with pytest.raises(CheckpointError, match=r"text\.tflite: no LiteRT file"):
        LiteRTModel(tmp_path / "text.tflite")
    whole = files["fp32"].read_bytes()
    (tmp_path / "short.tflite").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"short\.tflite: no LiteRT file, or damaged \([^\n]*$"):
        LiteRTModel(tmp_path / "short.tflite")
