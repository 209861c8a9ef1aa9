"""The models that come with the package. Each is a folder here, made by ``tools/publish.py``:

model.keras    a checkpoint with kernels in 16 bits
fp16.tflite    the same network for LiteRT, in 16 bits
int8.tflite    the same in 8 bits
card.json      the network, its training, its measured numbers, and the size and SHA-256 of each file
README.md      the same for people
"""

import hashlib
import json
from pathlib import Path

from kdloss.errors import CheckpointError

ROOT = Path(__file__).parent
CARD, MODEL, HALF, INT8 = "card.json", "model.keras", "fp16.tflite", "int8.tflite"
FILES = (MODEL, HALF, INT8)


def names():
    """The names of the shipped models, sorted."""
    return sorted(file.parent.name for file in ROOT.glob(f"*/{CARD}"))


def card(name):
    """The card of a shipped model, the dict of its ``card.json``.

    Raises:
        CheckpointError: no such model, or its card is damaged.
    """
    if name not in names():
        raise CheckpointError(f"{name}: no such shipped model: expected {shipped()}")
    try:
        found = json.loads((ROOT / name / CARD).read_text(encoding="utf-8"))
        if all({"bytes", "sha256"} <= found["files"][file].keys() for file in FILES):
            return found
        reason = "a file without size and hash"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
    raise CheckpointError(f"{ROOT / name / CARD}: damaged ({reason}): install the package again")


def path(name, file=MODEL):
    """The path of a file of a shipped model, after a check that its size and its SHA-256 are those of the card.

    Args:
        name: one of `names`.
        file: one of `FILES`.

    Raises:
        CheckpointError: no such model or file, or the file was changed or cut short.
    """
    files = card(name)["files"]
    if file not in files:
        raise CheckpointError(f"{name}: holds no {file}: expected one of {', '.join(files)}")
    place, expected = ROOT / name / file, files[file]
    try:
        found = describe(place)
    except OSError as error:
        raise CheckpointError(f"{place}: unreadable ({error.strerror}): install the package again") from error
    for fact in ("bytes", "sha256"):
        if found[fact] != expected[fact]:
            raise CheckpointError(
                f"{place}: cut short or changed: found {fact} {found[fact]}, expected {expected[fact]}: install the "
                "package again"
            )
    return place


def describe(place):
    """The size in bytes and the SHA-256 of a file, as cards hold them."""
    content = Path(place).read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def shipped():
    """The names of the shipped models in words, for messages."""
    found = names()
    return f"one of {', '.join(found)}" if found else "none, as this package ships no models"
