"""The card inside exported files: it comes back, harms nothing, and damage is one clear line."""

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest

from kdloss.deploy.exported_files import attach
from kdloss.deploy.savedmodel import export_savedmodel, read_savedmodel
from kdloss.errors import CheckpointError, ConfigError
from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.metadata import read_metadata
from kdloss.inference.onnx_reader import OnnxModel
from tests.deploy.conftest import EXPORTS
from tests.training.tiny_chain import SIZE

pytest.importorskip("ai_edge_litert")
onnx = pytest.importorskip("onnx")

forms = pytest.mark.parametrize("form", EXPORTS)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)


@forms
def test_the_card_comes_back(form, exported, student):
    found = read_metadata(exported(form, card=True))
    facts = found.pop("export")
    assert found == student[1] | {"source_sha256": "ab"}
    assert (facts["format"], facts["precision"]) == (form, "fp32")
    assert f"{SIZE}, {SIZE}, 3" in facts["input"]["image"]
    assert list(facts["outputs"]) == ["points"]
    assert "(B, 68, 2)" in facts["outputs"]["points"]
    assert set(facts["packages"]) == {"kdloss", "keras", "tensorflow"}
    assert read_metadata(exported(form)) is None


@pytest.mark.parametrize(("form", "runner"), [("litert", LiteRTModel), ("onnx", OnnxModel)])
def test_runners_tell_it_and_read_as_without(form, runner, exported):
    told, bare = runner(exported(form, card=True)), runner(exported(form))
    assert (told.card, bare.card) == (read_metadata(exported(form, card=True)), None)
    np.testing.assert_array_equal(told.predict_on_batch(IMAGES), bare.predict_on_batch(IMAGES))


def test_a_savedmodel_serves(exported, student):
    points, spread = read_savedmodel(exported("savedmodel"), IMAGES)
    np.testing.assert_allclose(points, student[0].predict_on_batch(IMAGES.astype("float32")), atol=1e-6)
    assert spread is None
    again = keras.layers.TFSMLayer(exported("savedmodel"), call_endpoint="serve")(IMAGES.astype("float32"))
    np.testing.assert_allclose(again["points"], points, atol=1e-6)


def test_a_savedmodel_appears_whole_or_not_at_all(student, tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        export_savedmodel(student[0], tmp_path / "a", {"seed": object()})
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    with pytest.raises(ConfigError, match="a: exists already: remove it"):
        export_savedmodel(student[0], tmp_path / "a")


def copied(file, folder):
    return (shutil.copytree if file.is_dir() else shutil.copy)(file, folder / file.name)


@forms
def test_a_card_is_replaced_and_one_that_lacks_fields_refused(form, exported, student, tmp_path):
    path = copied(exported(form, card=True), tmp_path)
    for seed in (7, 8):
        attach(path, student[1] | {"seed": seed})
        assert read_metadata(path) == student[1] | {"seed": seed}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    attach(path, {"arch": "tiny", "box": "gt:1.25"})
    assert refused(path) == "damaged (its kdloss.json lacks dataset, scheme, image_size): export it again"
    attach(path, ["no", "card"])
    assert refused(path).startswith("damaged (its kdloss.json lacks arch, ")


def test_other_associated_files_stay(exported, student, tmp_path):
    path = copied(exported("litert"), tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "nose")
    attach(path, student[1])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt") == b"nose"
        assert json.loads(archive.read("kdloss.json")) == student[1]
    assert path.read_bytes().startswith(exported("litert").read_bytes())
    model = onnx.load(exported("onnx"))
    onnx.helper.set_model_props(model, {"author": "me"})
    onnx.save(model, tmp_path / "a.onnx")
    attach(tmp_path / "a.onnx", student[1])
    properties = {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert properties["author"] == "me"


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        read_metadata(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_damaged_files(exported, tmp_path):
    whole, member = exported("litert", card=True).read_bytes(), tmp_path / "a.tflite"
    start = whole.index(b"kdloss.json") - 30
    member.write_bytes(whole[: start + 60] + b"#" + whole[start + 61 :])  # a byte of the card
    assert refused(member).startswith("damaged (Bad CRC-32")
    member.write_bytes(whole[: start + 60])
    assert refused(member).startswith("damaged (cut short within its kdloss.json)")
    with pytest.raises(CheckpointError, match="cut short within"):
        LiteRTModel(member)
    whole = exported("onnx", card=True).read_bytes()
    (tmp_path / "a.onnx").write_bytes(whole[: len(whole) // 2])
    assert refused(tmp_path / "a.onnx").startswith("damaged (")
    assert refused(tmp_path / "absent.onnx").startswith("no such file")
