"""The command, from prepared faces and a real checkpoint or predictions file to its printed table and files."""

import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from kdloss import evaluate
from kdloss.data.geometry import BoxPolicy, FaceCrop, invert, transform_points
from kdloss.evaluation import metrics
from kdloss.evaluation.evaluation import mean_shape_predictions
from kdloss.evaluation.predictions import load_predictions, save_predictions
from kdloss.models import build_model
from kdloss.models.checkpoint import save_model
from kdloss.models.regressors import HEAD
from kdloss.training.config import TrainConfig
from kdloss.training.runs import mark_finished
from tests.commands.conftest import started
from tests.models.random_weights import randomise
from tests.training.tiny_chain import ARCH, FAN, use_tiny_networks

FILES = ["ced.png", "metrics.json", "predictions.npz"]


@pytest.fixture(scope="module")
def faces_cofw(make_prepared):
    return make_prepared("cofw", synthetic=True)


@pytest.fixture(autouse=True, scope="module")
def tiny_networks():
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        yield


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KDLOSS_DATA", raising=False)
    monkeypatch.setenv("KDLOSS_RUNS", str(tmp_path / "runs"))


def predictions_file(prepared, path, split="test", shift=2.0):
    rows = prepared.indices(split)
    truth = prepared.source_points[rows]
    save_predictions(path, prepared.table["name"][rows], truth + shift, truth)
    return path


def finished_run(model, arch, faces, folder, **card):
    """A run folder as training leaves it, of a network that nobody trained."""
    folder.mkdir()
    card = {"arch": arch, "scheme": faces.scheme.to_json(), "image_size": 32, "kind": "student"} | card
    save_model(folder / "best.keras", model, card)
    config = TrainConfig("student", card["dataset"], arch, image_size=32, box=card["box"])
    (folder / "config.json").write_text(config.to_json())
    mark_finished(folder, {})
    return folder


@pytest.fixture(scope="module")
def run_folder(faces_cofw, tmp_path_factory):
    """A run whose network gives the mean training shape for any picture: its points are known exactly."""
    policy = BoxPolicy.parse("gt:1.4")
    row = faces_cofw.indices("train")[0]
    placed = mean_shape_predictions(faces_cofw, [row], policy)[0]
    stored = transform_points(invert(faces_cofw.to_image[row]), placed)
    unit = FaceCrop.from_box(faces_cofw.boxes(policy)[row], 32).unit_points(stored)
    model = build_model(ARCH, 29, 32)
    head = model.get_layer(HEAD)
    head.set_weights([np.zeros_like(head.get_weights()[0]), unit.reshape(-1).astype(np.float32)])
    folder = tmp_path_factory.mktemp("runs") / "student-cofw"
    return finished_run(model, ARCH, faces_cofw, folder, dataset="cofw", box="gt:1.4", method="none")


def test_predictions_file(faces_300w, tmp_path, capsys):
    path = predictions_file(faces_300w, tmp_path / "mine.npz")
    data = ["--dataset", "300w", "--data", str(faces_300w.path)]
    assert evaluate.main([*data, "--predictions", str(path), "--box", "gt:1.1"]) == 0
    out = tmp_path / "runs" / "evaluation" / "300w-mine"
    assert sorted(file.name for file in out.iterdir()) == FILES
    record = json.loads((out / "metrics.json").read_text())
    rows = faces_300w.indices("test")
    truth = faces_300w.source_points[rows]
    expected = metrics.image_errors(truth + 2, truth, faces_300w.scheme, "interocular")
    assert record["subsets"]["full"]["nme_interocular"] == pytest.approx(100 * expected.mean(), abs=1e-9)
    assert record["protocol"]["box"] == "gt:1.1"
    assert record["mean_shape"]["full"]["nme_interocular"] > 0
    assert record["command"].startswith("python -m kdloss.evaluate --dataset 300w ")
    again, _ = load_predictions(out / "predictions.npz", faces_300w, rows)
    assert np.array_equal(again, truth + 2)
    text = capsys.readouterr().out
    for part in ("mine.npz", "mean training shape", "KD-Loss paper", "challenging: 0 of 135", "8/689*"):
        assert part in text
    assert "SYNTHETIC" not in text
    lines = text.splitlines()
    assert (len(lines) <= 25, max(map(len, lines)) <= 100) == (True, True), text
    assert "D-ViT" not in text
    assert evaluate.main([*data, "--predictions", str(path), "--full"]) == 0
    text = capsys.readouterr().out
    assert "D-ViT" in text
    assert "NME by part" in text


def test_checkpoint_of_a_run_folder(faces_cofw, run_folder, tmp_path, capsys):
    data = ["--dataset", "cofw", "--data", str(faces_cofw.path)]
    assert evaluate.main([*data, "--checkpoint", str(run_folder), "--batch-size", "3"]) == 0
    out = run_folder / "evaluation-cofw"
    assert sorted(file.name for file in out.iterdir()) == FILES
    record = json.loads((out / "metrics.json").read_text())
    protocol = record["protocol"]
    assert protocol["box"] == "gt:1.4"
    assert protocol["synthetic"] is True
    assert protocol["checkpoint"]["path"] == str(run_folder / "best.keras")
    assert len(protocol["checkpoint"]["sha256"]) == 16
    # The network is the mean shape, so it must score as the baseline does: crops, units and boxes all agree.
    assert record["subsets"]["full"] == pytest.approx(record["mean_shape"]["full"], abs=1e-3)
    rows = faces_cofw.indices("test")
    points, _ = load_predictions(out / "predictions.npz", faces_cofw, rows)
    assert points == pytest.approx(mean_shape_predictions(faces_cofw, rows, BoxPolicy.parse("gt:1.4")), abs=1e-3)
    text = " ".join(capsys.readouterr().out.split())  # lines are as wide as the terminal
    assert "SYNTHETIC COFW test 8, ocular" in text
    assert "*" not in text
    assert "published numbers are of real faces and not comparable" in text
    assert "student-cofw" in text


def test_newest_run_prepared_folder_and_own_box(faces_cofw, run_folder, monkeypatch):
    monkeypatch.setenv("KDLOSS_RUNS", str(run_folder.parent))
    monkeypatch.setenv("KDLOSS_DATA", str(faces_cofw.path.parent))
    assert evaluate.main(["--dataset", "cofw", "--box", "gt:1.2", "--flip-test"]) == 0
    record = json.loads((run_folder / "evaluation-cofw-flip-gt-1.2" / "metrics.json").read_text())
    assert (record["protocol"]["flip_test"], record["protocol"]["box"]) == (True, "gt:1.2")
    full, mean_shape = record["subsets"]["full"], record["mean_shape"]["full"]
    assert full["nme_interocular"] != pytest.approx(mean_shape["nme_interocular"], abs=1e-3)


def test_comparison_of_a_checkpoint_and_a_file(faces_cofw, run_folder, tmp_path, capsys):
    path = predictions_file(faces_cofw, tmp_path / "mine.npz")
    data = ["--dataset", "cofw", "--data", str(faces_cofw.path), "--report"]
    assert evaluate.main([*data, "--compare", f"network={run_folder}", str(path)]) == 0
    out = tmp_path / "runs" / "evaluation" / "cofw-compared"
    assert sorted(file.name for file in out.iterdir()) == ["ced.png", "comparison.json", "report.html"]
    record = json.loads((out / "comparison.json").read_text())
    assert list(record["models"]) == ["network", "mine.npz"]
    rows = faces_cofw.indices("test")
    truth = faces_cofw.source_points[rows]
    errors = [
        metrics.image_errors(points, truth, faces_cofw.scheme, "interocular")
        for points in (truth + 2, mean_shape_predictions(faces_cofw, rows, BoxPolicy.parse("gt:1.4")))
    ]
    assert record["pairs"][0]["difference"] == pytest.approx(100 * np.mean(errors[0] - errors[1]), abs=1e-3)
    text = capsys.readouterr().out
    assert "mine.npz against network: " in text
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "mine.npz against network: " in page
    assert "The faces are SYNTHETIC" in page
    assert re.search(r"image_size\W{1,3}32\b", html.unescape(page))


@pytest.mark.slow
def test_robustness_and_report(faces_cofw, run_folder, tmp_path, capsys):
    arguments = ["--dataset", "cofw", "--data", str(faces_cofw.path), "--checkpoint", str(run_folder)]
    assert evaluate.main([*arguments, "--robustness", "2", "--report", "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())["robustness"]
    assert result["n"] == 2
    # The network answers with the mean shape, so its points go where the box goes.
    assert result["robust_ratio"] > 1
    text = capsys.readouterr().out
    assert "Box robustness, 2 faces, interocular normaliser: NME " in text
    assert "Box robustness, 2 faces" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_missing_faces_are_refused_left_out_or_failures(faces_300w, tmp_path, capsys):
    rows = faces_300w.indices("test")
    truth = faces_300w.source_points[rows]
    path = tmp_path / "mine.csv"
    save_predictions(path, faces_300w.table["name"][rows[:6]], truth[:6] + 1, truth[:6])
    arguments = ["--dataset", "300w", "--data", str(faces_300w.path), "--predictions", str(path)]
    assert evaluate.main(arguments) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "2 of 8 faces are missing" in printed.err
    for missing, n in (("skip", 6), ("fail", 8)):
        assert evaluate.main([*arguments, "--missing", missing, "--out", str(tmp_path / missing)]) == 0
        record = json.loads((tmp_path / missing / "metrics.json").read_text())
        assert (record["subsets"]["full"]["n"], record["mean_shape"]["full"]["n"]) == (n, n)
        assert "2 faces without prediction" in capsys.readouterr().out


def test_a_predictions_file_needs_no_network_library_and_no_window(faces_300w, tmp_path):
    path = predictions_file(faces_300w, tmp_path / "mine.npz")
    arguments = ["--dataset", "300w", "--data", str(faces_300w.path), "--predictions", str(path), "--report", "--json"]
    code = f"import sys; from kdloss.evaluate import main; assert main({arguments!r}) == 0; "
    code += "assert not {'keras', 'tensorflow', 'matplotlib.pyplot'} & {*sys.modules}"
    finished = started(code=code)
    assert finished.returncode == 0
    answer = json.loads(finished.stdout)
    metrics_file = json.loads((Path(answer.pop("out")) / "metrics.json").read_text())
    assert answer == metrics_file


def test_another_readout_of_the_same_checkpoint(faces_300w, tmp_path, capsys):
    model = randomise(build_model(FAN, 68, 32))
    run = finished_run(model, FAN, faces_300w, tmp_path / "maps", dataset="300w", box="gt:1.25")
    data = ["--dataset", "300w", "--data", str(faces_300w.path), "--checkpoint", str(run)]
    assert evaluate.main(data) == 0
    assert evaluate.main([*data, "--readout", "argmax"]) == 0
    assert "maps, argmax read-out" in capsys.readouterr().out
    records, points = [], []
    for name in ("evaluation-300w", "evaluation-300w-argmax"):
        records.append(json.loads((run / name / "metrics.json").read_text()))
        points.append(load_predictions(run / name / "predictions.npz", faces_300w, faces_300w.indices("test"))[0])
    trained, argmax = (record["protocol"]["checkpoint"] for record in records)
    assert argmax == trained | {"readout": "argmax"}
    assert np.abs(points[0] - points[1]).max() > 0.5
