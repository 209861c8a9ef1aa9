"""The card inside exported files: it comes back, and harms nothing else in them."""

import json
import shutil
import zipfile

import pytest

from kdloss.deploy.exported_files import attach
from kdloss.errors import CheckpointError
from kdloss.inference.metadata import read_metadata
from tests.deploy.conftest import EXPORTS

pytest.importorskip("ai_edge_litert")
onnx = pytest.importorskip("onnx")


def copied(file, folder):
    return (shutil.copytree if file.is_dir() else shutil.copy)(file, folder / file.name)


@pytest.mark.parametrize("form", EXPORTS)
def test_a_card_is_replaced_and_one_that_lacks_fields_refused(form, exported, student, tmp_path):
    path = copied(exported(form), tmp_path)
    assert read_metadata(path) is None
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
