"""What `kdloss.predict` reads: photographs, videos and cameras, with the names of their results, and given boxes."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kdloss.data.boxes import EXPECTED, box_array, read_boxes
from kdloss.data.images import IMAGE_SUFFIXES
from kdloss.errors import ConfigError, DataError
from kdloss.files import data_files
from kdloss.inference.video import CAMERA_PREFIX, VIDEO_SUFFIXES, Camera, VideoFile
from kdloss.names import TEXT

_SUFFIXES = IMAGE_SUFFIXES + VIDEO_SUFFIXES


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
    the suffix, unless they would have the name of another file's results.

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
    taken = Counter(str(one).casefold() for name in names.values() for one in (name, name.with_suffix("")))
    return [Camera(one) if isinstance(one, str) else _file(one, names[one], taken) for one in dict.fromkeys(found)]


def _files_below(folder, skipped):
    files = sorted(file for file in data_files(folder) if file.suffix.lower() in _SUFFIXES and file.is_file())
    if skipped and folder in skipped.parents:
        files = [file for file in files if skipped not in file.parents]
    if not files:
        raise DataError(f"{folder}: holds no photographs or videos ({', '.join(_SUFFIXES)}): give another folder")
    return files


def _file(path, name, taken):
    """``taken``: how many files have a name, with their suffix or without, in lower case."""
    kind, stem = VideoFile if path.suffix.lower() in VIDEO_SUFFIXES else Photograph, name.with_suffix("")
    return kind(path, name.as_posix(), (name if taken[str(stem).casefold()] > 1 else stem).as_posix())


class GivenBoxes:
    """The boxes of faces in a file, see `kdloss.data.boxes`; `DataError` for another file, or a box that is none."""

    def __init__(self, path):
        self.path = Path(path)
        self._boxes = {name: box_array(boxes) for name, boxes in read_boxes(path).items()}
        for name, boxes in self._boxes.items():
            if boxes is None:
                raise DataError(f"--boxes {path}: {name}: {EXPECTED}, widths and heights above zero")

    def of(self, name):
        """(k, 4) float64 boxes of an image, which the file names by its path, as the command does, or the last part of
        that; `DataError` if it does not."""
        names = (name, Path(name).name)
        for key in (*names, *(name.encode(**TEXT).decode() for name in names)):
            if key in self._boxes:
                return self._boxes[key]
        raise DataError(f"{name}: not named in --boxes {self.path}: add it, with an empty list if it shows no face")
