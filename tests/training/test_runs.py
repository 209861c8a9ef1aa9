"""Run folders: never taken twice, and found again by what they hold."""

import json
import os
from pathlib import Path

import pytest

from kdloss.errors import CheckpointError, ConfigError
from kdloss.files import write_whole
from kdloss.training.config import TrainConfig
from kdloss.training.runs import (
    check_run_folder,
    find_checkpoint,
    find_teachers,
    finished,
    mark_finished,
)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("KDLOSS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def make_run(root):
    """``make_run(name, kind, age, done, **config)`` -> the run's ``best.keras``; a higher age is longer ago."""

    def make(name, kind="student", age=0, done=True, best=True, **config):
        folder = root / name
        folder.mkdir(parents=True)
        record = {"dataset": "300w", "kind": kind, "image_size": 96, "box": "gt:1.25"} | config
        (folder / "config.json").write_text(json.dumps(record))
        if best:
            (folder / "best.keras").write_bytes(b"")
        if done:
            mark_finished(folder, {"val_nme": 5.0})
            os.utime(folder / "finished.json", (1e9 - age, 1e9 - age))
        return folder / "best.keras"

    return make


def test_the_newest_finished_run_of_ours_is_found(make_run, root):
    make_run("old", age=100)
    newest = make_run("reproduce/none", age=10)
    make_run("unfinished", done=False)
    make_run("without a network", best=False)
    make_run("other set", dataset="cofw")
    tough = make_run("teacher", kind="tough")
    for i, config in enumerate([None, "", "[]", '{"dataset": "300w", "kind": "student"}']):
        make_run(f"stray {i}")
        (root / f"stray {i}" / "config.json").unlink()
        if config is not None:
            (root / f"stray {i}" / "config.json").write_text(config)
    assert Path(find_checkpoint("300w")) == newest
    assert Path(find_checkpoint("300w", "tough")) == tough


@pytest.mark.parametrize(("kind", "command"), [("student", "train_student"), ("tough", "train_teacher --kind tough")])
def test_without_a_run_one_line_says_how_to_train_one(make_run, root, kind, command):
    make_run("other set", dataset="cofw", kind=kind)
    message = f"^{root}: holds no finished {kind} for 300w.*python -m kdloss.{command} --dataset 300w.*or name a ch"
    with pytest.raises(ConfigError, match=message):
        find_checkpoint("300w", kind)


def test_the_newest_teachers_that_match_are_paired(make_run):
    make_run("tough 96 old", kind="tough", age=50)
    tough = make_run("tough 96", kind="tough", age=20)
    make_run("tough 224", kind="tough", age=0, image_size=224)
    tolerant = make_run("tolerant 96", kind="tolerant", age=10)
    make_run("tolerant 96 old", kind="tolerant", age=90)
    make_run("tolerant 96 of another box", kind="tolerant", age=5, box="paper")
    assert find_teachers("300w") == {"tough": str(tough), "tolerant": str(tolerant)}


def test_teachers_that_do_not_match_are_no_pair(make_run):
    make_run("tough", kind="tough", image_size=224)
    with pytest.raises(ConfigError, match="holds no finished tolerant for 300w"):
        find_teachers("300w")
    for name, changes in {"of another size": {}, "of another box": {"image_size": 224, "box": "paper"}}.items():
        make_run(name, kind="tolerant", **changes)
        with pytest.raises(ConfigError, match="train both with the same --image-size and --box"):
            find_teachers("300w")
    partner = make_run("tolerant 224", kind="tolerant", image_size=224)
    assert find_teachers("300w")["tolerant"] == str(partner)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000])
def test_damaged_results_are_named(text, make_run):
    folder = make_run("a").parent
    (folder / "finished.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"finished\.json: damaged"):
        finished(folder)


def test_a_finished_run_without_its_checkpoint_is_not_done(root):
    config = TrainConfig("student", "300w", "mobilenetv2")
    write_whole(root / "a" / "config.json", config.to_json())
    mark_finished(root / "a", {"val_nme": 5.0, "epochs": 1})
    with pytest.raises(CheckpointError, match=r"its best\.keras is gone"):
        check_run_folder(root / "a", config, False)
