"""The files of a network that was trained on real faces are as accurate as it is."""

from dataclasses import replace

import pytest

from data_prep.prepare import write_prepared
from data_prep.raw import RawDataset
from data_prep.w300 import read_300w
from kdloss import pretrained
from kdloss.data.datasets import DATASETS
from kdloss.data.prepared import PreparedDataset
from kdloss.deploy.litert import export_litert
from kdloss.deploy.onnx import export_onnx
from kdloss.deploy.representative import representative_crops
from kdloss.evaluation.evaluation import evaluate_loaded, load_checkpoint
from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.onnx_reader import OnnxModel

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxruntime")

NAME = "mobilenetv2-300w"
EXPORTS = {"litert": (export_litert, LiteRTModel, ".tflite"), "onnx": (export_onnx, OnnxModel, ".onnx")}
# The difference of the NME from the network's, percent.
BOUNDS = {"fp32": 1e-4, "fp16": 0.01, "int8": 0.05}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def faces(raw_300w, tmp_path_factory):
    """Every 20th face of 300-W, prepared."""
    raw, folder = read_300w(raw_300w), tmp_path_factory.mktemp("real") / "300w"
    write_prepared(RawDataset(raw.scheme, list(raw.entries)[::20]), DATASETS["300w"], folder, source="300-W")
    return PreparedDataset(folder)


@pytest.fixture(scope="module")
def trained(faces):
    """The network, and its NME."""
    loaded = load_checkpoint(NAME, faces.scheme)
    return loaded, nme(faces, loaded)


def nme(faces, loaded):
    return evaluate_loaded(faces, loaded).metrics["subsets"]["full"]["nme_interocular"]


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("form", EXPORTS)
def test_files_cost_little_on_real_faces(form, precision, trained, faces, tmp_path):
    (loaded, expected), (write, runner, suffix) = trained, EXPORTS[form]
    path = tmp_path / f"{precision}{suffix}"
    if path.name in pretrained.FILES:
        path = pretrained.path(NAME, path.name)
    else:
        crops = representative_crops(faces, loaded) if precision == "int8" else None
        write(loaded.model, path, precision, crops)
    assert nme(faces, replace(loaded, model=runner(path))) == pytest.approx(expected, abs=BOUNDS[precision])
