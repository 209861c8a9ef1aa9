"""Checkpoints in 16 bits: half as large, read like any other, with points that hardly move."""

import numpy as np
import pytest

from kdloss.deploy.half_precision import half, save_half
from kdloss.models.checkpoint import load_model
from tests.training.tiny_chain import SIZE


def test_a_trained_network_comes_back(student, tmp_path):
    model, card = student
    save_half(tmp_path / "half.keras", model, card)
    loaded, same_card = load_model(tmp_path / "half.keras")
    assert same_card == card
    images = np.random.default_rng(0).integers(0, 256, (8, SIZE, SIZE, 3)).astype("float32")
    moved = SIZE * np.abs(loaded.predict_on_batch(images) - model.predict_on_batch(images))
    assert 0 < moved.max() < 1e-2
    for weight, before in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert weight.dtype == before.dtype
        if weight.ndim < 2:
            assert np.array_equal(weight, before)
    assert [file.name for file in tmp_path.iterdir()] == ["half.keras"]


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((2, 2), 0.1, np.float32), np.float16),
        (np.array([[1.0, 70000.0]], np.float32), np.float32),  # beyond float16
        (np.full((2, 2), 1.23e-7, np.float32), np.float32),  # below the normal numbers of float16
    ],
)
def test_which_kernels_are_halved(array, expected):
    found = half(array)
    assert found.dtype == expected
    np.testing.assert_allclose(found, array, rtol=2**-11)
