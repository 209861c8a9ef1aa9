"""The ``.pts`` format: one landmark a line, 1-based pixels, usually between braces after a short header."""

from pathlib import Path

import numpy as np

from data_prep.face import MAX_PIXEL
from data_prep.images import IMAGE_SUFFIXES
from kdloss.errors import DataError


def read_pts(path, num_points=None):
    """Reads a ``.pts`` file, with or without ``version``/``n_points`` header and braces.

    Args:
        path: the file. Its numbers are 1-based pixels, as the format has it.
        num_points: how many points there must be, or None for any number.

    Returns:
        (N, 2) float32, 0-based pixels.

    Raises:
        DataError: unreadable, cut short, another number of points, or a point that is not two finite numbers.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    points, declared, braces = [], None, []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").replace(":", " : ").split()
        if not words or words[0] == "version":
            continue
        if words[0] == "n_points":
            declared = words[-1]
        elif words[0] in ("{", "}"):
            braces.append(words[0])
        else:
            points.append(_parse_point(words, f"{path}:{number}"))
    if braces not in ([], ["{", "}"]):
        raise DataError(f"{path}: cut short: found braces {''.join(braces)}, expected {{}} around the points")
    expected = declared if num_points is None else str(num_points)
    for wanted in (expected, declared):
        if wanted is not None and wanted != str(len(points)):
            raise DataError(f"{path}: found {len(points)} points, expected {wanted}")
    if not points:
        raise DataError(f"{path}: found no points")
    return np.array(points, np.float32) - 1


def paired_files(folder):
    """Images and ``.pts`` files of one folder (not of its sub-folders), matched by stem, in name order.

    Returns:
        list of (stem, image path or None, ``.pts`` path or None).
    """
    images, annotations = {}, {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.setdefault(path.stem, path)
        elif path.suffix.lower() == ".pts":
            annotations.setdefault(path.stem, path)
    return [(stem, images.get(stem), annotations.get(stem)) for stem in sorted(images.keys() | annotations.keys())]


def _parse_point(words, where):
    try:
        x, y = map(float, words)
    except ValueError:
        raise DataError(f"{where}: found {' '.join(words)[:40]!r}, expected two numbers") from None
    if not (abs(x) < MAX_PIXEL and abs(y) < MAX_PIXEL):
        raise DataError(f"{where}: found {x:g} {y:g}, expected a pixel position")
    return x, y
