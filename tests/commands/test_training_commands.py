"""train_teacher, train_student and evaluate as they are typed, one after the other, and typed wrongly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asm import ShapeModel
from kdloss import evaluate, train_student, train_teacher
from kdloss.models import build_model
from kdloss.models.regressors import REGRESSORS
from kdloss.training.checkpoint import read_card
from tests.training.tiny_chain import ARCH, TINY

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = ["--recipe", "smoke", "--arch", ARCH, "--batch-size", "8", "--epochs", "1"]


@pytest.fixture(scope="module")
def chain(data, tmp_path_factory):
    """``KDLOSS_RUNS`` after the commands of the README: both teachers, a student, and its evaluation."""
    root = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGRESSORS, ARCH, TINY)
        patch.setenv("KDLOSS_DATA", str(data))
        patch.setenv("KDLOSS_RUNS", str(root))
        for kind in ("tough", "tolerant"):
            assert train_teacher.main(["--kind", kind, *SMALL, "--image-size", "32"]) == 0
        assert train_student.main(SMALL) == 0
        assert evaluate.main(["--dataset", "300w"]) == 0
    return root


@pytest.fixture
def at_work(data, chain, monkeypatch):
    monkeypatch.setenv("KDLOSS_DATA", str(data))
    monkeypatch.setenv("KDLOSS_RUNS", str(chain))
    return chain


def config_of(run):
    return json.loads((run / "config.json").read_text())


def test_each_command_leaves_a_run_that_the_next_one_finds(chain):
    assert sorted(run.name for run in chain.iterdir() if run.name != "teacher-views") == [
        "300w-student-kd-loss-tiny",
        "300w-tolerant-tiny",
        "300w-tough-tiny",
    ]
    student = chain / "300w-student-kd-loss-tiny"
    config = config_of(student)
    assert config["tough"] == str(chain / "300w-tough-tiny" / "best.keras")
    assert config["tolerant"] == str(chain / "300w-tolerant-tiny" / "best.keras")
    # The student sees its teachers' views, whatever the recipe says.
    assert config["image_size"] == 32
    # What the recipe says and no flag replaced.
    assert (config["teacher_views"], config["kd_preset"], config["learning_rate"]) == (3, "dev2020", 2e-3)
    row = json.loads((student / "metrics.jsonl").read_text())
    assert {"main", "tough", "tolerant", "val_nme"} < set(row)
    record = json.loads((student / "evaluation-300w" / "metrics.json").read_text())
    assert record["protocol"]["synthetic"] is True
    assert record["protocol"]["checkpoint"]["path"] == str(student / "best.keras")
    assert np.isfinite(record["subsets"]["full"]["nme_interocular"])


def test_one_teacher_a_preset_and_the_unit(at_work, tmp_path, capsys):
    tough = at_work / "300w-tough-tiny"
    options = ["--tough", str(tough), "--preset", "public", "--unit", "pixel", "--teacher-views", "0", "--ema", "0.5"]
    assert train_student.main([*SMALL, *options, "--out", str(tmp_path / "run")]) == 0
    config = config_of(tmp_path / "run")
    assert (config["kd_preset"], config["unit"], config["ema"], config["tolerant"]) == ("public", "pixel", 0.5, None)
    row = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert "tough" in row
    assert "tolerant" not in row
    text = capsys.readouterr().out
    assert "17 synthetic faces of 300w (validation: 3), 1 epochs" in text
    assert f"% -> {tmp_path / 'run' / 'best.keras'}" in text


def test_no_method_and_an_own_shape_model(at_work, tmp_path, capsys):
    options = ["--image-size", "32", "--loss", "wing", "--seed", "4"]
    assert train_student.main(["--method", "none", *SMALL, *options, "--out", str(tmp_path / "none")]) == 0
    assert "wing_hard" in json.loads((tmp_path / "none" / "metrics.jsonl").read_text())
    assert read_card(tmp_path / "none")["seed"] == 4
    shape = at_work / "300w-tolerant-tiny" / "shape.npz"
    options = ["--kind", "tolerant", "--image-size", "32", "--shape", str(shape)]
    assert train_teacher.main([*SMALL, *options, "--out", str(tmp_path / "own")]) == 0
    models = [ShapeModel.load(run / "shape.npz") for run in (tmp_path / "own", shape.parent)]
    assert np.array_equal(models[0].modes, models[1].modes)
    # The same shape model, so the same run.
    losses = [json.loads((run / "metrics.jsonl").read_text())["loss"] for run in (tmp_path / "own", shape.parent)]
    assert losses[0] == losses[1]


def test_smaller_sides_first_and_layers_that_are_not_trained(at_work, tmp_path, capsys):
    start = at_work / "300w-tough-tiny" / "best.keras"
    options = ["--image-size", "64", "--stages", "32:0.5", "--weights", str(start), "--frozen", "2"]
    assert train_student.main(["--method", "none", *SMALL[:-1], "2", *options, "--out", str(tmp_path / "run")]) == 0
    assert "tiny at 32, 64 px on 17 synthetic faces" in capsys.readouterr().out
    config = config_of(tmp_path / "run")
    assert (config["stages"], config["frozen"], config["image_size"]) == ("32:0.5", 2, 64)
    assert read_card(tmp_path / "run")["image_size"] == 64


def fails(capsys, command, arguments, *parts):
    """The command ends with 2 and one line that holds the parts; no run folder is left behind."""
    runs = Path(os.environ["KDLOSS_RUNS"])
    before = sorted(runs.iterdir()) if runs.exists() else []
    capsys.readouterr()
    assert command.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]
    assert (sorted(runs.iterdir()) if runs.exists() else []) == before


def test_without_data_each_says_in_one_line_how_to_get_some(capsys):
    for command, arguments in (
        (train_teacher, ["--kind", "tolerant"]),
        (train_teacher, ["--kind", "tough", "--dataset", "wflw"]),
        (train_student, []),
        (train_student, ["--method", "none"]),
        (evaluate, ["--dataset", "cofw"]),
    ):
        fails(capsys, command, arguments, "make demo")
    fails(capsys, train_teacher, ["--kind", "tough"], "python -m data_prep 300w --source RAW --out")
    fails(capsys, train_teacher, ["--kind", "tough", "--data", "absent"], "--data absent: no such folder")


def test_data_without_teachers_and_teachers_without_students(data, capsys, monkeypatch):
    monkeypatch.setenv("KDLOSS_DATA", str(data))
    fails(
        capsys, train_student, ["--dataset", "cofw"], "holds no finished tough for cofw", "train_teacher --kind tough"
    )
    fails(capsys, evaluate, ["--dataset", "cofw"], "holds no finished student for cofw", "train_student")


def test_teachers_and_checkpoints_that_do_not_fit(at_work, data, tmp_path, capsys):
    teachers = ["--tough", str(at_work / "300w-tough-tiny"), "--tolerant", str(at_work / "300w-tolerant-tiny")]
    fails(
        capsys, train_student, [*SMALL, "--dataset", "cofw", *teachers], "--tough", "trained on 300w", "expected cofw"
    )
    fails(capsys, train_student, [*SMALL, *teachers, "--image-size", "64"], "image_size 32", "expected 64")
    fails(capsys, train_student, [*SMALL, *teachers, "--box", "gt:1.5"], "box gt:1.25", "expected gt:1.5")
    checkpoint = at_work / "300w-tough-tiny" / "best.keras"
    fails(capsys, evaluate, ["--dataset", "cofw", "--checkpoint", str(checkpoint)], "68 points", "29")

    (tmp_path / "cut.keras").write_bytes(checkpoint.read_bytes()[:3000])
    (tmp_path / "text.keras").write_text("no model")
    build_model(ARCH, 68, 32).save(tmp_path / "bare.keras")
    for name, part in (
        ("cut", "damaged"),
        ("text", "damaged"),
        ("bare", "no kdloss.json"),
        ("absent", "no such"),
    ):
        path = str(tmp_path / f"{name}.keras")
        fails(capsys, train_student, [*SMALL, "--tough", path], path, part)
        fails(capsys, train_student, [*SMALL, "--tolerant", path], path, part)
        fails(capsys, evaluate, ["--dataset", "300w", "--checkpoint", path], path, part)


def asked(monkeypatch, arguments):
    """The configuration that train_student makes of its arguments, before anything is trained."""
    found = []
    monkeypatch.setattr(train_student, "run_training", lambda config, *rest: found.append(config) or 0)
    assert train_student.main(arguments) == 0
    return found[0]


def test_students_of_feature_maps(at_work, monkeypatch, capsys):
    tough = str(at_work / "300w-tough-tiny" / "best.keras")
    config = asked(monkeypatch, ["--method", "fa-ps", *SMALL])
    assert f"feature teacher: {tough}" in capsys.readouterr().out
    assert (config.method, config.feature_teacher, config.tough) == ("fa-ps", tough, None)
    assert config.image_size == 32  # the teacher's
    # No points are stored, so views need not repeat; with stored points they do.
    assert config.teacher_views == 0
    config = asked(monkeypatch, ["--method", "kd-loss+ps", "--tough", tough, "--ps-weight", "0.2", *SMALL])
    assert (config.tough, config.feature_teacher, config.ps_weight) == (tough, tough, 0.2)
    assert config.teacher_views == 3
    heatmaps = asked(monkeypatch, ["--method", "ps", "--recipe", "smoke", "--arch", "efficientfan-b0"])
    assert (heatmaps.heatmap_loss, heatmaps.ps_weight) == ("cross-entropy", 0.1)


def test_feature_teachers_and_heatmap_flags_that_do_not_fit(at_work, capsys):
    sized = [*SMALL, "--method", "fa", "--image-size", "64"]
    fails(capsys, train_student, sized, "holds no finished tough for 300w with --image-size 64")
    fails(capsys, train_student, [*SMALL, "--method", "none", "--heatmap-weight", "2"], "no heatmap loss")
    tough = str(at_work / "300w-tough-tiny")
    wrong = [*SMALL, "--method", "fa", "--tough", tough, "--feature-teacher", tough]
    fails(capsys, train_student, wrong, "learns no teacher's points", "--feature-teacher")
    fails(capsys, train_student, [*SMALL, "--method", "none", "--heatmap-loss", "mse"], "regresses points")


def test_values_out_of_range(at_work, capsys):
    none = [*SMALL, "--method", "none", "--image-size", "32"]
    fails(capsys, train_student, [*none, "--batch-size", "18"], "--batch-size 18", "17 faces")
    fails(capsys, train_student, [*none, "--batch-size", "0"], "--batch-size 0")
    fails(capsys, train_student, [*none, "--epochs", "0"], "--epochs 0")
    fails(capsys, train_student, [*none, "--image-size", "33"], "image size is 33")
    fails(capsys, train_student, [*none, "--learning-rate", "-1"], "--learning-rate -1.0")
    fails(capsys, train_student, [*none, "--ema", "1"], "--ema 1.0")
    fails(capsys, train_student, [*none, "--box", "eyes"], "--box eyes")
    fails(capsys, train_student, [*none, "--arch", "resnet"], "'resnet'")
    fails(capsys, train_student, [*none, "--weights", "absent.h5"], "--weights absent.h5")
    fails(capsys, train_student, [*none, "--tough", "a"], "--method none")
    tolerant = [*SMALL, "--kind", "tolerant", "--image-size", "32"]
    fails(capsys, train_teacher, [*tolerant, "--variance", "1.5"], "1.5")
    fails(capsys, train_teacher, [*tolerant, "--shape", "absent.npz"], "absent.npz")


def test_the_loss_that_diverges(at_work, tmp_path, capsys):
    options = ["--method", "none", "--image-size", "32", "--learning-rate", "1e30", "--out", str(tmp_path / "run")]
    fails(
        capsys, train_student, [*SMALL, *options, "--epochs", "3"], "in epoch ", ", batch ", "a lower --learning-rate"
    )


def test_runs_are_neither_overwritten_nor_mixed(at_work, capsys):
    out = ["--out", str(at_work / "300w-tough-tiny")]
    tough = [*SMALL, "--kind", "tough", "--image-size", "32"]
    assert train_teacher.main([*tough, *out]) == 0
    assert ", done before -> " in capsys.readouterr().out
    fails(capsys, train_teacher, [*tough, *out, "--seed", "3"], "--out", "a run of other settings", "seed differ")
    fails(capsys, train_teacher, [*tough, *out, "--resume", "--seed", "3", "--epochs", "2"], "epochs, seed differ")
    fails(capsys, train_teacher, [*tough, "--resume"], "--resume", "--out")
    assert train_teacher.main([*tough, *out, "--resume"]) == 0


@pytest.mark.parametrize(
    ("command", "arguments", "part"),
    [
        (train_teacher, ["--kind", "kind"], "invalid choice"),
        (train_teacher, ["--kind", "tough", "--variance", "0.9"], "only --kind tolerant"),
        (train_teacher, ["--kind", "tolerant", "--variance", "0.9", "--shape", "a.npz"], "give one of the two"),
        (train_student, ["--method", "none", "--preset", "public"], "belong to --method kd-loss"),
        (train_student, ["--method", "fa", "--ps-weight", "1"], "--ps-weight belongs to --method ps"),
        (train_student, ["--epochs", "many"], "invalid int value"),
        (train_student, ["--preset", "secret"], "invalid choice"),
    ],
)
def test_flags_that_do_not_go_together(command, arguments, part, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert part in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["kdloss.train_teacher", "--kind", "tolerant"],
        ["kdloss.train_student", "--tough", "damaged.keras"],
    ],
)
def test_a_users_mistake_in_a_process_of_its_own(command, workplace):
    (workplace / "damaged.keras").write_bytes(b"PK\x03\x04")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=workplace, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    # TensorFlow may say of itself that it found no CUDA; nothing else is said.
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]
    assert sorted(path.name for path in workplace.iterdir()) == ["damaged.keras"]
