"""What faces are looked for in: photographs, videos and cameras, what their results are called, and given boxes."""

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdloss.data.images import IMAGE_SUFFIXES
from kdloss.errors import ConfigError, DataError
from kdloss.inference.video import PREFIX, VIDEO_SUFFIXES, Camera

_BOXES = 'expected {"image name": [[x, y, width, height], ...], ...} in pixels of the upright images'
_LARGEST = 4  # sides of the image, that of a box


@dataclass(frozen=True)
class Source:
    """A photograph, video or camera that was asked for.

    Results are called after the name without the suffix. Where two files of a folder differ in nothing but the suffix,
    those of that folder keep it.
    """

    path: Path | str  # of a camera what was typed
    name: str  # the path below what all that was asked for has in common, with /; of a camera see `Camera`
    result: str
    kind: str  # photograph, video or camera


def find_sources(asked, skipped=None):
    """`Source`\\ s in the order of ``asked``, and in sorted order those in and below its folders, each once.

    Args:
        asked: files, folders and cameras (``camera:0``). Files are taken as they are, also if they do not exist:
            reading them says so. By their suffix they are videos, else photographs.
        skipped: a folder below those, of which nothing is taken, such as that of earlier results.

    Raises:
        ConfigError: an empty name, or a camera that cannot be one.
        DataError: a folder without photographs and videos.
    """
    roots, found = [], []
    skipped = Path(os.path.abspath(skipped)) if skipped else None
    for one in map(str, asked):
        if not one:
            raise ConfigError("an empty name among what is to be read: expected a file, a folder or a camera")
        path = Path(os.path.abspath(one))
        if one.startswith(PREFIX):
            found.append(one)
        elif path.is_dir():
            roots.append(path)
            found += _below(path, skipped)
        else:
            roots.append(path.parent)
            found.append(path)
    root = Path(os.path.commonpath(roots)) if roots else None
    named = {path: path.relative_to(root) for path in found if isinstance(path, Path)}
    # Compared without case: some file systems know none.
    without = Counter(str(path.with_suffix("")).casefold() for path in named.values())
    crowded = {path.parent for path in named.values() if without[str(path.with_suffix("")).casefold()] > 1}
    return [_camera(one) if isinstance(one, str) else _file(one, named[one], crowded) for one in dict.fromkeys(found)]


def _below(folder, skipped):
    files = [file for file in sorted(folder.rglob("*")) if _is_picture(file)]
    if skipped and skipped != folder and folder in skipped.parents:
        files = [file for file in files if skipped not in file.parents]
    if not files:
        suffixes = ", ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)
        raise DataError(f"{folder}: holds no photographs or videos ({suffixes}): give another folder")
    return files


def _is_picture(file):
    known = file.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES
    return known and not file.name.startswith(".") and file.is_file()


def _file(path, name, crowded):
    kind = "video" if path.suffix.lower() in VIDEO_SUFFIXES else "photograph"
    return Source(path, name.as_posix(), (name if name.parent in crowded else name.with_suffix("")).as_posix(), kind)


def _camera(asked):
    camera = Camera(asked)
    return Source(asked, camera.name, camera.result, "camera")


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
    """Face boxes that others found: a JSON file of image name -> list of [x, y, width, height].

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
            raise DataError(f"--boxes {path}: no JSON ({error}): {_BOXES}") from error
        if not isinstance(found, dict):
            raise DataError(f"--boxes {path}: holds a {type(found).__name__}, {_BOXES}")
        self._boxes = {name: self._parsed(name, boxes) for name, boxes in found.items()}

    def of(self, name):
        """(k, 4) float64 boxes of an image, k = 0 where the file lists none for it.

        The file names it by its path as the command has it, or by the last part alone; if not, that is a `DataError`.
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
            raise DataError(f"--boxes {self.path}: {name}: {_BOXES}, widths and heights above zero")
        return parsed
