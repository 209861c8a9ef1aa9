"""Checkpoints: a loaded model predicts what the saved one did, and a bad file gives one clear line."""

import io
import zipfile

import h5py
import keras
import numpy as np
import pytest

from kdloss.data.schemes import SCHEMES
from kdloss.errors import CheckpointError
from kdloss.models import build_model
from kdloss.models.checkpoint import CARD, load_model, read_card, save_model
from kdloss.models.weights import load_weights
from tests.models.random_weights import randomise
from tests.training.tiny_chain import ARCH, SIZE


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype("float32")


@pytest.fixture
def model():
    return randomise(build_model(ARCH, 29, SIZE))


CARD_29 = {"arch": ARCH, "dataset": "cofw", "scheme": SCHEMES["29"].to_json(), "image_size": SIZE, "box": "gt:1.25"}


def test_a_loaded_model_predicts_the_same(model, images, tmp_path):
    save_model(tmp_path / "best.keras", model, CARD_29 | {"epoch": 3})
    expected = model.predict_on_batch(images)
    for place in (tmp_path, tmp_path / "best.keras"):
        loaded, card = load_model(place)
        assert card == CARD_29 | {"epoch": 3}
        assert np.array_equal(loaded.predict_on_batch(images), expected)
    assert [file.name for file in tmp_path.iterdir()] == ["best.keras"]


def test_the_defaults_of_the_user_change_nothing(model, images, tmp_path):
    save_model(tmp_path / "best.keras", model, CARD_29)
    expected = model.predict_on_batch(images)
    try:
        keras.config.set_image_data_format("channels_first")
        keras.config.set_dtype_policy("mixed_bfloat16")
        loaded, _ = load_model(tmp_path / "best.keras")
        assert np.array_equal(loaded.predict_on_batch(images), expected)
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        assert build_model(ARCH, 29, SIZE).layers[-3].compute_dtype == "bfloat16"
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_dtype_policy("float32")


def test_the_network_comes_from_the_card_and_not_from_what_the_file_describes(model, images, tmp_path):
    save_model(tmp_path / "a.keras", model, CARD_29)
    with zipfile.ZipFile(tmp_path / "a.keras") as old, zipfile.ZipFile(tmp_path / "b.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, b'{"class_name": "Lambda"}' if name == "config.json" else old.read(name))
    loaded, _ = load_model(tmp_path / "b.keras")
    assert np.array_equal(loaded.predict_on_batch(images), model.predict_on_batch(images))


def bad(path, message):
    for read in (read_card, load_model):
        with pytest.raises(CheckpointError) as raised:
            read(path)
        assert message in str(raised.value)
        assert str(path) in str(raised.value)


def test_a_file_that_is_no_checkpoint(model, tmp_path):
    bad(tmp_path, "no such checkpoint")
    model.save(tmp_path / "bare.keras")
    bad(tmp_path / "bare.keras", f"holds no {CARD}")
    whole = (tmp_path / "bare.keras").read_bytes()
    for number, card in enumerate(["[]", "{}", '{"arch": "tiny"}', "not json", "\x80"]):
        path = tmp_path / f"odd{number}.keras"
        path.write_bytes(whole)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(CARD, card)
        bad(path, "damaged")


def test_damaged_weights_and_those_of_another_network_are_found(model, tmp_path):
    path = tmp_path / "best.keras"
    save_model(path, model, CARD_29)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("model.weights.h5").header_offset
        size = archive.getinfo("model.weights.h5").file_size
    whole = bytearray(path.read_bytes())
    for share in (0.01, 0.3, 0.6, 0.9):
        broken = whole.copy()
        broken[start + int(share * size)] ^= 0xFF
        path.write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"damaged|do not load"):
            load_model(path)
    save_model(path, build_model(ARCH, 68, SIZE), CARD_29)
    with pytest.raises(CheckpointError, match="weights do not load"):
        load_model(path)


@pytest.mark.parametrize("how", [{"compression": "gzip"}, {"chunks": True}, {"chunks": True, "fillvalue": 1.0}])
def test_weights_that_would_unpack_are_refused_before_one_is_read(how, model, tmp_path, monkeypatch):
    save_model(tmp_path / "best.keras", model, CARD_29)
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file.create_dataset("layers/dense/vars/0", (2**29,), "f4", **how)
    with zipfile.ZipFile(tmp_path / "best.keras") as old, zipfile.ZipFile(tmp_path / "bad.keras", "w") as new:
        for name in old.namelist():
            new.writestr(name, content.getvalue() if name == "model.weights.h5" else old.read(name))
    (tmp_path / "bad.weights.h5").write_bytes(content.getvalue())
    monkeypatch.setattr(h5py.Dataset, "__getitem__", None)
    with pytest.raises(CheckpointError, match="is not stored as it is"):
        load_model(tmp_path / "bad.keras")
    for name in ("bad.keras", "bad.weights.h5"):
        with pytest.raises(CheckpointError, match="is not stored as it is"):
            load_weights(model, model, tmp_path / name)


def test_archives_that_unpack_to_too_much_are_refused(model, tmp_path, monkeypatch):
    save_model(tmp_path / "best.keras", model, CARD_29)
    monkeypatch.setattr("kdloss.models.checkpoint._MOST_BYTES", 10_000)
    with pytest.raises(CheckpointError, match="MB unpacked"):
        load_model(tmp_path / "best.keras")
