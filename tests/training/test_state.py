"""The saved state of a run: it is restored to the bit, and a bad file gives one clear line."""

import json

import keras
import numpy as np
import pytest

from kdloss.errors import CheckpointError
from kdloss.models import build_model
from kdloss.training.state import Progress, load_state, save_state
from tests.training.tiny_chain import ARCH, SIZE, arrays, same


@pytest.fixture
def model():
    return build_model(ARCH, 29, SIZE)


def test_a_state_is_restored_to_the_bit(model, tmp_path):
    optimizer = keras.optimizers.AdamW(1e-3)
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables]
    before = arrays(variables)
    path = tmp_path / "last" / "state.npz"
    rows = [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}]
    accumulated = [np.float32(1.5), np.arange(3, dtype=np.float32)]
    progress = Progress(2, 4.25, rows, step=3, seconds=0.5, loss_sum=0.1, metrics=accumulated, first_loss=0.75)
    save_state(path, variables, progress)
    for variable in variables:
        variable.assign(keras.ops.zeros_like(variable.value))
    loaded = load_state(path, variables)
    assert loaded.to_json() == progress.to_json()
    assert same(loaded.metrics, accumulated)
    assert same(arrays(variables), before)


def test_a_state_that_does_not_fit(model, tmp_path):
    path = tmp_path / "state.npz"
    save_state(path, model.variables, Progress())
    with pytest.raises(CheckpointError, match="another network"):
        load_state(path, model.variables[:-1])
    with pytest.raises(CheckpointError, match="another network"):
        load_state(path, build_model(ARCH, 68, SIZE).variables)
    with np.load(path, allow_pickle=False) as file:
        kept = dict(file)
    for changes in ({"epoch": 2}, {"step": -1}, {"epoch": "x"}, {"rows": None}, {"momentum": 1}):
        np.savez(path, **kept | {"progress": np.array(json.dumps(Progress().to_json() | changes))})
        with pytest.raises(CheckpointError, match="damaged"):
            load_state(path, model.variables)
