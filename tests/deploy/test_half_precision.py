"""Checkpoints in 16 bits: half as large, read like any other, with points that hardly move."""

import zipfile

import numpy as np
import pytest

from kdloss.deploy.half_precision import half, save_half
from kdloss.models import build_model
from kdloss.models.checkpoint import load_model, save_model
from tests.training.tiny_chain import ARCH, MAPS_SIZE, SIZE


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


@pytest.mark.slow
def test_a_real_network_takes_half_the_space(tmp_path):
    model = build_model("mobilenetv2-0.35", 68, MAPS_SIZE)
    card = {"arch": ARCH, "dataset": "cofw", "image_size": SIZE, "box": "gt:1.25"}
    save_model(tmp_path / "whole.keras", model, card)
    save_half(tmp_path / "half.keras", model, card)
    assert (tmp_path / "half.keras").stat().st_size < 0.55 * (tmp_path / "whole.keras").stat().st_size
    with zipfile.ZipFile(tmp_path / "half.keras") as halved, zipfile.ZipFile(tmp_path / "whole.keras") as whole:
        assert halved.testzip() is None
        assert halved.namelist() == whole.namelist()
        assert halved.read("config.json") == whole.read("config.json")


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
