"""Runs that go out of hand: which batch did it, and what is kept."""

import json

import pytest

from kdloss.data.batches import ViewBatches
from kdloss.errors import UserError
from kdloss.training.callbacks import EXPLODED, LossWatch, TrainingDiverged
from kdloss.training.fit import train
from tests.training.run_folders import rows_of
from tests.training.tiny_chain import BATCH, tiny_config


def names(epoch, step):
    return [f"face-{epoch}-{step}-{i}" for i in range(5)]


def means(losses):
    return [sum(losses[: i + 1]) / (i + 1) for i in range(len(losses))]


def test_the_batch_is_found_from_the_means_of_an_epoch(tmp_path):
    watch = LossWatch(tmp_path, names)
    for step, mean in enumerate(means([0.5, 0.4, 0.3])):
        watch.check(0, step, mean)
    assert watch.first == 0.5
    watch.sum = 0.0
    losses = means([0.2, 0.5 * EXPLODED * 0.9, 0.5 * EXPLODED * 1.1])
    watch.check(1, 0, losses[0])
    watch.check(1, 1, losses[1])
    with pytest.raises(TrainingDiverged) as raised:
        watch.check(1, 2, losses[2])
    assert "loss 5500 in epoch 2, batch 3 (face-1-2-0, face-1-2-1, face-1-2-2 and 2 more, see" in str(raised.value)
    assert "expected at most 10000 times the 0.5 of the first batch: no epoch was completed" in str(raised.value)
    record = json.loads((tmp_path / "diverged.json").read_text())
    assert (record["epoch"], record["batch"]) == (2, 3)
    assert (record["faces"], record["faces_before"]) == (names(1, 2), names(1, 1))


def test_a_resumed_run_remembers_its_first_loss(tmp_path):
    watch = LossWatch(tmp_path, first=1e-3)
    watch.check(4, 0, 5.0)
    with pytest.raises(TrainingDiverged, match="loss 11 in epoch 5, batch 2"):
        watch.check(4, 1, 8.0)
    for loss in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(TrainingDiverged, match="in epoch 1, batch 1, expected a finite number"):
            LossWatch(tmp_path / "none").check(0, 0, loss)


def test_a_run_that_explodes_names_its_faces_and_keeps_the_last_good_checkpoint(faces, tmp_path, monkeypatch):
    run, spoilt = tmp_path / "run", []
    batch = ViewBatches.batch

    def with_a_bad_label(self, epoch, step):
        images, points = batch(self, epoch, step)
        if (epoch, step) == (1, 1):
            points["hard"][0, 0] = float("nan")
            spoilt.extend(self.faces_of(epoch, step))
        return images, points

    monkeypatch.setattr(ViewBatches, "batch", with_a_bad_label)
    with pytest.raises(TrainingDiverged) as raised:
        train(tiny_config(epochs=2), faces, run, verbose=0)
    assert f"loss nan in epoch 2, batch 2 ({spoilt[0]}, {spoilt[1]}, " in str(raised.value)
    assert f"the last good checkpoint is {run / 'best.keras'}" in str(raised.value)
    assert json.loads((run / "diverged.json").read_text())["faces"] == spoilt
    assert len(spoilt) == BATCH
    assert len(rows_of(run)) == 1
    assert isinstance(raised.value, UserError)
    assert not (run / "finished.json").exists()
