"""train_teacher, train_student and evaluate as they are typed, one after the other."""

import json
import re

import numpy as np
import pytest

from data_prep.prepare import prepare
from kdloss import train_student, train_teacher
from kdloss.experiments.recipes import KD_LOSS
from kdloss.training.config import TrainConfig
from tests.commands.conftest import SMALL
from tests.training.run_folders import rows_of, signal_after
from tests.training.tiny_chain import ARCH


def test_each_command_leaves_a_run_that_the_next_one_finds(chain):
    assert sorted(run.name for run in chain.iterdir() if run.name != "teacher-views") == [
        "300w-student-kd-loss-tiny",
        "300w-tolerant-tiny",
        "300w-tough-tiny",
    ]
    student = chain / "300w-student-kd-loss-tiny"
    config = json.loads((student / "config.json").read_text())
    assert config["tough"] == str(chain / "300w-tough-tiny" / "best.keras")
    assert config["tolerant"] == str(chain / "300w-tolerant-tiny" / "best.keras")
    # The student sees its teachers' views, whatever the recipe says.
    assert config["image_size"] == 32
    # What the recipe says and no flag replaced.
    assert (config["teacher_views"], config["kd_preset"], config["learning_rate"]) == (16, "figure", 2e-3)
    row = json.loads((student / "metrics.jsonl").read_text())
    assert {"main", "tough", "tolerant", "val_nme"} < set(row)
    record = json.loads((student / "evaluation-300w" / "metrics.json").read_text())
    assert record["protocol"]["synthetic"] is True
    assert record["protocol"]["checkpoint"]["path"] == str(student / "best.keras")
    assert np.isfinite(record["subsets"]["full"]["nme_interocular"])


def asked(monkeypatch, arguments):
    """The configuration that train_student makes of its arguments, before anything is trained."""
    found = []
    monkeypatch.setattr("kdloss.training.fit.train", lambda config, *_, **__: found.append(config) or {"val_nme": 1.0})
    assert train_student.main(arguments) == 0
    return found[0]


def test_first_weights_bring_their_network_and_size(at_work, tmp_path, monkeypatch):
    words = ["--method", "none", "--weights", str(at_work / "300w-tough-tiny"), "--out", str(tmp_path / "run")]
    found = asked(monkeypatch, words)
    assert (found.arch, found.image_size) == (ARCH, 32)
    assert asked(monkeypatch, [*words, "--image-size", "64"]).image_size == 64


def test_the_recipe_of_own_faces(data, tmp_path, monkeypatch):
    prepare("folder", data / "made" / "300w" / "raw", tmp_path / "mine", size=64)
    found = asked(monkeypatch, ["--recipe", "own", "--data", str(tmp_path / "mine"), "--out", str(tmp_path / "run")])
    assert (found.dataset, found.method, found.weights) == ("folder", "none", "mobilenetv2-300w")
    assert (found.arch, found.image_size) == ("mobilenetv2-fpn", 224)


def test_students_of_feature_maps(at_work, monkeypatch, capsys):
    tough = str(at_work / "300w-tough-tiny" / "best.keras")
    config = asked(monkeypatch, ["--method", "fa", *SMALL])
    assert f"feature teacher: {tough}" in capsys.readouterr().out
    assert (config.method, config.feature_teacher, config.tough) == ("fa", tough, None)
    assert config.image_size == 32  # the teacher's
    # No points are stored, so views need not repeat; with stored points they do.
    assert config.teacher_views == 0
    config = asked(monkeypatch, ["--method", "kd-loss+fa", "--tough", tough, "--fa-weight", "0.2", *SMALL])
    assert (config.tough, config.feature_teacher, config.fa_weight) == (tough, tough, 0.2)
    assert config.teacher_views == 16
    heatmaps = asked(monkeypatch, ["--method", "fa", "--recipe", "smoke", "--arch", "efficientfan-b0"])
    assert (heatmaps.heatmap_loss, heatmaps.fa_weight) == ("cross-entropy", 0.01)


@pytest.mark.parametrize(("command", "kind"), [(train_teacher, "tolerant"), (train_student, "student")])
def test_a_run_goes_on_by_its_folder_alone_and_for_longer(command, kind, at_work, data, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    flags = ["--kind", kind] if kind != "student" else ["--method", "none"]
    begin = [*flags, *SMALL, "--image-size", "32", "--data", str(data / "300w"), "--out", str(run)]
    with monkeypatch.context() as patch:
        signal_after(patch, 1)
        assert command.main(begin) == 143
    begun = (run / "config.json").read_text()
    monkeypatch.setenv("KDLOSS_DATA", str(tmp_path / "no faces here"))
    assert command.main(["--resume", "--out", str(run)]) == 0
    assert (run / "config.json").read_text() == begun
    rows = rows_of(run)
    assert command.main(["--resume", "--out", str(run), "--epochs", "3"]) == 0
    assert rows_of(run)[: len(rows)] == rows
    assert [row["epoch"] for row in rows_of(run)] == [1, 2, 3]
    assert TrainConfig.from_json(begun).differences(TrainConfig.from_json((run / "config.json").read_text())) == [
        "epochs"
    ]
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"epoch 3/3: loss \S+, validation NME \S+ %, \S+ gone, 00:00 left", lines[-2]), lines
    assert command.main(["--resume", "--out", str(run), "--epochs", "2"]) == 2
    assert "a run of 3 epochs, expected no fewer, found --epochs 2: leave --epochs out" in capsys.readouterr().err
    assert command.main(["--resume", "--out", str(run)]) == 0
    assert ", done before -> " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("accelerators", "recipe"), [([], "cpu"), (["GPU:0"], "gpu")], ids=["without", "with an accelerator"]
)
def test_the_recipe_is_by_the_machine(accelerators, recipe, at_work, monkeypatch, capsys):
    for module in ("kdloss.experiments.recipes", "kdloss.experiments.launch"):
        monkeypatch.setattr(f"{module}.may_have_accelerator", lambda: True)
    monkeypatch.setattr("kdloss.experiments.recipes.environment", lambda: {"accelerators": accelerators})
    config = asked(monkeypatch, ["--method", "none", "--arch", ARCH, "--batch-size", "8"])
    assert (config.image_size, config.batch_size) == (KD_LOSS[recipe].common["image_size"], 8)
