"""What a model's file says of itself, checkpoint and exported file alike: its card, a JSON object."""

from kdloss.errors import CheckpointError

CARD = "kdloss.json"  # the member, property or asset that holds it
_FIELDS = ("arch", "dataset", "scheme", "image_size", "box")


def checked_card(card, path, remedy):
    """The card of a file, if it holds what cards hold.

    Args:
        card: what the file's JSON said; path: of the file; remedy: what to do about a damaged one, for the message.

    Raises:
        CheckpointError: it does not.
    """
    missing = [name for name in _FIELDS if not isinstance(card, dict) or name not in card]
    if missing:
        raise CheckpointError(f"{path}: damaged (its {CARD} lacks {', '.join(missing)}): {remedy}")
    return card
