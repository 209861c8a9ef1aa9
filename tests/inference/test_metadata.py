"""The card inside exported files as readers find it, and damage to it."""

import numpy as np
import pytest

from kdloss.errors import CheckpointError
from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.metadata import read_metadata
from kdloss.inference.onnx_reader import OnnxModel
from tests.training.tiny_chain import SIZE

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnx")


@pytest.mark.parametrize(("form", "runner"), [("litert", LiteRTModel), ("onnx", OnnxModel)])
def test_files_with_and_without_a_card_give_the_same_points(form, runner, exported):
    images = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    with_card, bare = runner(exported(form, card=True)), runner(exported(form))
    assert (with_card.card, bare.card) == (read_metadata(exported(form, card=True)), None)
    np.testing.assert_array_equal(with_card.predict_on_batch(images), bare.predict_on_batch(images))


def refused(path):
    with pytest.raises(CheckpointError) as caught:
        read_metadata(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_damaged_files(exported, tmp_path):
    whole, member = exported("litert", card=True).read_bytes(), tmp_path / "a.tflite"
    start = whole.index(b"kdloss.json") - 30
    member.write_bytes(whole[: start + 60] + b"#" + whole[start + 61 :])  # a byte of the card
    assert refused(member).startswith("damaged (Bad CRC-32")
    member.write_bytes(whole[: start + 60])
    assert refused(member).startswith("damaged (cut short within its kdloss.json)")
    with pytest.raises(CheckpointError, match="cut short within"):
        LiteRTModel(member)
    whole = exported("onnx", card=True).read_bytes()
    (tmp_path / "a.onnx").write_bytes(whole[: len(whole) // 2])
    assert refused(tmp_path / "a.onnx").startswith("damaged (")
    assert refused(tmp_path / "absent.onnx").startswith("no such file")
