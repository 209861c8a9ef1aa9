"""The optimizer of a run: its learning rate from step to step, and what it leaves alone."""

import keras
import numpy as np
import pytest

from kdloss.training.optimizer import optimizer_for
from tests.training.tiny_chain import arrays, tiny_config

STEPS = 10  # an epoch


def rates(steps, **changes):
    """The learning rate at each of some steps."""
    optimizer = optimizer_for(tiny_config(learning_rate=0.1, **changes), STEPS)
    found = []
    for step in steps:
        optimizer.iterations.assign(step)
        found.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
    return found


def test_the_schedule_of_the_authors_falls_with_the_number_of_steps():
    found = rates([0, 100, 10_000], schedule="inverse-time")
    assert found == pytest.approx([0.1, 0.1 / 1.01, 0.05], rel=1e-6)


def test_steps_are_at_three_and_five_eighths_of_the_epochs():
    # Of 16 epochs after the 6th and the 10th.
    found = rates([0, 60, 61, 100, 101, 159], schedule="steps", epochs=16)
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rel=1e-6)


def test_a_cosine_rises_for_the_warm_up_and_falls_to_a_hundredth():
    found = rates([0, 10, 20, 110, 200], schedule="cosine", epochs=20, warmup_epochs=2.0)
    # Half way between 20 and 200 the cosine is at its middle.
    assert found == pytest.approx([0.001, 0.0505, 0.1, 0.0505, 0.001], rel=1e-5)
    assert rates([0], schedule="cosine", epochs=20, warmup_epochs=0.0) == pytest.approx([0.1])


def test_biases_and_gains_do_not_decay():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    before = {variable.path: value for variable, value in zip(model.weights, arrays(model.weights), strict=True)}
    optimizer = optimizer_for(tiny_config(learning_rate=0.1, weight_decay=0.5, schedule="steps"), STEPS)
    optimizer.build(model.trainable_variables)
    optimizer.apply([keras.ops.zeros_like(variable) for variable in model.trainable_variables])
    for variable, value in zip(model.weights, arrays(model.weights), strict=True):
        kept = 0.95 if variable.name == "kernel" else 1.0
        np.testing.assert_allclose(value, kept * before[variable.path], rtol=1e-6)
