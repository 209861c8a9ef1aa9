"""Mirror tables against the published ones (the same in mmpose, HRNet, PIPNet and STAR)."""

import numpy as np
import pytest

from kdloss.data.schemes import SCHEMES, LandmarkScheme
from kdloss.errors import DataError


def _down(start, stop):
    return list(range(start, stop - 1, -1))


PUBLISHED = {
    "29": [1, 0, 3, 2, 6, 7, 4, 5, 9, 8, 11, 10, 14, 15, 12, 13, 17, 16, 19, 18, 20, 21, 23, 22, 24, 25, 26, 27, 28],
    "68": _down(16, 0) + _down(26, 17) + [27, 28, 29, 30] + _down(35, 31) + [45, 44, 43, 42, 47, 46, 39, 38, 37, 36]
    + [41, 40] + _down(54, 48) + _down(59, 55) + _down(64, 60) + [67, 66, 65],
    "98": _down(32, 0) + _down(46, 42) + _down(50, 47) + _down(37, 33) + _down(41, 38) + [51, 52, 53, 54]
    + _down(59, 55) + [72, 71, 70, 69, 68, 75, 74, 73, 64, 63, 62, 61, 60, 67, 66, 65] + _down(82, 76) + _down(87, 83)
    + _down(92, 88) + [95, 94, 93, 97, 96],
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_mirror_table_is_the_published_one(name):
    mirror = SCHEMES[name].mirror
    np.testing.assert_array_equal(mirror, PUBLISHED[name])
    np.testing.assert_array_equal(mirror[mirror], np.arange(int(name)))


@pytest.mark.parametrize("name", PUBLISHED)
def test_parts_cover_every_point_once_and_json_round_trips(name):
    scheme = SCHEMES[name]
    assert sorted(i for part in scheme.parts.values() for i in part) == list(range(scheme.num_points))
    assert LandmarkScheme.from_json(scheme.to_json()) == scheme


@pytest.mark.parametrize(
    ("names", "ocular", "pupils"),
    [
        (["left_eye", "right_eye", "nose"], None, ((1,), (0,))),
        (["L eye outer", "L eye inner", "R eye outer", "R eye inner", "R eye brow"], (2, 0), ((2, 3), (0, 1))),
        (["LeftPupil", "RightPupil", "LeftEyeOuter", "RightEyeOuter"], (3, 2), ((1,), (0,))),
        (["left_eyebrow", "right_eyebrow", "nose"], None, None),
        (None, None, None),
    ],
)
def test_names_tell_the_eyes(names, ocular, pupils):
    scheme = LandmarkScheme.plain(len(names or "abc"), names)
    assert (scheme.ocular, scheme.pupils) == (ocular, pupils)
    assert LandmarkScheme.from_json(scheme.to_json()) == scheme


def test_a_plain_scheme_without_sides_refuses_to_mirror():
    for names in (None, ["cleft", "bright", "upright", "nose", "copy"], [*"hijklmnopqrst"][:5]):
        with pytest.raises(DataError, match="left_/right_"):
            _ = LandmarkScheme.plain(5, names).mirror


@pytest.mark.parametrize(
    ("names", "mirror"),
    [
        ("left_eye right_eye nose mouth_left mouth_right", [1, 0, 2, 4, 3]),
        ("L-eye eye-r nose R.Mouth mouth.L", [1, 0, 2, 4, 3]),
        ("leftEye RightEye LEFTEAR RIGHTEAR", [1, 0, 3, 2]),
        ("lefteye righteye mouthleft mouthright", [1, 0, 3, 2]),
        ("EyeL EyeR LMouth RMouth eye2L eye2R", [1, 0, 3, 2, 5, 4]),
        ("Leye Reye lip", [1, 0, 2]),
        ("L1 R1 L2 R2 C1", [1, 0, 3, 2, 4]),
        ("lip_l lip_m lip_r", [2, 1, 0]),
        ("left_eye_left left_eye_right right_eye_left right_eye_right", [3, 2, 1, 0]),
        ("p_l p_r p_k p_q left_x right_x", [0, 1, 2, 3, 5, 4]),  # letters that count
    ],
)
def test_sides_are_found_anywhere_in_names(names, mirror):
    names = names.split()
    assert LandmarkScheme.plain(len(names), names).mirror.tolist() == mirror
    spaced = [name.replace("_", " ") for name in names]
    assert LandmarkScheme.plain(len(names), spaced).mirror.tolist() == mirror


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("mouth_left nose", "mouth_left has no mirror partner mouth_right: name its partner like it"),
        ("nose eye-R", "eye-R has no mirror partner eye_left"),
        ("left_eye right_eye left-eye", "right_eye has a partner that others have too"),
        ("left_eye_right_corner nose", "no mirror partner right_eye_left_corner"),
    ],
)
def test_sides_without_a_partner_are_refused(names, says):
    with pytest.raises(DataError, match=says):
        _ = LandmarkScheme.plain(len(names.split()), names.split()).mirror
