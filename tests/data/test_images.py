"""Pictures of every kind become uint8 RGB, and damaged ones say why not."""

import io
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from kdloss.data.images import read_image
from kdloss.errors import DataError


@pytest.fixture
def ramp():
    """(40, 60, 3) smooth picture, so that JPEG hardly changes it."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([x * 4, y * 6, 255 - x * 2], axis=-1).astype(np.uint8)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_png_is_read_exactly_as_rgb(ramp, tmp_path):
    path = tmp_path / "a name with spaces.PNG"
    Image.fromarray(ramp).save(path)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    np.testing.assert_array_equal(image, ramp)


def test_grey_deep_and_palette_pictures_become_rgb(ramp):
    grey, deep = ramp[:, :, 1], np.array([[0, 257, 32768, 65535]], np.uint16)
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(grey), "PNG")), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_image(cv2.imencode(".png", deep)[1].tobytes())[0, :, 0], [0, 1, 128, 255])
    palette = Image.fromarray(ramp).quantize(64)
    np.testing.assert_array_equal(read_image(encoded(palette, "PNG")), np.array(palette.convert("RGB")))
    colour = np.array([[[200 * 257, 0, 100 * 257]]], np.uint16)  # OpenCV writes BGR
    for suffix in (".png", ".tiff"):
        np.testing.assert_array_equal(read_image(cv2.imencode(suffix, colour)[1].tobytes()), [[[100, 0, 200]]])


def test_transparent_parts_are_black_and_opaque_ones_kept(ramp):
    rgba = np.dstack([ramp, np.full(ramp.shape[:2], 255, np.uint8)])
    rgba[:, :30, 3] = 0
    image = read_image(encoded(Image.fromarray(rgba), "PNG"))
    assert not image[:, :30].any()
    np.testing.assert_array_equal(image[:, 30:], ramp[:, 30:])


def test_cmyk_jpeg_has_the_colours_of_the_picture(ramp):
    data = encoded(Image.fromarray(ramp).convert("CMYK"), "JPEG", quality=98)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(read_image(data).astype(int) - ramp).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_shows_the_picture_upright(ramp, orientation):
    # How a camera stores the upright picture under each orientation tag (EXIF 2.3, table 6).
    stored = {
        1: ramp,
        2: ramp[:, ::-1],
        3: ramp[::-1, ::-1],
        4: ramp[::-1],
        5: ramp.transpose(1, 0, 2),
        6: np.rot90(ramp, 1),
        7: ramp[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(ramp, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), "JPEG", quality=98, exif=exif)
    image = read_image(data)
    assert image.shape == ramp.shape
    assert np.abs(image.astype(int) - ramp).mean() < 3


def test_pictures_are_converted_in_strips_and_webp_has_a_limit_of_its_own(ramp, monkeypatch):
    monkeypatch.setattr("kdloss.data.images._STRIP", 7 * 60)
    rgba = Image.fromarray(np.dstack([ramp, ramp[:, :, 1]]))
    over_black = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    np.testing.assert_array_equal(read_image(encoded(rgba, "PNG")), np.array(over_black))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2400)
    read_image(encoded(rgba, "PNG"))
    with pytest.raises(DataError, match=r"60 x 40 is too large, expected 0\.0016 million pixels"):
        read_image(encoded(rgba, "WEBP"))


MEASURE = """
import resource, sys
from kdloss.data.images import read_image
before = resource.getrusage(resource.RUSAGE_SELF)
read_image(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF)
print(after.ru_maxrss - before.ru_maxrss, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["I;16.png", "RGBA.png", "RGB.jpg", "RGB.webp"])
def test_the_largest_picture_takes_less_than_a_gigabyte_and_five_seconds(kind, tmp_path):
    mode, suffix = kind.split(".")
    side = 7700 if suffix == "webp" else 9430
    Image.new(mode, (side, side)).save(tmp_path / kind, progressive=True, method=0)
    # The shell's memory does not count, as that of this process would.
    words = ["sh", "-c", '"$@" & wait $!', "sh", sys.executable, "-c", MEASURE, str(tmp_path / kind)]
    kilobytes, seconds = map(float, subprocess.run(words, check=True, capture_output=True, text=True).stdout.split())
    assert kilobytes < 1 << 20
    assert seconds < 5


def test_missing_empty_foreign_and_cut_files_each_say_so(ramp, tmp_path):
    jpeg = encoded(Image.fromarray(ramp), "JPEG")
    png = encoded(Image.fromarray(ramp), "PNG")
    files = {"empty.jpg": b"", "text.jpg": b"%!PS-Adobe-3.0", "cut.jpg": jpeg[: len(jpeg) // 2], "cut.png": png[:60]}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    expected = {"absent.jpg": "No such file", "empty.jpg": "empty file", "text.jpg": "not an image"}
    expected |= dict.fromkeys(("cut.jpg", "cut.png"), "damaged or cut short")
    for name, reason in expected.items():
        with pytest.raises(DataError, match=reason) as error:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)
