"""What `kdloss.predict` reads: photographs, videos and cameras, with the names of their results, and given boxes."""

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdloss.data.images import IMAGE_SUFFIXES
from kdloss.errors import ConfigError, DataError
from kdloss.inference.video import CAMERA_PREFIX, VIDEO_SUFFIXES, Camera, VideoFile

_SUFFIXES = IMAGE_SUFFIXES + VIDEO_SUFFIXES
_EXPECTED = 'expected {"image name": [[x, y, width, height], ...], ...} in pixels of the upright images'


@dataclass(frozen=True)
class Photograph:
    """The file of a photograph, its name in records, and the stem of its result files."""

    kind = "photograph"
    path: Path
    name: str
    result: str


def find_sources(places, skipped=None):
    """`Photograph`\\ s, `VideoFile`\\ s and `Camera`\\ s in the order of ``places``, in folders sorted, each once.

    The name of a file is its path below the folder that all files have in common, with /. Its results are named without
    the suffix; where two files of a folder differ in their suffix only, the results of that folder keep the suffixes.

    Args:
        places: files, folders and cameras (``camera:0``). A file is a video or a photograph by its suffix; it need not
            exist.
        skipped: a folder to leave out below those folders, such as that of earlier results.

    Raises:
        ConfigError: an empty name, or a camera that cannot be one.
        DataError: a folder without photographs and videos.
    """
    roots, found = [], []
    skipped = Path(os.path.abspath(skipped)) if skipped else None
    for place in map(str, places):
        if not place:
            raise ConfigError("an empty name: expected a file, a folder or a camera")
        path = Path(os.path.abspath(place))
        if place.startswith(CAMERA_PREFIX):
            found.append(place)
        elif path.is_dir():
            roots.append(path)
            found += _files_below(path, skipped)
        else:
            roots.append(path.parent)
            found.append(path)
    root = Path(os.path.commonpath(roots)) if roots else None
    names = {path: path.relative_to(root) for path in found if isinstance(path, Path)}
    # Some file systems ignore case.
    stems = Counter(str(name.with_suffix("")).casefold() for name in names.values())
    ambiguous = {name.parent for name in names.values() if stems[str(name.with_suffix("")).casefold()] > 1}
    return [Camera(one) if isinstance(one, str) else _file(one, names[one], ambiguous) for one in dict.fromkeys(found)]


def _files_below(folder, skipped):
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in _SUFFIXES and not file.name.startswith(".") and file.is_file()
    ]
    if skipped and folder in skipped.parents:
        files = [file for file in files if skipped not in file.parents]
    if not files:
        raise DataError(f"{folder}: holds no photographs or videos ({', '.join(_SUFFIXES)}): give another folder")
    return files


def _file(path, name, ambiguous):
    kind = VideoFile if path.suffix.lower() in VIDEO_SUFFIXES else Photograph
    return kind(path, name.as_posix(), (name if name.parent in ambiguous else name.with_suffix("")).as_posix())


class GivenBoxes:
    """Boxes of faces in a JSON file: image name -> list of [x, y, width, height]; `DataError` for another file."""

    def __init__(self, path):
        self.path = Path(path)
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"--boxes {path}: cannot be read ({error.strerror})") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"--boxes {path}: no JSON ({error}): {_EXPECTED}") from error
        if not isinstance(record, dict):
            raise DataError(f"--boxes {path}: holds a {type(record).__name__}, {_EXPECTED}")
        self._boxes = {name: box_array(boxes) for name, boxes in record.items()}
        for name, boxes in self._boxes.items():
            if boxes is None:
                raise DataError(f"--boxes {path}: {name}: {_EXPECTED}, widths and heights above zero")

    def of(self, name):
        """(k, 4) float64 boxes of an image, which the file names by its path, as the command does, or the last part of
        that; `DataError` if it does not."""
        for key in (name, Path(name).name):
            if key in self._boxes:
                return self._boxes[key]
        raise DataError(f"{name}: not named in --boxes {self.path}: add it, with an empty list if it shows no face")


def box_array(boxes):
    """Boxes as JSON holds them, [[x, y, width, height], ...] -> (k, 4) float64; None if they are not of that form."""
    try:
        array = np.zeros((0, 4)) if boxes == [] else np.array(boxes, np.float64)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    valid = array.ndim == 2 and array.shape[1] == 4 and np.isfinite(array).all() and (array[:, 2:] > 0).all()
    return array if valid else None
