"""98 -> 68 and 29: the correspondence, mirroring, and real WFLW annotation."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.points98 import to_29, to_68
from kdloss.errors import DataError
from kdloss.geometry import mirror_points
from kdloss.schemes import SCHEMES

REPOSITORY = Path(__file__).resolve().parents[2]
CONVERSIONS = {"68": to_68, "29": to_29, "98": np.asarray}
# The correspondence that conversion scripts of the field use, WFLW -> 300-W, 0-based.
PUBLISHED_68 = [*range(0, 33, 2), *range(33, 38), *range(42, 47), *range(51, 60), 60, 61, 63, 64, 65, 67]
PUBLISHED_68 += [68, 69, 71, 72, 73, 75, *range(76, 96)]


@pytest.fixture(scope="module")
def wflw_faces():
    """(n, 98, 2) points of real WFLW faces."""
    raw = Path(os.environ.get("KDLOSS_RAW", REPOSITORY.parent / "shared" / "data" / "raw"))
    path = raw.parent / "samples" / "wflw" / "test_wflw.json"
    if not path.is_file():
        pytest.skip(f"no WFLW samples at {path}")
    annotations = json.loads(path.read_text())["annotations"]
    return np.array([np.reshape(one["keypoints"], (98, 3))[:, :2] for one in annotations], np.float32)


def test_68_are_the_published_correspondence():
    numbered = np.repeat(np.arange(98.0)[:, None], 2, axis=1)
    np.testing.assert_array_equal(to_68(numbered)[:, 0], PUBLISHED_68)


def test_29_are_named_points_of_the_98():
    points = np.random.default_rng(0).normal(size=(98, 2))
    of98 = dict(zip(SCHEMES["98"].names, points, strict=True))
    of29 = dict(zip(SCHEMES["29"].names, to_29(points), strict=True))
    for name in ("right_pupil", "left_eye_outer", "nose_base", "right_mouth_corner", "inner_lower_lip", "chin"):
        np.testing.assert_array_equal(of29[name], of98[name])
    np.testing.assert_array_equal(of29["nose_tip"], of98["nose_bridge_3"])
    np.testing.assert_array_equal(of29["right_brow_outer"], of98["right_brow_upper_0"])
    np.testing.assert_array_equal(of29["left_brow_lower"], of98["left_brow_lower_2"])
    np.testing.assert_array_equal(of29["left_eye_upper"], of98["left_eye_upper_1"])
    middle = (of98["right_brow_upper_4"] + of98["right_brow_lower_0"]) / 2
    np.testing.assert_allclose(of29["right_brow_inner"], middle, rtol=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(2, 400), st.sampled_from(list(CONVERSIONS)))
def test_mirroring_commutes_with_conversion(seed, width, scheme):
    points = np.random.default_rng(seed).uniform(0, width, (3, 98, 2))
    convert = CONVERSIONS[scheme]
    first = convert(mirror_points(points, width, SCHEMES["98"].mirror))
    last = mirror_points(convert(points), width, SCHEMES[scheme].mirror)
    np.testing.assert_allclose(first, last, atol=1e-9)


def test_float32_stays_and_batches_broadcast():
    points = np.random.default_rng(0).uniform(0, 300, (2, 3, 98, 2)).astype(np.float32)
    assert to_68(points).dtype == np.float32
    assert to_29(points).shape == (2, 3, 29, 2)
    np.testing.assert_array_equal(to_68(points)[1, 2], to_68(points[1, 2]))


@pytest.mark.parametrize("shape", [(68, 2), (98,), (2, 97, 2)])
def test_other_numbers_of_points_are_refused(shape):
    with pytest.raises(DataError, match=r"expected \(\.\.\., 98, 2\)"):
        to_68(np.zeros(shape))


def test_real_faces_give_plausible_68_and_29(wflw_faces):
    index = {name: i for i, name in enumerate(SCHEMES["68"].names)}
    for points in wflw_faces:
        points68, points29 = to_68(points), to_29(points)
        ocular = np.linalg.norm(points68[36] - points68[45])
        assert ocular == pytest.approx(np.linalg.norm(points[60] - points[72]))
        # The eye's six points average to the annotated pupil.
        for side, scheme in zip((points68[36:42], points68[42:48]), points[96:98], strict=True):
            assert np.linalg.norm(side.mean(0) - scheme) < 0.12 * ocular
        # Neighbours on the jaw are evenly spaced.
        steps = np.linalg.norm(np.diff(points68[:17], axis=0), axis=-1)
        assert steps.max() < 3 * np.median(steps)
        eyes, mouth = points68[36:48].mean(0), points68[48:68].mean(0)
        down = (mouth - eyes) / np.linalg.norm(mouth - eyes)
        height = (points68 - eyes) @ down
        for lower, upper in (("chin", "lower_lip"), ("lower_lip", "upper_lip"), ("upper_lip", "nose_base")):
            assert height[index[lower]] > height[index[upper]]
        assert (height[17:27] < height[36:48].mean()).all()
        # COFW's brows, eyes and pupils stand in this order.
        rows = (points29 - eyes) @ down
        assert rows[[4, 6]].mean() < rows[[5, 7]].mean() < rows[[16, 17]].mean() < rows[21] < rows[28]
