"""Reads pictures of any common kind as upright uint8 RGB, or says in one line why it cannot.

EXIF orientation is applied, because most tools show pictures upright and landmarks refer to what they show.
"""

import io
import threading
import warnings

import numpy as np
from PIL import ExifTags, Image, ImageOps

from kdloss.errors import DataError
from kdloss.files import read_input

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# Pillow's names of these formats. Pillow chooses by content, not by name, and for PostScript it starts a program.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "PPM")
# OpenCV cuts crops only out of images with sides below 2 ** 15.
_LONGEST_SIDE = 2**15 - 1
_STRIP = 1 << 20  # pixels that are converted at once
# One picture at a time: a large one takes hundreds of megabytes while it is read, and the filter of warnings, which
# reading sets, belongs to the whole process.
_READING = threading.Lock()


def read_image(source, upright=True):
    """A picture as (H, W, 3) uint8 RGB. One too large to be read safely is refused before it is decoded.

    Args:
        source: a path, or the bytes of an image file. Grey, palette, CMYK, 16-bit and transparent pictures are
            converted. Transparent ones are laid over black, the colour of everything outside a picture.
        upright: whether to turn it as its EXIF orientation says; False: as it is stored.

    Raises:
        DataError: missing, empty, too large, cut short, or no picture at all.
    """
    name = "image" if isinstance(source, bytes) else str(source)
    try:
        data = source if isinstance(source, bytes) else read_input(source)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise DataError(f"{name}: cannot be read ({getattr(error, 'strerror', error)})") from error
    if not data:
        raise DataError(f"{name}: empty file, expected an image")
    try:
        # Pillow warns about odd metadata and large pictures, which can be read all the same.
        with (
            _READING,
            warnings.catch_warnings(action="ignore"),
            Image.open(io.BytesIO(data), formats=_FORMATS) as image,
        ):
            width, height = image.size
            if width * height > _most_pixels(image.format) or max(width, height) > _LONGEST_SIDE:
                raise DataError(f"{name}: {width} x {height} is too large, expected {_limits(image.format)}")
            image.load()
            if upright:
                ImageOps.exif_transpose(image, in_place=True)
            return _in_strips(image)
    except DataError:
        raise
    except Image.DecompressionBombError:  # Pillow refuses much larger ones itself
        raise DataError(f"{name}: too large, expected {_limits()}") from None
    except Image.UnidentifiedImageError:
        raise DataError(f"{name}: not an image of a known format ({', '.join(_FORMATS)}): convert it") from None
    except Exception as error:  # a damaged file can make decoders raise anything
        raise DataError(f"{name}: damaged or cut short ({error}): bring a whole copy") from error


def stored_size(file):
    """(width, height) in the header of a file (path or binary file), and its EXIF orientation: 1 is upright.

    Where there are none, ((0, 0), 1), and `read_image` will say why.
    """
    try:
        # Pillow warns of large pictures and of odd metadata; `read_image` checks the size.
        with warnings.catch_warnings(action="ignore"), Image.open(file, formats=_FORMATS) as image:
            # Pillow turns TIFF files by itself.
            return image.size, 1 if image.format == "TIFF" else image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:
        return (0, 0), 1


def _most_pixels(kind=None):
    """The WebP decoder takes 16 bytes for each pixel, others 10 at most; one picture must not take a gigabyte."""
    return Image.MAX_IMAGE_PIXELS * 2 // 3 if kind == "WEBP" else Image.MAX_IMAGE_PIXELS


def _limits(kind=None):
    return f"{_most_pixels(kind) / 1e6:.3g} million pixels and sides of {_LONGEST_SIDE} at most: scale it down"


def _in_strips(image):
    """A picture as RGB. Besides the decoded picture and the result, this needs little memory."""
    width, height = image.size
    rgb, step = np.empty((height, width, 3), np.uint8), max(1, _STRIP // width)
    for top in range(0, height, step):
        rgb[top : top + step] = _to_rgb(image.crop((0, top, width, min(top + step, height))))
    return rgb


def _to_rgb(image):
    if image.mode.startswith("I"):
        # Files of these modes hold 16 bits; Pillow may store them as 32.
        values = np.clip(np.asarray(image), 0, 2**16 - 1).astype(np.uint32)
        return ((values + 128) // 257).astype(np.uint8)[:, :, None]
    if image.mode == "F":
        raise ValueError("floating-point pixels, expected 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
