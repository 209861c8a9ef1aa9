"""``kdloss.benchmark time-to-accuracy``: what ends a run, what is noted, and what the table makes of it."""

import json

import pytest

from kdloss.benchmark import main
from kdloss.benchmarking import accuracy_time
from kdloss.benchmarking.accuracy_time_recipes import RECIPES, TimedRecipe
from kdloss.benchmarking.accuracy_time_run import Run, train_timed
from kdloss.benchmarking.accuracy_time_tables import accuracy_time_table
from kdloss.evaluation.evaluation import evaluate_checkpoint
from kdloss.evaluation.record_files import record_tables
from kdloss.evaluation.table import text_table
from kdloss.recipes import KD_LOSS
from kdloss.training.checkpoint import read_card
from tests.benchmarking import tiny_process
from tests.training.run_folders import rows_of
from tests.training.tiny_chain import ARCH, BATCH

STUDENT = {"arch": ARCH, "image_size": 64, "batch_size": BATCH, "epochs": 4, "augment": "light", "loss": "l1"}
STAGED = STUDENT | {"stages": "32:0.5"}
TAUGHT = STUDENT | {"method": "kd-loss", "teacher_views": 1, "epochs": 2}


def run_of(recipe, faces, folder, target=0.01, minutes=10.0):
    folder.mkdir()
    return Run(faces.path, *recipe.configs("300w", 3, folder / "teacher"), target, minutes, folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("timed")


def test_a_run_in_stages_to_the_end_of_its_schedule(faces, folder):
    rows = train_timed(run_of(TimedRecipe("in stages", STAGED), faces, folder / "whole"))
    assert [(row["role"], row["epoch"], row["side"]) for row in rows] == [
        ("student", epoch, 32 if epoch < 3 else 64) for epoch in (1, 2, 3, 4)
    ]
    assert [row["images"] for row in rows] == [16, 32, 48, 64]
    assert [row["val_nme"] for row in rows] == [row["val_nme"] for row in rows_of(folder / "whole" / "student")]
    for one, after in zip([None, *rows], rows, strict=False):
        for clock in ("seconds", "steps_seconds", "cpu_seconds"):
            assert after[clock] > (one[clock] if one else 0)
        assert after["steps_seconds"] < after["seconds"]
    for row in rows:
        if row["checkpoint"]:
            card = read_card(folder / "whole" / row["checkpoint"])
            assert (card["epoch"], card["image_size"], card["val_nme"]) == (row["epoch"], row["side"], row["val_nme"])
    assert rows[0]["checkpoint"]
    assert rows[2]["checkpoint"]  # the first of another side


def test_the_target_ends_a_run_at_the_final_side_alone(faces, folder):
    rows = train_timed(run_of(TimedRecipe("in stages", STAGED), faces, folder / "target", target=1000.0))
    assert [row["side"] for row in rows] == [32, 32, 64]


def test_minutes_end_a_run(faces, folder):
    rows = train_timed(run_of(TimedRecipe("short", STUDENT), faces, folder / "minutes", minutes=1e-6))
    assert [row["epoch"] for row in rows] == [1]


def test_a_teacher_is_trained_in_the_same_minutes(faces, folder):
    recipe = TimedRecipe("taught", TAUGHT, teacher=STUDENT | {"epochs": 1})
    rows = train_timed(run_of(recipe, faces, folder / "taught", target=1000.0))
    assert [(row["role"], row["epoch"]) for row in rows] == [("teacher", 1), ("student", 1)]
    assert rows[1]["seconds"] > rows[0]["seconds"] > 0
    assert rows[1]["images"] == 2 * rows[0]["images"] == 32
    assert rows[0]["checkpoint"] is None


@pytest.fixture(scope="module")
def record(faces, tmp_path_factory):
    """Of a recipe that has the first of two seeds alone, typed."""
    folder = tmp_path_factory.mktemp("typed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accuracy_time, "serve", tiny_process.serve)
        patch.setitem(RECIPES, "staged", TimedRecipe("in stages", STAGED, seeds=1))
        words = ["--recipe", "staged", "--dataset", "300w", "--data", str(faces.path), "--seeds", "5", "1"]
        words += ["--target", "9", "--epochs", "2"]
        words += ["--json", str(folder / "a.json"), "--plot", str(folder / "a.png")]
        assert main(["time-to-accuracy", *words]) == 0
    return folder / "a.json"


def test_the_record_of_the_command(record):
    found = json.loads(record.read_text(encoding="utf-8"))
    assert found["kind"] == "accuracy_time"
    assert (found["dataset"], found["synthetic"], found["subset"], found["target"]) == ("300w", True, "common", 9)
    assert found["faces"] == {"train": 17, "val": 3, "test": 6}
    (row,) = found["rows"]
    (run,) = row["runs"]
    assert (row["student"], row["teacher"]) == (STAGED, None)
    assert run["seed"] == 5
    assert [one["side"] for one in run["epochs"]] == [32, 64]
    assert all(one["test_nme"] > 0 for one in run["epochs"])
    assert (record.parent / "a.png").read_bytes().startswith(b"\x89PNG")


def test_test_errors_are_those_of_the_evaluation(faces, folder):
    place = folder / "errors"
    run = {"epochs": train_timed(run_of(TimedRecipe("short", STUDENT | {"epochs": 1}), faces, place))}
    expected = evaluate_checkpoint(faces, place / run["epochs"][0]["checkpoint"]).metrics["subsets"]["common"]
    accuracy_time._add_test_errors(run, place, faces)
    assert run["epochs"][0]["test_nme"] == expected["nme_interocular"]
    assert "checkpoint" not in run["epochs"][0]


def epochs(*numbers, role="student", side=64):
    names = ("seconds", "val_nme", "test_nme")
    more = {"role": role, "side": side, "cpu_seconds": 1.0, "steps_seconds": 1.0, "images": 5}
    return [dict(zip(names, row, strict=True)) | more for row in numbers]


def test_minutes_are_those_of_the_first_epoch_at_the_target(monkeypatch):
    monkeypatch.setitem(RECIPES, "a", TimedRecipe("in stages", STAGED))
    runs = [
        {"seed": 0, "epochs": epochs((60, 5.0, None), side=32) + epochs((120, 7.0, 6.5), (180, 6.0, 5.9))},
        {"seed": 1, "epochs": epochs((30, 1.0, None), role="teacher") + epochs((90, 6.5, 6.0), (150, 6.1, 5.8))},
    ]
    row = accuracy_time._row("a", runs, 6.0)
    assert row["minutes_to_validation"] == {"median": 3.0, "low": 3.0, "high": 3.0, "n": 1, "of": 2}
    assert row["minutes_to_test"] == {"median": 2.25, "low": 1.5, "high": 3.0, "n": 2, "of": 2}
    assert row["val_nme"]["median"] == pytest.approx(6.05)
    none = accuracy_time._row("a", [{"seed": 0, "epochs": epochs((240, 7.0, 6.5))}], 6.0)
    assert none["minutes_to_validation"] is None
    record = {"rows": [row, none], "target": 6.0, "minutes": 4.0, "subset": "common", "dataset": "300w"}
    record |= {"faces": {"train": 17, "val": 3, "test": 6}, "synthetic": True, "normaliser": "interocular"}
    record |= {"machine": {"processor": "a processor", "cores": 2, "accelerators": [], "backend": "tensorflow"}}
    text = text_table(accuracy_time_table(record))
    assert "3.00, 1 of 2" in text
    assert "2.25 (1.50 to 3.00)" in text
    assert "not in 4.0" in text
    assert "17 rendered faces to train" in text


def test_a_record_is_shown_in_documents(record):
    (table,) = record_tables(record)
    (row,) = table.rows
    assert row.label == "staged"
    assert "staged: in stages" in table.notes
    assert (row.cells["sides"], row.cells["seeds"]) == ("32:0.5, 64", 1)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_trained(name, tmp_path):
    recipe = RECIPES[name]
    teacher, student = recipe.configs("300w", 4, tmp_path / "teacher")
    assert (student.kind, student.seed) == ("student", 4)
    assert (teacher is None) == (recipe.teacher is None) == (student.tough is None)
    assert recipe.configs("300w", 4, tmp_path, epochs=1)[1].epochs == 1


def test_the_last_step_is_the_preset(tmp_path):
    _, student = RECIPES["cpu"].configs("300w", 4, tmp_path)
    assert student == KD_LOSS["cpu"].seeded(4).config("student", "300w")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--recipe", "cpu", "slow"], "--recipe slow: expected some of "),
        (["--target", "0"], "--target 0.0: expected a number above 0"),
        (["--minutes", "-1"], "--minutes -1.0: expected a number above 0"),
        (["--seeds", "0", "-1"], "--seeds -1: expected 0 at least"),
        (["--epochs", "0"], "--epochs 0: expected 1 at least"),
        (["--plot", "a.jpg"], "--plot a.jpg: expected a name that ends in .png"),
    ],
)
def test_wrong_options(words, message, faces, capsys):
    assert main(["time-to-accuracy", "--dataset", "300w", "--data", str(faces.path), *words]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1
