"""Reads pictures of any common kind as upright uint8 RGB, or says in one line why it cannot.

EXIF orientation is applied, because most tools show pictures upright and landmarks refer to what they show.
"""

import io
import threading
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from kdloss.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# Pillow's names of these formats. Pillow chooses by content, not by name, and for PostScript it starts a program.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
# OpenCV cuts crops only out of images with sides below 2 ** 15.
_LONGEST_SIDE = 2**15 - 1
# One picture at a time: a large one takes hundreds of megabytes while it is read, and the filter of warnings, which
# reading sets, belongs to the whole process.
_READING = threading.Lock()


def read_image(source, upright=True):
    """A picture as (H, W, 3) uint8 RGB.

    Args:
        source: a path, or the bytes of an image file. Grey, palette, CMYK, 16-bit and transparent pictures are
            converted. Transparent ones are laid over black, the colour of everything outside a picture.
        upright: whether to turn it as its EXIF orientation says; False: as it is stored.

    Raises:
        DataError: missing, empty, cut short, or no picture at all.
    """
    name = "image" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise DataError(f"{name}: cannot be read ({getattr(error, 'strerror', error)})") from error
    if not data:
        raise DataError(f"{name}: empty file, expected an image")
    try:
        # Pillow warns about odd metadata and very large pictures, which can be read all the same.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.load()
            if upright:
                ImageOps.exif_transpose(image, in_place=True)
            return _to_rgb(image)
    except Image.UnidentifiedImageError:
        raise DataError(f"{name}: not an image of a known format ({', '.join(_FORMATS)}): convert it") from None
    except Exception as error:  # a damaged file can make decoders raise anything
        raise DataError(f"{name}: damaged or cut short ({error}): bring a whole copy") from error


def read_photograph(source):
    """As `read_image`, for pictures from anyone: one too large to be read safely is refused before it is decoded."""
    name, file = ("image", io.BytesIO(source)) if isinstance(source, bytes) else (source, source)
    most = f"{Image.MAX_IMAGE_PIXELS / 1e6:.3g} million pixels and sides of {_LONGEST_SIDE} at most: scale it down"
    with _READING:
        try:
            width, height = stored_size(file)[0]
        except Image.DecompressionBombError:  # Pillow refuses much larger ones itself
            raise DataError(f"{name}: too large, expected {most}") from None
        if width * height > Image.MAX_IMAGE_PIXELS or max(width, height) > _LONGEST_SIDE:
            raise DataError(f"{name}: {width} x {height} is too large, expected {most}")
        return read_image(source)


def stored_size(file):
    """(width, height) in the header of a file (path or binary file), and its EXIF orientation: 1 is upright.

    Where there are none, ((0, 0), 1), and `read_image` will say why.
    """
    try:
        # Pillow warns of large pictures and of odd metadata; the caller checks the size.
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=_FORMATS) as image:
            # Pillow turns TIFF files by itself.
            return image.size, 1 if image.format == "TIFF" else image.getexif().get(ExifTags.Base.Orientation, 1)
    except Image.DecompressionBombError:
        raise
    except Exception:
        return (0, 0), 1


def _to_rgb(image):
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        # Files of these modes hold 16 bits; Pillow stores them as 32.
        grey = np.clip((values + 128) // 257, 0, 255).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pixels, expected 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))
