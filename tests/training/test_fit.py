"""Whole training runs: what a run folder holds, what resumes, and what is refused before it starts."""

import csv
import hashlib
import json
import shutil

import keras
import numpy as np
import pytest

from asm import ShapeModel
from kdloss.data.geometry import BoxPolicy, box_iou
from kdloss.data.schemes import SCHEMES
from kdloss.errors import CheckpointError, ConfigError
from kdloss.evaluation.metrics import available_normalisers, image_errors, nme
from kdloss.inference.landmarker import Landmarker
from kdloss.inference.prediction import predict_dataset
from kdloss.models import build_model
from kdloss.models.checkpoint import load_model, read_card, save_model
from kdloss.training.config import TrainConfig
from kdloss.training.fit import train
from tests.training.run_folders import files_of, refused, rows_of
from tests.training.tiny_chain import ARCH, BATCH, SIZE, arrays, student_config, tiny_config, write_faces

FILES = [
    "best.keras",
    "config.json",
    "environment.json",
    "faces.json",
    "finished.json",
    "history.csv",
    "last/state.npz",
]
FILES += ["metrics.jsonl"]


@pytest.mark.parametrize("name", ["tough", "tolerant", "student"])
def test_a_run_folder_holds_its_files(name, runs, faces):
    run = runs / name
    events = [file for file in files_of(run) if file.startswith("tensorboard/events")]
    assert len(events) == 1
    assert (run / events[0]).stat().st_size > 100
    shape = ["shape.npz"] if name == "tolerant" else []
    if shape:
        assert ShapeModel.load(run / "shape.npz").mean.shape == (68, 2)
    assert files_of(run) == sorted([*FILES, *events, *shape])
    terms = {"tough": ["l1_hard"], "tolerant": ["l1_soft"], "student": ["main", "tough", "tolerant"]}[name]
    rows = rows_of(run)
    assert [row["epoch"] for row in rows] == ([1, 2] if name == "student" else [1])
    for row in rows:
        assert set(row) == {"epoch", "loss", *terms, "val_nme", "learning_rate", "seconds"}
        assert row["loss"] == pytest.approx(sum(row[term] for term in terms), rel=1e-5)
        assert all(row[term] > 0 for term in terms)
    with open(run / "history.csv", newline="") as file:
        assert [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)] == rows
    finished = json.loads((run / "finished.json").read_text())
    assert finished["val_nme"] == min(row["val_nme"] for row in rows)
    assert (finished["train_faces"], finished["val_faces"], finished["synthetic"]) == (17, 3, True)
    config = TrainConfig.from_json((run / "config.json").read_text())
    assert config == (student_config(runs) if name == "student" else tiny_config(name))
    environment = json.loads((run / "environment.json").read_text())
    assert environment["backend"] == keras.backend.backend()
    assert environment["packages"]["keras"] == keras.__version__


def test_the_last_epoch_is_kept_where_the_validation_faces_are_trained_on(faces, tmp_path):
    results = train(tiny_config(keep="last", epochs=2), faces, tmp_path / "run", verbose=0)
    assert (results["train_faces"], results["val_faces"], results["val_nme"]) == (20, 0, None)
    assert "val_nme" not in rows_of(tmp_path / "run")[-1]
    card = read_card(tmp_path / "run" / "best.keras")
    assert card["epoch"] == 2
    assert "val_nme" not in card


@pytest.mark.parametrize("name", ["tough", "tolerant", "student"])
def test_the_best_checkpoint_scores_what_the_log_says(name, runs, faces):
    model, card = load_model(runs / name)
    rows = faces.indices("val")
    predicted = predict_dataset(model, faces, rows, BoxPolicy.parse(card["box"]), BATCH)
    normaliser = available_normalisers(faces.scheme)[0]
    score = nme(image_errors(predicted, faces.source_points[rows], faces.scheme, normaliser))
    assert score == pytest.approx(min(row["val_nme"] for row in rows_of(runs / name)), abs=1e-6)
    assert card["val_nme"] == pytest.approx(score, abs=1e-6)
    expected = {"dataset": "300w", "arch": ARCH, "image_size": SIZE, "box": "gt:1.25", "synthetic": True, "seed": 0}
    expected |= {"scheme": faces.scheme.to_json(), "train_content": faces.manifest["content"]}
    expected |= {"kind": name, "method": "kd-loss" if name == "student" else "none"}
    assert {key: card[key] for key in expected} == expected


def test_stored_teachers_train_as_online_ones_do(runs, faces, tmp_path):
    files = {kind: (runs / kind / "best.keras").read_bytes() for kind in ("tough", "tolerant")}
    train(student_config(runs, teacher_views=2), faces, tmp_path / "stored", verbose=0)
    for online, stored in zip(rows_of(runs / "student"), rows_of(tmp_path / "stored"), strict=True):
        for term in ("main", "tough", "tolerant", "val_nme"):
            assert stored[term] == pytest.approx(online[term], rel=1e-4)
    assert len(list((tmp_path / "teacher-views").glob("views-*"))) == 2
    assert files == {kind: (runs / kind / "best.keras").read_bytes() for kind in files}


def test_a_finished_run_is_left_as_it_is(runs, faces):
    run = runs / "student"
    before = {file: hashlib.sha256((run / file).read_bytes()).digest() for file in files_of(run)}
    for resume in (False, True):
        results = train(student_config(runs), faces, run, resume=resume, verbose=0)
        assert results == json.loads((run / "finished.json").read_text())
    assert before == {file: hashlib.sha256((run / file).read_bytes()).digest() for file in files_of(run)}


def test_a_run_cut_off_before_its_first_epoch_starts_from_its_first_weights(runs, faces, tmp_path):
    start = str(runs / "tough" / "best.keras")
    config = tiny_config("tough", seed=1, weights=start, learning_rate=1e-12, weight_decay=0.0, augment="none")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(config.to_json())
    train(config, faces, run, verbose=0)
    assert (run / "environment.json").exists()
    before, after = (load_model(place)[0].trainable_variables for place in (runs / "tough", run))
    assert all(np.allclose(*pair, atol=1e-6) for pair in zip(arrays(before), arrays(after), strict=True))
    assert rows_of(run)[0]["loss"] != rows_of(runs / "tough")[0]["loss"]


def test_what_does_not_fit_is_refused_before_the_run_starts(runs, faces, tmp_path):
    run = tmp_path / "run"
    refused(ConfigError, faces, run, tiny_config(batch_size=18), "--batch-size 18", "17 faces")
    followed = {"method": "fa", "feature_teacher": str(runs / "tough"), "image_size": 64, "box": "gt:1.5"}
    refused(
        CheckpointError, faces, run, tiny_config("student", **followed), "--feature-teacher", "box gt:1.25", "gt:1.5"
    )
    # A teacher of the same data set by name, but with other points.
    card = read_card(runs / "tough") | {"scheme": SCHEMES["29"].to_json()}
    save_model(tmp_path / "29.keras", build_model(ARCH, 29, SIZE), card)
    config = student_config(runs, tolerant=str(tmp_path / "29.keras"))
    refused(CheckpointError, faces, run, config, "29.keras: trained for the 29 points", "68")


def test_a_damaged_state_is_one_clear_line(runs, faces, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "tough", run)
    (run / "finished.json").unlink()
    (run / "last" / "state.npz").write_bytes(b"PK\x03\x04 and no more")
    refused(CheckpointError, faces, run, tiny_config("tough"), "state.npz: damaged", resume=True)


def test_a_run_of_any_scheme_learns_where_a_detector_sees_its_faces(tmp_path):
    astronaut = pytest.importorskip("skimage.data").astronaut()
    train(tiny_config(dataset="cofw"), write_faces(tmp_path, "cofw"), tmp_path / "run", verbose=0)
    assert list(read_card(tmp_path / "run")["detector_boxes"]) == ["blazeface"]
    (face,) = Landmarker.load(tmp_path / "run").detect(astronaut)
    assert face.landmarks.shape == (29, 2)
    assert box_iou(face.box, [180, 80, 95, 100]) > 0.5
