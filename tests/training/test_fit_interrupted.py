"""Runs that a signal ends between two steps: their message, their saved state, and the same numbers when continued."""

import json

import numpy as np
import pytest

from kdloss.errors import ConfigError, Terminated, UserError
from kdloss.files import held
from kdloss.training import callbacks
from kdloss.training.fit import train
from kdloss.training.runs import is_cut_off, mark_finished
from tests.training.run_folders import equal_runs, files_of, progress_of, refused, signal_after, state_of
from tests.training.tiny_chain import student_config, tiny_config

STEPS = 4


@pytest.fixture(scope="module")
def config(taught):
    """Three epochs of four steps with everything that has state: averages, warm-up, dropout, several loss terms."""
    return student_config(taught, epochs=3, batch_size=4)


@pytest.fixture(scope="module")
def whole(config, faces, tmp_path_factory):
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(config, faces, folder, verbose=0)
    return folder


@pytest.mark.parametrize(
    "stops", [[6], pytest.param([1, 2, 5], marks=pytest.mark.slow)], ids=["once", "again and at the end of an epoch"]
)
def test_a_run_interrupted_in_an_epoch_ends_as_one_in_a_whole(stops, config, whole, faces, tmp_path, monkeypatch):
    run, steps = tmp_path / "run", 0
    for more in stops:
        with monkeypatch.context() as patch:
            signal_after(patch, more)
            with pytest.raises(Terminated) as stop:
                train(config, faces, run, verbose=0)
        steps += more
        epoch, step = divmod(steps, STEPS)
        where = f"step {step} of epoch {epoch + 1}" if step else f"the end of epoch {epoch}"
        assert str(stop.value) == f"{run} is saved at {where}: run the same command again to go on"
        assert progress_of(run) == (epoch, step)
        assert is_cut_off([(run, config)], faces)
        with held(run):
            assert not is_cut_off([(run, config)], faces)
    train(config, faces, run, verbose=0)
    equal_runs(run, whole)
    assert not is_cut_off([(run, config)], faces)
    assert len(list((run / "tensorboard").iterdir())) == 1  # no epoch stands there twice


def test_views_of_the_device_go_on_as_in_a_whole(taught, faces, tmp_path, monkeypatch):
    """With faces without labels and stored points of one teacher."""
    config = tiny_config(
        "student", method="kd-loss", tough=str(taught / "tough" / "best.keras"), teacher_views=2, views="device",
        label_share=0.5, unlabelled="rest", augment="strong", batch_size=4, epochs=2,
    )  # fmt: skip
    train(config, faces, tmp_path / "whole", verbose=0)
    with monkeypatch.context() as patch:
        signal_after(patch, STEPS + 2)
        with pytest.raises(Terminated):
            train(config, faces, tmp_path / "run", verbose=0)
    assert progress_of(tmp_path / "run") == (1, 2)
    train(config, faces, tmp_path / "run", verbose=0)
    equal_runs(tmp_path / "run", tmp_path / "whole")
    assert all(array.dtype != np.uint8 for array in state_of(tmp_path / "run").values())  # no face is saved with it


@pytest.mark.slow
def test_long_epochs_are_saved_within(config, whole, faces, tmp_path, monkeypatch):
    saved = []
    save = callbacks.save_state

    def noted(path, variables, progress):
        saved.append((progress.epoch, progress.step))
        save(path, variables, progress)

    monkeypatch.setattr(callbacks, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(callbacks, "save_state", noted)
    train(config, faces, tmp_path / "run", verbose=0)
    assert saved == [divmod(step, STEPS) for step in range(1, 3 * STEPS + 1)]
    equal_runs(tmp_path / "run", whole)


def test_one_process_at_a_time_trains_in_a_folder(faces, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(tiny_config().to_json())
    with held(run), pytest.raises(UserError, match="run: another process works there"):
        train(tiny_config(), faces, run, verbose=0)
    assert "metrics.jsonl" not in files_of(run)


def test_a_run_of_other_settings_and_a_damaged_one_are_not_cut_off(faces, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(tiny_config(seed=1).to_json())
    assert not is_cut_off([(run, tiny_config())], faces)
    (run / "config.json").write_text("{")
    assert not is_cut_off([(run, tiny_config())], faces)
    refused(ConfigError, faces, run, tiny_config(), "config.json: damaged")


@pytest.mark.parametrize("done", [False, True])
def test_a_run_on_other_faces_is_refused_and_not_cut_off(done, faces, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(tiny_config().to_json())
    (run / "faces.json").write_text(json.dumps({"faces": faces.manifest["content"]}))
    assert is_cut_off([(run, tiny_config())], faces)
    (run / "faces.json").write_text(json.dumps({"faces": "others"}))
    assert not is_cut_off([(run, tiny_config())], faces)
    if done:
        mark_finished(run, {"val_nme": 1.0})
    refused(ConfigError, faces, run, tiny_config(), "holds a run on other faces: give another folder")
    (run / "faces.json").write_text("{")
    refused(ConfigError, faces, run, tiny_config(), "faces.json: damaged")
