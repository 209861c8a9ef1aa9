"""What faces are looked for in: photographs, videos and cameras; and what their results are called."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from data_prep.images import IMAGE_SUFFIXES
from kdloss.camera import PREFIX, Camera
from kdloss.errors import ConfigError, DataError
from kdloss.video import VIDEO_SUFFIXES


@dataclass(frozen=True)
class Source:
    """A photograph, video or camera that was asked for.

    Args:
        path: of the file; of a camera what was typed.
        name: the file's path below what all that was asked for has in common, with ``/``; of a camera see
            `kdloss.camera.Camera`.
        result: ``name`` without the suffix: what results are called. Where two files of a folder differ in nothing but
            the suffix, those of that folder keep it.
        kind: ``photograph``, ``video`` or ``camera``.
    """

    path: Path | str
    name: str
    result: str
    kind: str


def find_sources(asked, skipped=None):
    """All cameras, photographs and videos that are named, and those in the folders that are named and below them.

    Args:
        asked: files, folders and cameras (``camera:0``). Files are taken as they are, also if they do not exist:
            reading them says so. By their suffix they are videos, else photographs.
        skipped: a folder below those, of which nothing is taken, such as that of earlier results.

    Returns:
        A list of `Source`\\ s, in the order of ``asked`` and in sorted order within folders, each once.

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
