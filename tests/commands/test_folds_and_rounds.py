"""train_teacher --folds and train_student --rounds as they are typed: several runs, cut off and continued."""

import json

import pytest

from kdloss import train_student, train_teacher
from kdloss.errors import ConfigError
from kdloss.models.checkpoint import read_card
from kdloss.training.checks import teacher_files
from kdloss.training.config import TrainConfig
from kdloss.training.runs import find_checkpoint
from tests.commands.conftest import SMALL
from tests.training.run_folders import files_of, signal_after

TEACHER = [*SMALL, "--batch-size", "4", "--kind", "tough", "--image-size", "32", "--folds", "2"]


def times(folder):
    return {file: (folder / file).stat().st_mtime_ns for file in files_of(folder)}


@pytest.fixture
def found(data, workplace, monkeypatch):
    monkeypatch.setenv("KDLOSS_DATA", str(data))
    return workplace / "runs"


def test_teachers_of_folds_are_cut_off_and_continued_and_serve_as_one(found, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        signal_after(patch, 5)  # each fold takes four steps
        assert train_teacher.main(TEACHER) == 143
    folds = found / "300w-tough-tiny"
    assert f"{folds / 'fold-2'} is saved at step 1 of epoch 1" in capsys.readouterr().err
    assert (folds / "fold-1" / "finished.json").is_file()
    first = times(folds / "fold-1")
    # The same command goes on in the same folder; once it is done, it begins another.
    assert train_teacher.main(TEACHER) == 0
    said = capsys.readouterr().out
    assert f"done before -> {folds / 'fold-1'}" in said
    assert f"goes on -> {folds / 'fold-2'}" in said
    assert times(folds / "fold-1") == first
    assert [run.name for run in found.iterdir()] == ["300w-tough-tiny"]
    faces = [json.loads((folds / f"fold-{k}" / "finished.json").read_text())["train_faces"] for k in (1, 2)]
    assert sum(faces) == 17
    assert [read_card(path)["fold"] for path in teacher_files(folds)] == [[1, 2], [2, 2]]
    # Neither fold has seen all faces, so neither is the newest teacher.
    with pytest.raises(ConfigError, match="holds no finished tough for 300w"):
        find_checkpoint("300w", "tough")
    assert train_student.main([*SMALL, "--tough", str(folds), "--teacher-views", "0", "--kd-preset", "public"]) == 2
    assert "one of several folds, which do not run in a step: give --teacher-views K" in capsys.readouterr().err
    student = [*SMALL, "--tough", str(folds), "--teacher-views", "1"]
    assert train_student.main(student) == 0
    assert len(list((found / "teacher-views").glob("views-*"))) == 2


def test_a_second_round_learns_labels_of_the_first_student_too(found, at_work, tmp_path, monkeypatch, capsys):
    tough = str(at_work / "300w-tough-tiny" / "best.keras")
    few = [*SMALL, "--label-share", "0.3", "--unlabelled", "rest", "--method", "none", "--image-size", "32"]
    command = [*few, "--pseudo-teacher", tough, "--rounds", "2", "--out", str(tmp_path / "student")]
    with monkeypatch.context() as patch:
        signal_after(patch, 3)  # each round takes two steps
        assert train_student.main(command) == 143
    assert train_student.main(command) == 0
    rounds = [tmp_path / "student-round-1", tmp_path / "student"]
    configs = [TrainConfig.from_json((place / "config.json").read_text()) for place in rounds]
    assert configs[0].differences(configs[1]) == ["pseudo_teacher"]
    assert [config.labellers for config in configs] == [[tough], [tough, str(rounds[0])]]
    assert all((place / "finished.json").is_file() for place in rounds)
    assert len(list((tmp_path / "teacher-views").glob("labels-*.npy"))) == 2
    capsys.readouterr()
    assert train_student.main([*command, "--resume"]) == 0
    assert capsys.readouterr().out.count("done before") == 2
