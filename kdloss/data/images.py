"""Reads pictures of any common kind as uint8 RGB, or says in one line why it cannot.

EXIF orientation is honoured: annotation tools and viewers show pictures upright, so that is the frame landmarks are
given in. A picture whose points fit only the stored frame shows up among the points outside their image.
"""

import io
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from kdloss.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# Pillow's names of what these hold. It knows more, whatever a file's name says; PostScript among them starts a program.
IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
# OpenCV cuts crops out of images with sides below 2 ** 15.
LONGEST_SIDE = 2**15 - 1
# One at a time: a large picture takes hundreds of megabytes while it is read, and the filter of warnings, which reading
# one sets, is the whole process'.
_READING = threading.Lock()


def read_image(source):
    """A picture as (H, W, 3) uint8 RGB, upright.

    Args:
        source: a path, or the bytes of an image file. Grey, palette, CMYK, 16-bit (scaled to 8) and transparent
            pictures (laid over black, as everything outside a picture is) are all turned to RGB.

    Raises:
        DataError: missing, empty, cut short, or no picture at all.
    """
    if isinstance(source, bytes):
        name, data = "image", source
    else:
        name = str(source)
        try:
            data = Path(source).read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise DataError(f"{name}: cannot be read ({getattr(error, 'strerror', error)})") from error
    if not data:
        raise DataError(f"{name}: empty file, expected an image")
    try:
        # Pillow warns about odd metadata and very large pictures; neither hinders reading.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except Image.UnidentifiedImageError:
        raise DataError(f"{name}: not an image of a known format ({', '.join(IMAGE_FORMATS)}): convert it") from None
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        raise DataError(f"{name}: damaged or cut short ({error}): bring a whole copy") from error


def read_photograph(source):
    """Reads a picture that somebody else made, see `read_image`.

    Raises:
        DataError: as there, or it is so large that reading it could exhaust the memory.
    """
    name, file = ("image", io.BytesIO(source)) if isinstance(source, bytes) else (source, source)
    with _READING:
        width, height = _size(name, file)
        if width * height > Image.MAX_IMAGE_PIXELS:
            raise _too_large(f"{name}: {width} x {height} is")
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
        raise _too_large(f"{name}:") from None
    except Exception:
        return 0, 0


def _too_large(what):
    most = f"{Image.MAX_IMAGE_PIXELS / 1e6:.3g} million pixels"
    return DataError(f"{what} too large, expected {most} at most: scale it down")


def _to_rgb(image):
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        # 16 bits are what files of these modes hold; 32-bit storage is Pillow's.
        grey = np.clip((values + 128) // 257, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pixels, expected 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
