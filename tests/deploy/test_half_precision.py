"""Checkpoints in 16 bits: half as large, read like any other, and no pixel moves by what anyone could see."""

import zipfile

import numpy as np
import pytest

from kdloss.deploy.half_precision import half, save_half
from kdloss.models import build_model
from kdloss.models.checkpoint import load_model, save_model
from tests.training.tiny_chain import ARCH, MAPS_SIZE, SIZE

CARD = {"arch": ARCH, "dataset": "cofw", "image_size": SIZE, "box": "gt:1.25"}


def images(size):
    return np.random.default_rng(0).integers(0, 256, (8, size, size, 3)).astype("float32")


def test_a_trained_network_comes_back(student, tmp_path):
    model, card = student
    save_half(tmp_path / "half.keras", model, card)
    loaded, same_card = load_model(tmp_path / "half.keras")
    assert same_card == card
    moved = SIZE * np.abs(loaded.predict_on_batch(images(SIZE)) - model.predict_on_batch(images(SIZE)))
    assert 0 < moved.max() < 1e-2
    for weight, before in zip(loaded.get_weights(), model.get_weights(), strict=True):
        assert weight.dtype == before.dtype
        if weight.ndim < 2:
            assert np.array_equal(weight, before)
    assert [file.name for file in tmp_path.iterdir()] == ["half.keras"]


@pytest.mark.slow
def test_a_real_network_takes_half_the_place(tmp_path):
    model = build_model("mobilenetv2-0.35", 68, MAPS_SIZE)
    save_model(tmp_path / "whole.keras", model, CARD)
    save_half(tmp_path / "half.keras", model, CARD)
    whole, smaller = ((tmp_path / f"{name}.keras").stat().st_size for name in ("whole", "half"))
    assert smaller < 0.55 * whole
    with zipfile.ZipFile(tmp_path / "half.keras") as half_file, zipfile.ZipFile(tmp_path / "whole.keras") as whole_file:
        assert half_file.testzip() is None
        assert half_file.namelist() == whole_file.namelist()
        assert half_file.read("config.json") == whole_file.read("config.json")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((2, 2), 0.1, np.float32), np.float16),
        # Beyond float16, below its normal numbers.
        (np.array([[1.0, 70000.0]], np.float32), np.float32),
        (np.full((2, 2), 1.23e-7, np.float32), np.float32),
    ],
)
def test_what_becomes_half(array, expected):
    found = half(array)
    assert found.dtype == expected
    np.testing.assert_allclose(found, array, rtol=2**-11)
