"""The 300-W reader, on small folders and on the real faces."""

import numpy as np
import pytest

from data_prep.raw import SkippedFace
from data_prep.w300 import paired_files, photograph, read_300w, read_pts
from kdloss.errors import DataError
from tests.data_prep.marked_faces import at_marks, marked, write_pts


def test_official_layout(faces_300w):
    raw = read_300w(faces_300w)
    faces = {face.name: face for face in raw.entries}
    assert len(faces) == 14
    assert all(at_marks(face) for face in faces.values())
    spaced = faces["ibug/image_092 _01.png"]
    assert (spaced.split, spaced.source, spaced.subsets) == ("test", "ibug", ("challenging",))
    assert faces["helen/testset/8_1.png"].subsets == ("common",)
    first = faces["afw/100_1.png"]
    assert (first.split, first.subsets) == ("train", ())
    assert first.group == faces["afw/100_2.png"].group != faces["afw/101_1.png"].group


def test_the_photograph_of_a_face():
    expected = {"123_1": "123", "123_12": "123", "image_0001": "image_0001", "image_092 _01": "image_092", "x": "x"}
    expected |= {"123_1_mirror": "123", "x-Flipped": "x", "mirror": "mirror"}
    assert {stem: photograph(stem) for stem in expected} == expected


def test_absent_parts_are_named(faces_300w, tmp_path):
    for path in (faces_300w / "ibug").iterdir():
        path.unlink()
    lfpw, ibug = read_300w(faces_300w).warnings
    assert lfpw == "lfpw/testset absent: the common subset lacks its 224 faces"
    assert ibug.startswith("ibug absent: no challenging subset (135 faces)")
    with pytest.raises(DataError, match="found none of afw, helen/trainset"):
        read_300w(tmp_path)


def test_bad_faces_are_skipped_with_the_reason(faces_300w):
    afw = faces_300w / "afw"
    (afw / "100_1.png").write_bytes(b"")
    (afw / "100_2.png").unlink()
    (afw / "101_1.pts").unlink()
    write_pts(afw / "101_2.pts", marked(67)[1])
    skipped = {entry.name: entry.reason for entry in read_300w(faces_300w).entries if isinstance(entry, SkippedFace)}
    expected = {"100_1.png": "empty file", "100_2.pts": "no image", "101_1.png": "no .pts"}
    expected |= {"101_2.png": "found 67 points, expected 68"}
    assert list(skipped) == [f"afw/{name}" for name in expected]
    assert all(reason in skipped[f"afw/{name}"] for name, reason in expected.items())


def test_real_faces_are_counted_as_the_data_card_says(raw_300w):
    expected = {"afw": 337, "helen/trainset": 870, "lfpw/trainset": 805}
    expected |= {"helen/testset": 330, "lfpw/testset": 224, "ibug": 135}
    assert {part: len(paired_files(raw_300w / part)) for part in expected} == expected
    raw = read_300w(raw_300w)
    assert (len(raw.entries), raw.warnings) == (2012 + 689, ())


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\r\nn_points: 2\r\n{\r\n1 2.25\r\n3 4\r\n}\r\n",
        "version: 1\nn_points:  2\n{\n1 2.25\n3 4\n}",
        "\ufeffversion: 1\nn_points: 2\n{\n 1\t2.25 \n\n3,4\n}\n\n",
        "1.0 2.25\n3.0e0 4.0",
    ],
)
def test_spellings_of_the_format_give_zero_based_float32(tmp_path, text):
    path = tmp_path / "a face.pts"
    path.write_bytes(text.encode())
    points = read_pts(path, 2)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, [[0, 1.25], [2, 3]])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "found no points"),
        ("1 2\nnan 4", r"a.pts:2: found nan 4, expected a pixel position"),
        ("\x00\x01garbage", r"a.pts:1: found"),
        ("version: 1\nn_points: 3\n{\n1 2\n3 4\n}", "found 2 points, expected 3"),
        ("version: 1\nn_points: 2\n{\n1 2\n3 4\n", r"cut short: found braces {"),
    ],
)
def test_garbage_is_named(tmp_path, text, reason):
    path = tmp_path / "a.pts"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as error:
        read_pts(path)
    assert str(path) in str(error.value)


def test_images_and_points_are_paired_by_stem_whatever_the_case(tmp_path):
    for name in ("b.JPG", "b.pts", "a x.png", "a x.PTS", "lonely.jpeg", "orphan.pts", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    names = [(stem, *(path and path.name for path in pair)) for stem, *pair in paired_files(tmp_path)]
    assert names[:2] == [("a x", "a x.png", "a x.PTS"), ("b", "b.JPG", "b.pts")]
    assert names[2:] == [("lonely", "lonely.jpeg", None), ("orphan", None, "orphan.pts")]
