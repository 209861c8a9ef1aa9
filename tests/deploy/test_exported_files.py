"""The card inside exported files: it comes back, and harms nothing else in them."""

import shutil

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
