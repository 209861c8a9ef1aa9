"""The .pts reader."""

import numpy as np
import pytest

from data_prep.pts import paired_files, read_pts
from kdloss.errors import DataError

POINTS = np.array([[0.0, 0.0], [10.5, 20.25], [99.0, 3.0]], np.float32)


@pytest.mark.parametrize("header", [True, False])
def test_one_based_numbers_become_zero_based_float32(tmp_path, write_pts, header):
    path = tmp_path / "a face.pts"
    write_pts(path, POINTS, header=header)
    points = read_pts(path, 3)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, POINTS)


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\r\nn_points: 2\r\n{\r\n1 2\r\n3 4\r\n}\r\n",
        "version: 1\nn_points:  2\n{\n1 2\n3 4\n}",
        "\ufeffversion: 1\nn_points: 2\n{\n 1\t2 \n\n3,4\n}\n\n",
        "1.0 2.0\n3.0e0 4.0",
    ],
)
def test_spellings_of_the_format(tmp_path, text):
    path = tmp_path / "a.pts"
    path.write_bytes(text.encode())
    np.testing.assert_array_equal(read_pts(path), [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "found no points"),
        ("1 2\nnan 4", r"a.pts:2: found nan 4, expected a pixel position"),
        ("1 2\n3 1e30", r"a.pts:2"),
        ("1 2\n3", r"a.pts:2: found '3', expected two numbers"),
        ("1 2 3\n4 5 6", r"a.pts:1: found '1 2 3'"),
        ("\x00\x01garbage", r"a.pts:1: found"),
        ("version: 1\nn_points: 3\n{\n1 2\n3 4\n}", "found 2 points, expected 3"),
        ("version: 1\nn_points: many\n{\n1 2\n3 4\n}", "found 2 points, expected many"),
        ("version: 1\nn_points: 2\n{\n1 2\n3 4\n", r"cut short: found braces {"),
    ],
)
def test_garbage_is_named(tmp_path, text, reason):
    path = tmp_path / "a.pts"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as error:
        read_pts(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_another_number_of_points_are_named(tmp_path, write_pts):
    with pytest.raises(DataError, match="No such file"):
        read_pts(tmp_path / "a.pts")
    write_pts(tmp_path / "a.pts", POINTS)
    with pytest.raises(DataError, match="found 3 points, expected 68"):
        read_pts(tmp_path / "a.pts", 68)


def test_images_and_points_are_paired_by_stem_whatever_the_case(tmp_path):
    for name in ("b.JPG", "b.pts", "a x.png", "a x.PTS", "lonely.jpeg", "orphan.pts", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    names = [(stem, *(path and path.name for path in pair)) for stem, *pair in paired_files(tmp_path)]
    assert names == [
        ("a x", "a x.png", "a x.PTS"),
        ("b", "b.JPG", "b.pts"),
        ("lonely", "lonely.jpeg", None),
        ("orphan", None, "orphan.pts"),
    ]
