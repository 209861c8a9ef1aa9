"""The 300-W reader, on small folders and on the real faces."""

import pytest

from data_prep.face import Face, SkippedFace
from data_prep.pts import paired_files
from data_prep.w300 import photograph, read_300w
from kdloss.errors import DataError


def test_official_layout(faces_300w, at_marks):
    raw = read_300w(faces_300w)
    faces = {face.name: face for face in raw.entries}
    assert len(faces) == raw.total == 14
    assert all(at_marks(face.image, face.points) for face in faces.values())
    spaced = faces["ibug/image_092 _01.png"]
    assert (spaced.split, spaced.source, spaced.subsets) == ("test", "ibug", ("challenging",))
    assert faces["helen/testset/8_1.png"].subsets == ("common",)
    assert faces["afw/100_1.png"].split == "train"
    assert faces["afw/100_1.png"].subsets == ()
    assert faces["afw/100_1.png"].group == faces["afw/100_2.png"].group != faces["afw/101_1.png"].group


@pytest.mark.parametrize(
    ("stem", "expected"),
    [("123_1", "123"), ("123_12", "123"), ("image_0001", "image_0001"), ("image_092 _01", "image_092"), ("x", "x")],
)
def test_photograph(stem, expected):
    assert photograph(stem) == expected


def test_absent_parts_are_named(faces_300w, tmp_path):
    for path in (faces_300w / "ibug").iterdir():
        path.unlink()
    warnings = read_300w(faces_300w).warnings
    assert any(w.startswith("ibug absent: no challenging subset (135 faces)") for w in warnings)
    assert any(w.startswith("lfpw/testset absent: the common subset lacks its 224 faces") for w in warnings)
    assert len(warnings) == 2
    with pytest.raises(DataError, match="found none of afw, helen/trainset"):
        read_300w(tmp_path)


def test_bad_faces_are_skipped_with_the_reason(faces_300w, write_pts, marked):
    afw = faces_300w / "afw"
    (afw / "100_1.png").write_bytes(b"")
    (afw / "100_2.png").unlink()
    (afw / "101_1.pts").unlink()
    write_pts(afw / "101_2.pts", marked(67)[1])
    skipped = {entry.name: entry.reason for entry in read_300w(faces_300w).entries if isinstance(entry, SkippedFace)}
    assert sorted(skipped) == ["afw/100_1.png", "afw/100_2.pts", "afw/101_1.png", "afw/101_2.png"]
    assert "empty file" in skipped["afw/100_1.png"]
    assert "no image" in skipped["afw/100_2.pts"]
    assert "no .pts" in skipped["afw/101_1.png"]
    assert "found 67 points, expected 68" in skipped["afw/101_2.png"]


def test_real_faces_are_counted_as_the_data_card_says(raw_300w):
    expected = {"afw": 337, "helen/trainset": 870, "lfpw/trainset": 805}
    expected |= {"helen/testset": 330, "lfpw/testset": 224, "ibug": 135}
    assert {part: len(paired_files(raw_300w / part)) for part in expected} == expected
    raw = read_300w(raw_300w)
    assert raw.total == 2012 + 689
    assert raw.warnings == ()


def test_real_points_lie_on_their_faces(raw_300w):
    raw = read_300w(raw_300w)
    for _, face in zip(range(20), raw.entries, strict=False):
        assert isinstance(face, Face)
        height, width = face.image.shape[:2]
        assert (face.points > -0.5).all()
        assert (face.points < (width - 0.5, height - 0.5)).all()
        # The subject's right eye is left of the left one, and both above the mouth.
        right, left, mouth = (face.points[part].mean(axis=0) for part in (slice(36, 42), slice(42, 48), slice(48, 68)))
        assert right[0] < left[0]
        assert max(right[1], left[1]) < mouth[1]
