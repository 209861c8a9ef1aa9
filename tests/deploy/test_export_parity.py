"""A network that was trained on real faces agrees with its files. (Untrained ones yield the same for every face.)"""

from dataclasses import replace

import numpy as np
import pytest

from data_prep.prepare import prepare
from kdloss import pretrained
from kdloss.data.datasets import dataset_scheme
from kdloss.data.prepared import PreparedDataset
from kdloss.deploy.exported_files import PRECISIONS
from kdloss.deploy.litert import export_litert
from kdloss.deploy.onnx import export_onnx
from kdloss.deploy.representative import rendered_crops, representative_crops
from kdloss.evaluation.evaluation import evaluate_loaded, load_checkpoint
from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.onnx_reader import OnnxModel
from kdloss.models import deployed

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxruntime")

NAME = "mobilenetv2-300w"
EXPORTS = {"litert": (export_litert, LiteRTModel, ".tflite"), "onnx": (export_onnx, OnnxModel, ".onnx")}
SCALE = 224  # means are in pixels of crops of this side
# The mean difference of coordinates and spreads from the network's, and the largest as a share of the heatmap's spread:
# a wide heatmap has several peaks, and its mean moves with every rounding.
BOUNDS = {"fp32": (1e-4, 1e-3), "fp16": (0.05, 0.15), "int8": (0.5, 1.0)}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NAME not in pretrained.names(), reason=f"{NAME} is not shipped"),
]


@pytest.fixture(scope="module")
def trained():
    return load_checkpoint(NAME, dataset_scheme("300w"))


@pytest.fixture(scope="module")
def crops(trained):
    return np.concatenate(list(rendered_crops(trained, 24)))


def exported(form, precision, trained, representative, folder):
    """The reader of a file: of the shipped one if there is one, else of one that is written now."""
    write, runner, suffix = EXPORTS[form]
    if f"{precision}{suffix}" in pretrained.FILES:
        return runner(pretrained.path(NAME, f"{precision}{suffix}"))
    write(trained.model, folder / f"a{suffix}", precision, representative if precision == "int8" else None)
    return runner(folder / f"a{suffix}")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("form", EXPORTS)
def test_points_and_spread_on_rendered_faces(form, precision, trained, crops, tmp_path):
    model = exported(form, precision, trained, [crops[:16]], tmp_path)
    expected = deployed(trained.model).predict_on_batch(crops.astype("float32"))
    assert SCALE * expected["points"].std(axis=0).min() > 1  # every point moves from face to face
    assert SCALE * expected["spread"].std() > 1
    mean, most = BOUNDS[precision]
    points, spread = (np.abs(found - expected[name]) for found, name in zip(model.read(crops), expected, strict=True))
    for error, width in ((points, expected["spread"][..., None]), (spread, expected["spread"])):
        assert SCALE * error.mean() < mean
        assert (error / width).max() < most


@pytest.fixture(scope="module")
def real_faces(raw_300w, tmp_path_factory):
    """Prepared real faces: 64 to train and 56 to test, evenly spaced over LFPW."""
    folder = tmp_path_factory.mktemp("real")
    for part, count in (("trainset", 64), ("testset", 56)):
        (folder / "raw" / "lfpw" / part).mkdir(parents=True)
        annotations = sorted((raw_300w / "lfpw" / part).glob("*.pts"))
        for annotation in annotations[:: len(annotations) // count][:count]:
            for file in annotation.parent.glob(f"{annotation.stem}.*"):
                (folder / "raw" / "lfpw" / part / file.name).symlink_to(file)
    prepare("300w", folder / "raw", folder / "prepared", size=256)
    return PreparedDataset(folder / "prepared")


@pytest.mark.parametrize("form", EXPORTS)
def test_8_bits_cost_little_on_real_faces(form, trained, real_faces, tmp_path):
    eight = exported(form, "int8", trained, representative_crops(real_faces, trained), tmp_path)
    whole, small = (
        evaluate_loaded(real_faces, replace(trained, model=model)).metrics["subsets"]["full"]["nme_interocular"]
        for model in (trained.model, eight)
    )
    assert small == pytest.approx(whole, abs=0.05)
