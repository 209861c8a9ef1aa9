"""The card inside exported files: it comes back, and harms nothing else in them."""

import json
import shutil
import zipfile

import keras
import numpy as np
import pytest

from kdloss.deploy.exported_files import attach
from kdloss.deploy.savedmodel import export_savedmodel, read_savedmodel
from kdloss.errors import CheckpointError, ConfigError
from kdloss.inference.metadata import read_metadata
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
    with pytest.raises(CheckpointError, match=r"its kdloss\.json lacks dataset, scheme, image_size\): export it again"):
        read_metadata(path)
    attach(path, ["no", "card"])
    with pytest.raises(CheckpointError, match=r"its kdloss\.json lacks arch, "):
        read_metadata(path)


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
