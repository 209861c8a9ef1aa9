"""What `kdloss.predict` reads: photographs, videos and cameras, with the names of their results, and given boxes."""

import glob
import itertools
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kdloss.data.boxes import EXPECTED, box_array, read_boxes
from kdloss.data.images import IMAGE_SUFFIXES
from kdloss.errors import ConfigError, DataError
from kdloss.files import data_files
from kdloss.inference.video import CAMERA_PREFIX, VIDEO_SUFFIXES, Camera, VideoFile, without_login
from kdloss.names import TEXT

_SUFFIXES = IMAGE_SUFFIXES + VIDEO_SUFFIXES
UNREAD_SUFFIXES = (".heic", ".heif", ".avif", ".gif")  # pictures of other kinds, which folders may hold
_ADDRESS, _WEB = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://"), ("http://", "https://")


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
        places: files, patterns of them (``*.jpg``), folders and cameras (``camera:0``, ``0``, ``rtsp://...``). A file
            is a video or a photograph by its suffix; it need not exist.
        skipped: a folder to leave out below those folders, such as that of earlier results.

    Returns:
        The sources, and how many pictures of other kinds the folders hold: a `Counter` of `UNREAD_SUFFIXES`.

    Raises:
        ConfigError: an empty name, an address of a file, or a camera that cannot be one.
        DataError: a folder without photographs and videos, or a pattern that fits no file.
    """
    roots, found, unread = [], [], Counter()
    skipped = Path(os.path.abspath(skipped)) if skipped else None
    for place in itertools.chain.from_iterable(map(_expanded, map(str, places))):
        path = Path(os.path.abspath(place))
        if place.startswith(CAMERA_PREFIX):
            found.append(place)
        elif path.is_dir():
            roots.append(path)
            files, others = _files_below(path, skipped)
            found += files
            unread.update(others)
        else:
            roots.append(path.parent)
            found.append(path)
    root = Path(os.path.commonpath(roots)) if roots else None
    names = {path: path.relative_to(root) for path in found if isinstance(path, Path)}
    # Some file systems ignore case.
    taken = Counter(str(one).casefold() for name in names.values() for one in (name, name.with_suffix("")))
    sources = [Camera(one) if isinstance(one, str) else _file(one, names[one], taken) for one in dict.fromkeys(found)]
    return sources, unread


def _expanded(place):
    """A place as a list: of the files that a pattern fits, with ``camera:`` before what is a camera, else itself."""
    if not place:
        raise ConfigError("an empty name: expected a file, a folder or a camera")
    if place.startswith(CAMERA_PREFIX) or os.path.lexists(place):
        return [place]
    if place.lower().startswith(_WEB):
        shown = without_login(place)
        remedy = f"download the file and give its name, or, if it is a camera's stream, give {CAMERA_PREFIX}{shown}"
        raise ConfigError(f"{shown}: files are not fetched from the web: {remedy}")
    if _ADDRESS.match(place) or re.fullmatch(r"\d{1,4}", place):
        return [CAMERA_PREFIX + place]
    if not glob.has_magic(place):
        return [place]
    if files := sorted(glob.glob(place, recursive=True)):
        return files
    raise DataError(f"{place}: no file fits this pattern: give photographs, videos or folders of them")


def _files_below(folder, skipped):
    """The photographs and videos below a folder, and the suffixes of pictures of other kinds."""
    below = sorted(file for file in data_files(folder) if file.suffix.lower() in _SUFFIXES + UNREAD_SUFFIXES)
    if skipped and folder in skipped.parents:
        below = [file for file in below if skipped not in file.parents]
    files = [file for file in below if file.suffix.lower() in _SUFFIXES and file.is_file()]
    others = [file.suffix.lower() for file in below if file.suffix.lower() in UNREAD_SUFFIXES]
    if not files:
        also = f" but {unread_pictures(Counter(others))}" if others else ""
        raise DataError(f"{folder}: holds no photographs or videos ({', '.join(_SUFFIXES)}){also}: give another folder")
    return files, others


def unread_pictures(counted):
    """A `Counter` of `UNREAD_SUFFIXES` in words."""
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counted.items()))
    return f"{kinds}, which are not read: convert them to JPEG"


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
