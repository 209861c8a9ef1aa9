"""Aligned faces: where eyes and mouth come to lie."""

import numpy as np
import pytest

from kdloss.data.geometry import invert, transform_points
from kdloss.data.schemes import SCHEMES, LandmarkScheme
from kdloss.errors import ConfigError
from kdloss.inference.aligned import LAYOUT, Aligner
from tests.inference.test_pose import projected

EYES = {
    "68": [range(36, 42), range(42, 48)],
    "98": [range(60, 68), range(68, 76)],
    "29": [(8, 10, 12, 13), (9, 11, 14, 15)],
}
MOUTH = {"68": (48, 54), "98": (76, 82), "29": (22, 23)}


def eyes_and_mouth(points, name):
    """(4, 2): both eyes and both corners of the mouth, from left to right as the picture shows them."""
    return np.array([*(points[list(eye)].mean(axis=0) for eye in EYES[name]), *points[list(MOUTH[name])]])


@pytest.mark.parametrize("name", SCHEMES)
def test_eyes_and_mouth_come_to_the_places_of_the_layout(name):
    # A face whose points lie as in the layout, turned by 120 degrees and enlarged.
    turned = np.array([[-1.5, -2.6, 400], [2.6, -1.5, 90]])
    points = np.full((SCHEMES[name].num_points, 2), 1e3)
    for indices, place in zip([*EYES[name], *([corner] for corner in MOUTH[name])], LAYOUT, strict=True):
        points[list(indices)] = place
    crop = Aligner(SCHEMES[name], 112).crop(transform_points(turned, points))
    assert crop.matrix == pytest.approx(invert(turned), abs=1e-9)
    # In a crop twice as large, pixel centres lie twice as far from its edge.
    crop = Aligner(SCHEMES[name], 224).crop(transform_points(turned, points))
    assert crop.points(eyes_and_mouth(transform_points(turned, points), name)) == pytest.approx(2 * LAYOUT + 0.5)


def test_other_faces_come_as_near_as_a_similarity_brings_them():
    landmarks = projected(20, -10, 35)
    own, (a, b) = eyes_and_mouth(landmarks, "68"), Aligner(SCHEMES["68"], 112).crop(landmarks).matrix
    rows = np.concatenate([[(x, -y, 1, 0), (y, x, 0, 1)] for x, y in own])
    cos, sin, *shift = np.linalg.lstsq(rows, LAYOUT.reshape(-1))[0]
    assert [a, b] == [pytest.approx([cos, -sin, shift[0]]), pytest.approx([sin, cos, shift[1]])]


def test_what_cannot_be_aligned():
    with pytest.raises(ConfigError, match="scheme custom-2 has no points right_eye_, left_eye_, right_mouth_corner"):
        Aligner(LandmarkScheme.plain(2, ["nose", "chin"]), 64)
    with pytest.raises(ConfigError, match="--crops 8: expected 16 to 2048 pixels"):
        Aligner(SCHEMES["68"], 8)
    assert Aligner(SCHEMES["68"], 64).crop(np.ones((68, 2))) is None
