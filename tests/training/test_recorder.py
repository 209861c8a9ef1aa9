"""The callback at the end of each epoch: averages are validated and kept, and the training weights come back."""

import keras
import numpy as np
import pytest

from kdloss.data.augmentation import augmentation
from kdloss.data.batches import ViewBatches, training_data
from kdloss.models import build_model
from kdloss.models.checkpoint import load_model
from kdloss.training.callbacks import RunRecorder, TrainingDiverged
from kdloss.training.trainer import DistillationTrainer, objective_for
from tests.training.tiny_chain import ARCH, BATCH, SIZE, arrays, same, tiny_config

MOMENTUM = 0.8


class Watcher(keras.callbacks.Callback):
    """Computes the moving average of the weights once more, batch by batch."""

    def __init__(self):
        super().__init__()
        self.average = self.weights = None

    def on_train_batch_end(self, batch, logs=None):
        self.weights = arrays(self.model.student.trainable_variables)
        if self.average is None:
            self.average = self.weights
        pairs = zip(self.average, self.weights, strict=True)
        self.average = [MOMENTUM * average + (1 - MOMENTUM) * weight for average, weight in pairs]


def fit(faces, folder, validate, ema):
    objective, terms = objective_for(tiny_config())
    trainer = DistillationTrainer(build_model(ARCH, 68, SIZE), objective)
    trainer.track_terms(terms)
    optimizer = keras.optimizers.AdamW(1e-2, use_ema=ema, ema_momentum=MOMENTUM)
    trainer.compile(optimizer=optimizer, jit_compile=False)
    views = {"size": SIZE, "batch_size": BATCH, "augment": augmentation("paper"), "seed": 0}
    batches = ViewBatches(faces, faces.indices("train"), **views)
    card = {"arch": ARCH, "dataset": "300w", "scheme": faces.scheme.to_json(), "image_size": SIZE, "box": "gt:1.25"}
    recorder = RunRecorder(folder, card, validate, ema=ema)
    watcher = Watcher()
    callbacks = [watcher, recorder, back_to_training(watcher)]
    how = {"epochs": 2, "steps_per_epoch": batches.steps, "callbacks": callbacks, "verbose": 0, "shuffle": False}
    trainer.fit(training_data(batches, 0, 2 * batches.steps), **how)
    return recorder, watcher


def back_to_training(watcher):
    """A callback behind the recorder: the weights must be those of training again, to the bit."""

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
    assert [row["val_nme"] for row in recorder.rows] == scores
    best = int(np.argmin(scores))
    model, card = load_model(tmp_path)
    assert recorder.best == card["val_nme"] == scores[best]
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
