"""Reads photographs that somebody else made: as large as memory can hold, of kinds that start no program."""

import io
import threading
import warnings

from PIL import Image

from data_prep.images import IMAGE_FORMATS, read_image
from kdloss.errors import DataError

# OpenCV cuts crops out of images with sides below 2 ** 15.
LONGEST_SIDE = 2**15 - 1
# One at a time: a large picture takes hundreds of megabytes while it is read, and the filter of warnings, which reading
# one sets, is the whole process'.
_READING = threading.Lock()


def read_photograph(source):
    """Reads a photograph, see `data_prep.images.read_image`.

    Args:
        source: a path, or the bytes of an image file.

    Returns:
        (H, W, 3) uint8 RGB, upright.

    Raises:
        DataError: missing, damaged, no image, or so large that reading it could exhaust the memory.
    """
    name, file = ("image", io.BytesIO(source)) if isinstance(source, bytes) else (source, source)
    with _READING:
        width, height = _size(name, file)
        if width * height > Image.MAX_IMAGE_PIXELS:
            raise DataError(
                f"{name}: {width} x {height} is too large, expected {Image.MAX_IMAGE_PIXELS / 1e6:.3g} million pixels "
                "at most: scale it down"
            )
        if max(width, height) > LONGEST_SIDE:
            raise DataError(
                f"{name}: {width} x {height} is too large, expected sides of {LONGEST_SIDE} pixels at most: scale or "
                "cut it"
            )
        return read_image(source)


def _size(name, file):
    """(width, height) as a file's header states them; (0, 0) where it states none, of which reading it says more."""
    try:
        # Pillow warns of large pictures, which is our own to judge.
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=IMAGE_FORMATS) as image:
            return image.size
    except Image.DecompressionBombError:
        raise DataError(
            f"{name}: too large, expected {Image.MAX_IMAGE_PIXELS / 1e6:.3g} million pixels at most: scale it down"
        ) from None
    except Exception:
        return 0, 0
