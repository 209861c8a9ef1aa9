"""``evaluate --readout``: the same heatmaps read in another way, and said so wherever the numbers go."""

import json

import numpy as np
import pytest

from kdloss import evaluate
from kdloss.models import build_model
from kdloss.runs import finish
from kdloss.training.checkpoint import save_model
from tests.models.random_weights import randomise
from tests.training.tiny_chain import ARCH, FAN, use_tiny_networks


@pytest.fixture(autouse=True, scope="module")
def tiny_networks():
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        yield


def run_of(model, arch, faces, folder):
    """A finished run folder of an untrained network."""
    folder.mkdir()
    scheme = faces.scheme.to_json()
    card = {"arch": arch, "dataset": "300w", "scheme": scheme, "image_size": 32, "box": "gt:1.25", "kind": "student"}
    save_model(folder / "best.keras", model, card)
    (folder / "config.json").write_text("{}")
    finish(folder, {})
    return folder


@pytest.fixture
def heatmap_run(faces_300w, tmp_path):
    return run_of(randomise(build_model(FAN, 68, 32)), FAN, faces_300w, tmp_path / "heatmaps")


def evaluated(faces, *arguments):
    return evaluate.main(["--dataset", "300w", "--data", str(faces.path), *map(str, arguments)])


def test_another_readout_of_the_same_checkpoint(faces_300w, heatmap_run, capsys):
    assert evaluated(faces_300w, "--checkpoint", heatmap_run) == 0
    assert "read-out" not in capsys.readouterr().out
    assert evaluated(faces_300w, "--checkpoint", heatmap_run, "--readout", "argmax") == 0
    assert "heatmaps, argmax read-out" in capsys.readouterr().out
    records, points = [], []
    for name in ("evaluation-300w", "evaluation-300w-argmax"):
        records.append(json.loads((heatmap_run / name / "metrics.json").read_text()))
        with np.load(heatmap_run / name / "predictions.npz") as file:
            points.append(file["points"])
    trained, argmax = (record["protocol"]["checkpoint"] for record in records)
    assert "readout" not in trained
    assert argmax == trained | {"readout": "argmax"}
    assert np.abs(points[0] - points[1]).max() > 0.5
    assert records[0]["subsets"]["full"]["nme_interocular"] != records[1]["subsets"]["full"]["nme_interocular"]


def test_what_has_no_heatmaps_has_no_readout(faces_300w, tmp_path, capsys):
    run = run_of(build_model(ARCH, 68, 32), ARCH, faces_300w, tmp_path / "regressor")
    assert evaluated(faces_300w, "--checkpoint", run, "--readout", "argmax") == 2
    line = f"--readout argmax: {run / 'best.keras'} is a {ARCH}, which has no heatmaps: leave it out"
    assert line in capsys.readouterr().err
    assert not list(run.glob("evaluation*"))
    for files in (["--predictions", "mine.npz"], ["--compare", run, "mine.csv"]):
        assert evaluated(faces_300w, *files, "--readout", "integral") == 2
        assert "--readout: needs heatmap networks, not files of points: leave it out" in capsys.readouterr().err
