"""The card inside exported files: it comes back, harms nothing, and damage is one clear line."""

import json
import zipfile

import keras
import numpy as np
import pytest

from kdloss.deploy.litert import LiteRTModel, export_litert
from kdloss.deploy.metadata import attach, read_metadata, with_confidence
from kdloss.deploy.onnx import OnnxModel, export_onnx
from kdloss.deploy.savedmodel import export_savedmodel, read_savedmodel
from kdloss.errors import CheckpointError, ConfigError
from kdloss.training.checkpoint import load_model
from tests.training.tiny_chain import SIZE

pytest.importorskip("ai_edge_litert")
onnx = pytest.importorskip("onnx")

FORMATS = ("litert", "onnx", "savedmodel")
NAMES = {"litert": "a.tflite", "onnx": "a.onnx", "savedmodel": "a"}


@pytest.fixture(scope="module")
def loaded(run):
    """The model and its card."""
    return load_model(run)


def export(form, path, model, card):
    {"litert": export_litert, "onnx": export_onnx, "savedmodel": export_savedmodel}[form](model, path, card=card)
    return path


@pytest.fixture(scope="module")
def files(loaded, tmp_path_factory):
    """Format -> file with a card; beside it, one without."""
    folder = tmp_path_factory.mktemp("cards")
    (folder / "bare").mkdir()
    for form in FORMATS:
        export(form, folder / "bare" / NAMES[form], loaded[0], None)
        export(form, folder / NAMES[form], loaded[0], loaded[1] | {"source_sha256": "ab"})
    return {form: folder / NAMES[form] for form in FORMATS}


@pytest.mark.parametrize("form", FORMATS)
def test_the_card_comes_back(form, files, loaded):
    found = read_metadata(files[form])
    facts = found.pop("export")
    assert found == loaded[1] | {"source_sha256": "ab"}
    assert (facts["format"], facts["precision"]) == (form, "fp32")
    assert f"{SIZE}, {SIZE}, 3" in facts["input"]["image"]
    assert list(facts["outputs"]) == ["points"]
    assert "(B, 68, 2)" in facts["outputs"]["points"]
    assert set(facts["packages"]) == {"kdloss", "keras", "tensorflow"}
    assert read_metadata(files[form].parent / "bare" / NAMES[form]) is None


def test_runners_tell_it_and_read_as_without(files):
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    for form, runner in (("litert", LiteRTModel), ("onnx", OnnxModel)):
        told, bare = runner(files[form]), runner(files[form].parent / "bare" / NAMES[form])
        assert (told.card, bare.card) == (read_metadata(files[form]), None)
        np.testing.assert_array_equal(told.predict_on_batch(images), bare.predict_on_batch(images))


def test_a_savedmodel_serves(files, loaded):
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    points, spread = read_savedmodel(files["savedmodel"], images)
    np.testing.assert_allclose(points, loaded[0].predict_on_batch(images.astype("float32")), atol=1e-6)
    assert spread is None
    again = keras.layers.TFSMLayer(files["savedmodel"], call_endpoint="serve")(images.astype("float32"))
    np.testing.assert_allclose(again["points"], points, atol=1e-6)


def test_a_savedmodel_appears_whole_or_not_at_all(loaded, tmp_path, monkeypatch):
    with pytest.raises(TypeError, match="not JSON serializable"):
        export_savedmodel(loaded[0], tmp_path / "a", {"seed": object()})
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    with pytest.raises(ConfigError, match="a: exists already: remove it"):
        export_savedmodel(loaded[0], tmp_path / "a")


@pytest.mark.parametrize("form", FORMATS)
def test_a_card_is_replaced(form, files, loaded, tmp_path):
    path = export(form, tmp_path / NAMES[form], loaded[0], loaded[1])
    for seed in (7, 8):
        attach(path, loaded[1] | {"seed": seed})
        assert read_metadata(path) == loaded[1] | {"seed": seed}
    assert sorted(file.name for file in tmp_path.iterdir()) == [NAMES[form]]


def test_other_associated_files_stay(files, loaded, tmp_path):
    bare = (files["litert"].parent / "bare" / "a.tflite").read_bytes()
    path = tmp_path / "a.tflite"
    path.write_bytes(bare)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "nose")
    assert read_metadata(path) is None
    attach(path, loaded[1])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt", "kdloss.json"]
        assert archive.read("labels.txt") == b"nose"
        assert json.loads(archive.read("kdloss.json")) == loaded[1]
    assert path.read_bytes().startswith(bare)
    model = onnx.load(files["onnx"])
    onnx.helper.set_model_props(model, {"author": "me"})
    onnx.save(model, tmp_path / "a.onnx")
    attach(tmp_path / "a.onnx", loaded[1])
    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert properties["author"] == "me"


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        read_metadata(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("form", FORMATS)
def test_a_card_without_fields(form, files, tmp_path, loaded):
    path = export(form, tmp_path / NAMES[form], loaded[0], None)
    attach(path, {"arch": "tiny", "box": "gt:1.25"})
    assert refused(path) == "damaged (its kdloss.json lacks dataset, scheme, image_size): export it again"
    attach(path, ["no", "card"])
    assert refused(path).startswith("damaged (its kdloss.json lacks arch, ")


def test_damaged_files(files, tmp_path):
    whole, member = files["litert"].read_bytes(), tmp_path / "a.tflite"
    start = whole.index(b"kdloss.json") - 30
    member.write_bytes(whole[: start + 60] + b"#" + whole[start + 61 :])  # a byte of the card
    assert refused(member).startswith("damaged (Bad CRC-32")
    member.write_bytes(whole[: start + 60])
    assert refused(member).startswith("damaged (cut short within its kdloss.json)")
    with pytest.raises(CheckpointError, match="cut short within"):
        LiteRTModel(member)
    whole = files["onnx"].read_bytes()
    (tmp_path / "a.onnx").write_bytes(whole[: len(whole) // 2])
    assert refused(tmp_path / "a.onnx").startswith("damaged (")
    (tmp_path / "saved" / "assets.extra").mkdir(parents=True)
    (tmp_path / "saved" / "assets.extra" / "kdloss.json").write_text("{")
    assert refused(tmp_path / "saved").startswith("damaged (Expecting")
    assert refused(tmp_path / "absent.tflite").startswith("no such file")
    assert refused(tmp_path / "absent.onnx").startswith("no such file")
    with pytest.raises(ConfigError, match=r"a\.txt: expected a \.tflite or \.onnx file"):
        attach(tmp_path / "a.txt", {})


def test_confidence_beside_a_checkpoint_goes_along(loaded, run, monkeypatch):
    file = run / "best.keras"
    assert with_confidence(loaded[1], file) == loaded[1]
    found = {file: {"slope": -2.0}}
    monkeypatch.setattr("kdloss.deploy.metadata.stored_confidence", found.get)
    assert with_confidence(loaded[1], file) == loaded[1] | {"confidence": {"slope": -2.0}}
    of_file = loaded[1] | {"confidence": {"slope": -1.0}}
    assert with_confidence(of_file, file) == of_file
