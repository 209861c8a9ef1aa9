"""The card inside an exported file: that of its checkpoint, and how it was exported.

LiteRT       ``kdloss.json`` in a zip archive behind the network, an associated file of TensorFlow Lite's metadata
ONNX         the metadata property ``kdloss.json``
SavedModel   ``assets.extra/kdloss.json``
"""

import zipfile
from pathlib import Path

from kdloss.errors import CheckpointError
from kdloss.models.card import CARD, archived_card, parsed_card

IMAGE, POINTS, SPREAD = "image", "points", "spread"
LITERT, ONNX, ASSETS = ".tflite", ".onnx", "assets.extra"
REMEDY = "export it again"


def read_metadata(path):
    """The card inside an exported file or folder, a dict; None if it holds none.

    Raises:
        CheckpointError: no such file, or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: no such file: give an exported file, or the folder of a SavedModel")
    try:
        text = _read(path)
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: damaged ({error}): export it again or bring a whole copy") from error
    return None if text is None else parsed_card(text, path, REMEDY)


def _read(path):
    """The text of the card, or None."""
    if path.suffix == ONNX:
        import onnx
        from google.protobuf.message import DecodeError

        try:
            model = onnx.load(path, load_external_data=False)
        except DecodeError as error:
            raise ValueError(error) from error
        return {entry.key: entry.value for entry in model.metadata_props}.get(CARD)
    if path.is_dir():
        place = path / ASSETS / CARD
        return place.read_text(encoding="utf-8") if place.is_file() else None
    if not zipfile.is_zipfile(path):
        if CARD.encode() in path.read_bytes():
            raise ValueError(f"cut short within its {CARD}")
        return None
    return archived_card(path)
