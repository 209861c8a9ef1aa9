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


def test_a_plain_scheme_without_sides_refuses_to_mirror():
    with pytest.raises(DataError, match="left_/right_"):
        _ = LandmarkScheme.plain(5).mirror
    named = LandmarkScheme.plain(3, ["left_eye", "right_eye", "nose"])
    np.testing.assert_array_equal(named.mirror, [1, 0, 2])
    with pytest.raises(DataError, match="no mirror partner"):
        _ = LandmarkScheme.plain(2, ["left_eye", "nose"]).mirror
