"""The card of a model's file, a JSON object that says what the model is. Checkpoints and exported files hold one."""

import json
import zipfile

from kdloss.data.geometry import BoxPolicy
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import CheckpointError, UserError

CARD = "kdloss.json"  # the member, property or asset that holds it
_FIELDS = ("arch", "dataset", "scheme", "image_size", "box")
# A card takes some kilobytes. Without a bound a small archive could unpack to more than memory holds.
_MOST_BYTES = 1 << 20


def archived_card(path):
    """The text of the card in a zip archive, or None if it holds none.

    Raises:
        ValueError: the archive is damaged, or its card is too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if CARD not in archive.namelist():
                return None
            size = archive.getinfo(CARD).file_size
            if size > _MOST_BYTES:
                raise ValueError(f"its {CARD} has {size} bytes, expected {_MOST_BYTES} at most")
            return archive.read(CARD).decode()
    except Exception as error:  # damaged bytes make the archive and the decompressor raise anything
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from error


def parsed_card(text, path, remedy):
    """Parses and checks a card, a dict.

    Args:
        text: JSON.
        path: of the file, for the message.
        remedy: what to do about a damaged one, for the message.

    Raises:
        CheckpointError: a field is absent or of another kind.
    """
    try:
        card = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged ({error}): {remedy}") from error
    missing = [name for name in _FIELDS if not isinstance(card, dict) or name not in card]
    if missing:
        raise CheckpointError(f"{path}: damaged (its {CARD} lacks {', '.join(missing)}): {remedy}")
    try:
        LandmarkScheme.from_json(card["scheme"])
        BoxPolicy.parse(str(card["box"]))
    except UserError as error:
        raise CheckpointError(f"{path}: damaged ({error}): {remedy}") from error
    texts = all(isinstance(card[name], str) for name in ("arch", "dataset", "box"))
    if not texts or type(card["image_size"]) is not int or card["image_size"] < 1:
        raise CheckpointError(f"{path}: damaged (its {CARD} has values of another kind): {remedy}")
    return card
