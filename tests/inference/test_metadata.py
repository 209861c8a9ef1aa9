"""The card inside exported files as readers find it, and damage to it."""

import pytest

from kdloss.errors import CheckpointError
from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.metadata import read_metadata

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnx")


def refused(path):
    with pytest.raises(CheckpointError, match=f"^{path}: [^\n]*$") as caught:
        read_metadata(path)
    return str(caught.value).removeprefix(f"{path}: ")


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
