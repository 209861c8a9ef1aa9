"""Face boxes that others found: a JSON file of image name -> list of [x, y, width, height]."""

import json
from pathlib import Path

import numpy as np

from kdloss.errors import DataError

_EXPECTED = 'expected {"image name": [[x, y, width, height], ...], ...} in pixels of the upright images'


_LARGEST = 4  # sides of the image


def checked_boxes(boxes, image):
    """Boxes (k, 4) as they are, once each is known to hold a part of the image and to be no larger than a face can be.

    Raises:
        DataError: one is not.
    """
    height, width = image.shape[:2]
    low, sides = boxes[:, :2], boxes[:, 2:]
    sound = (
        np.isfinite(boxes).all(axis=1) & (sides > 0).all(axis=1) & (sides <= _LARGEST * max(width, height)).all(axis=1)
    )
    sound[sound] = ((low < (width, height)) & (low + sides > 0)).all(axis=1)[sound]
    if not sound.all():
        wrong = ", ".join(f"{number:g}" for number in boxes[np.argmin(sound)])
        raise DataError(
            f"box [{wrong}]: expected one that lies in the image, {width} x {height} pixels, at least in part"
        )
    return boxes


class GivenBoxes:
    """The boxes of a file.

    Raises:
        DataError: no such file, or not of that form.
    """

    def __init__(self, path):
        self.path = Path(path)
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"--boxes {path}: cannot be read ({error.strerror})") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"--boxes {path}: no JSON ({error}): {_EXPECTED}") from error
        if not isinstance(found, dict):
            raise DataError(f"--boxes {path}: holds a {type(found).__name__}, {_EXPECTED}")
        self._boxes = {name: self._parsed(name, boxes) for name, boxes in found.items()}

    def of(self, name):
        """(k, 4) float64 boxes of an image, k = 0 where the file lists none for it.

        Args:
            name: the image's path as the command names it; the file may also use the last part alone.

        Raises:
            DataError: the file does not name the image.
        """
        for key in (name, Path(name).name):
            if key in self._boxes:
                return self._boxes[key]
        raise DataError(f"{name}: not named in --boxes {self.path}: add it, with an empty list if it shows no face")

    def _parsed(self, name, boxes):
        try:
            parsed = np.zeros((0, 4)) if boxes == [] else np.array(boxes, np.float64)
        except (TypeError, ValueError, OverflowError):
            parsed = np.zeros(0)
        if parsed.ndim != 2 or parsed.shape[1] != 4 or not np.isfinite(parsed).all() or (parsed[:, 2:] <= 0).any():
            raise DataError(f"--boxes {self.path}: {name}: {_EXPECTED}, widths and heights above zero")
        return parsed
