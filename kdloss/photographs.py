"""Photographs on disk: which there are below files and folders, what their results are called, and reading them."""

import os
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from data_prep.images import IMAGE_SUFFIXES, read_image
from kdloss.errors import DataError

# OpenCV cuts crops out of images with sides below 2 ** 15.
LONGEST_SIDE = 2**15 - 1


@dataclass(frozen=True)
class Photograph:
    """A photograph that was asked for.

    Args:
        path: of the file.
        name: its path below what all that was asked for has in common, with ``/``.
        result: ``name`` without the suffix: what results are called. Where two photographs of a folder differ in
            nothing but the suffix, those of that folder keep it.
    """

    path: Path
    name: str
    result: str


def find_photographs(paths, skipped=None):
    """All photographs that are named, and those in the folders that are named and below them.

    Args:
        paths: files and folders. Files are taken as they are, also if they do not exist or are no images: reading them
            says so.
        skipped: a folder below those, of which nothing is taken, such as that of earlier results.

    Returns:
        A list of `Photograph`\\ s, in the order of ``paths`` and in sorted order within folders, each file once.

    Raises:
        DataError: a folder without images.
    """
    files, roots = [], []
    skipped = Path(os.path.abspath(skipped)) if skipped else None
    for path in (Path(os.path.abspath(path)) for path in paths):
        if path.is_dir():
            roots.append(path)
            found = [file for file in sorted(path.rglob("*")) if _is_image(file)]
            if skipped and skipped != path and path in skipped.parents:
                found = [file for file in found if skipped not in file.parents]
            if not found:
                raise DataError(f"{path}: holds no images ({', '.join(IMAGE_SUFFIXES)}): give another folder")
            files += found
        else:
            roots.append(path.parent)
            files.append(path)
    root = Path(os.path.commonpath(roots))
    return _named({file: file.relative_to(root) for file in files})


def read_photograph(path):
    """Reads a photograph, see `data_prep.images.read_image`.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: missing, damaged, no image, or so large that reading it could exhaust the memory.
    """
    try:
        # Pillow warns of suspicious sizes when it opens a file, before it reads any pixel.
        with warnings.catch_warnings(action="ignore"):
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                longest = max(image.size)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DataError(
            f"{path}: too large, expected {Image.MAX_IMAGE_PIXELS / 1e6:.0f} million pixels at most: scale it down"
        ) from None
    except Exception:  # whatever is wrong with the file, `read_image` says it
        longest = 0
    if longest > LONGEST_SIDE:
        raise DataError(f"{path}: too large, expected sides of {LONGEST_SIDE} pixels at most: scale or cut it")
    return read_image(path)


def _is_image(file):
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()


def _named(relative):
    # Compared without case: some file systems know none.
    without = Counter(str(path.with_suffix("")).casefold() for path in relative.values())
    crowded = {path.parent for path in relative.values() if without[str(path.with_suffix("")).casefold()] > 1}
    return [
        Photograph(file, path.as_posix(), (path if path.parent in crowded else path.with_suffix("")).as_posix())
        for file, path in relative.items()
    ]
