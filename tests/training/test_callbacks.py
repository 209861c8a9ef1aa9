"""The callback of a run: averaged weights, the best checkpoint, diverging losses, and a disk that fills up."""

import json

import keras
import numpy as np
import pytest

from kdloss.data.augmentation import augmentation
from kdloss.data.batches import ViewBatches, training_data
from kdloss.errors import Interruption, UserError
from kdloss.models import build_model
from kdloss.models.checkpoint import load_model
from kdloss.training.callbacks import EXPLODED, LossWatch, RunRecorder, TrainingDiverged
from kdloss.training.distribution import OneDevice
from kdloss.training.fit import train
from kdloss.training.state import Deadline, Progress
from kdloss.training.trainer import DistillationTrainer
from tests.training.run_folders import rows_of
from tests.training.tiny_chain import ARCH, BATCH, SIZE, arrays, same, tiny_config

MOMENTUM = 0.8


class Watcher(keras.callbacks.Callback):
    """Computes the moving average of the weights once more, batch by batch."""

    def __init__(self):
        super().__init__()
        self.average = self.weights = None

    def on_train_batch_end(self, batch, logs=None):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        self.weights = arrays(self.model.student.trainable_variables)
        if self.average is None:
            self.average = self.weights
        pairs = zip(self.average, self.weights, strict=True)
        self.average = [MOMENTUM * average + (1 - MOMENTUM) * weight for average, weight in pairs]


def fit(faces, folder, validate, ema):
    trainer = DistillationTrainer(tiny_config(), build_model(ARCH, 68, SIZE))
    optimizer = keras.optimizers.AdamW(1e-2, use_ema=ema, ema_momentum=MOMENTUM)
    trainer.compile(optimizer=optimizer, jit_compile=False)
    views = {"size": SIZE, "batch_size": BATCH, "augment": augmentation("paper"), "seed": 0}
    batches = ViewBatches(faces, faces.indices("train"), **views)
    card = {"arch": ARCH, "dataset": "300w", "scheme": faces.scheme.to_json(), "image_size": SIZE, "box": "gt:1.25"}
    options = {"ema": ema, "last_epoch": 2, "faces_of": batches.faces_of, "deadline": Deadline()}
    options |= {"interruption": Interruption(), "distribution": OneDevice()}
    recorder = RunRecorder(folder, card, validate, Progress(), **options)
    watcher = Watcher()
    callbacks = [watcher, recorder, back_to_training(watcher)]
    how = {"epochs": 2, "steps_per_epoch": batches.steps, "callbacks": callbacks, "verbose": 0, "shuffle": False}
    trainer.fit(training_data(batches, 0, 2 * batches.steps), **how)
    return recorder, watcher


def back_to_training(watcher):
    """A callback that runs after the recorder: the weights must be those of training again, to the bit."""

    def check(epoch, logs):
        assert same(arrays(watcher.model.student.trainable_variables), watcher.weights)

    return keras.callbacks.LambdaCallback(on_epoch_end=check)


@pytest.mark.parametrize(("ema", "scores"), [(True, [4.0, 3.0]), (False, [4.0, 4.5])])
def test_the_average_is_validated_the_best_is_kept_and_training_goes_on_with_its_own_weights(
    ema, scores, faces, tmp_path
):
    validated = []

    def validate(network):
        validated.append(arrays(network.trainable_variables))
        return scores[len(validated) - 1]

    recorder, watcher = fit(faces, tmp_path, validate, ema)
    assert [row["val_nme"] for row in recorder.progress.rows] == scores
    best = int(np.argmin(scores))
    model, card = load_model(tmp_path)
    assert recorder.progress.best == card["val_nme"] == scores[best]
    assert card["epoch"] == best + 1
    assert same(arrays(model.trainable_variables), validated[best])
    expected = watcher.average if ema else watcher.weights
    for found, wanted in zip(validated[-1], expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    assert same(validated[-1], watcher.weights) is not ema


def test_a_validation_that_is_no_number_stops_the_run(faces, tmp_path):
    with pytest.raises(TrainingDiverged, match="epoch 1"):
        fit(faces, tmp_path, lambda network: float("nan"), ema=False)
    assert not (tmp_path / "best.keras").exists()


def names(epoch, step):
    return [f"face-{epoch}-{step}-{i}" for i in range(5)]


def means(losses):
    return [sum(losses[: i + 1]) / (i + 1) for i in range(len(losses))]


def test_the_batch_is_found_from_the_means_of_an_epoch(tmp_path):
    progress = Progress()
    watch = LossWatch(tmp_path, progress, names)
    for step, mean in enumerate(means([0.5, 0.4, 0.3])):
        watch.check(0, step, mean)
    assert progress.first_loss == 0.5
    progress.end_epoch()
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
    watch = LossWatch(tmp_path, Progress(first_loss=1e-3), names)
    watch.check(4, 0, 5.0)
    with pytest.raises(TrainingDiverged, match="loss 11 in epoch 5, batch 2"):
        watch.check(4, 1, 8.0)
    for loss in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(TrainingDiverged, match=r"in epoch 1, batch 1 .*, expected a finite number"):
            LossWatch(tmp_path / "none", Progress(), names).check(0, 0, loss)


def test_a_run_that_explodes_names_its_faces_and_keeps_the_last_good_checkpoint(faces, tmp_path, monkeypatch):
    run, spoilt = tmp_path / "run", []
    batch = ViewBatches.batch

    def with_a_bad_label(self, epoch, step):
        images, points = batch(self, epoch, step)
        if (epoch, step) == (1, 1):
            points["hard"][0, 0] = float("inf")
            spoilt.extend(self.faces_of(epoch, step))
        return images, points

    monkeypatch.setattr(ViewBatches, "batch", with_a_bad_label)
    with pytest.raises(TrainingDiverged) as raised:
        train(tiny_config(epochs=2), faces, run, verbose=0)
    assert f"loss inf in epoch 2, batch 2 ({spoilt[0]}, {spoilt[1]}, " in str(raised.value)
    assert f"the last good checkpoint is {run / 'best.keras'}" in str(raised.value)
    assert json.loads((run / "diverged.json").read_text())["faces"] == spoilt
    assert len(spoilt) == BATCH
    assert len(rows_of(run)) == 1
    assert isinstance(raised.value, UserError)
    assert not (run / "finished.json").exists()
