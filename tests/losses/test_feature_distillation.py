"""Feature distillation: PS by hand, by a direct evaluation in float64 and by finite differences, and FA by hand."""

import re

import numpy as np
import pytest

from kdloss.errors import ConfigError
from kdloss.losses.feature_distillation import (
    direct_distance,
    feature_aligned_loss,
    gram_distance,
    patch_similarity,
    patch_similarity_loss,
)
from tests.gradients import gradient, value_and_gradients

DISTANCES = [None, direct_distance, gram_distance]


def _affinity(features, size):
    """Cosine similarities (M, M) of the mean patches of one map (h, h, C), in float64."""
    side = len(features) // size
    nodes = features.astype(np.float64).reshape(side, size, side, size, -1).mean(axis=(1, 3)).reshape(side * side, -1)
    norms = np.linalg.norm(nodes, axis=1, keepdims=True)
    unit = nodes / np.where(norms > 0, norms, 1)
    return unit @ unit.T


def _expected(students, teachers):
    """The loss of one map as its formula is written."""
    sizes, pairs = [2**k for k in range(int(np.log2(students.shape[1])))], [*zip(students, teachers, strict=True)]
    return np.mean([np.mean((_affinity(s, size) - _affinity(t, size)) ** 2) for s, t in pairs for size in sizes])


def _maps(side, student_width, teacher_width, batch=2, seed=0, rectified=True):
    rng = np.random.default_rng(seed)
    maps = [rng.normal(size=(batch, side, side, width)) for width in (student_width, teacher_width)]
    # Rectified maps are what decoders give: all similarities positive, some nodes zero where a map is narrow.
    return [(np.maximum(m, 0) if rectified else m).astype("float32") for m in maps]


def _gradient(student, teacher, distance=None):
    return gradient(lambda maps: patch_similarity(maps, teacher, distance), student)


def _checkerboard(side):
    """(1, side, side, 2): the first axis on white, the second on black."""
    return np.eye(2, dtype="float32")[np.indices((side, side)).sum(axis=0) % 2][None]


def _halves(side):
    """(1, side, side, 1): 1 on the left, -1 on the right."""
    columns = np.where(np.arange(side) < side // 2, 1, -1).astype("float32")
    return np.tile(columns[None, None, :, None], (1, side, 1, 1))


@pytest.mark.parametrize(
    ("student", "teacher", "value"),
    [
        # Half of the pairs are orthogonal in the student, all are alike in the teacher.
        (_checkerboard(2), np.ones((1, 2, 2, 1), "float32"), 1 / 2),
        # The same for pixels, but patches of 2 x 2 are all grey: (1/2 + 0) / 2.
        (_checkerboard(4), np.ones((1, 4, 4, 3), "float32"), 1 / 4),
        # Half of the pairs are opposite, at both sizes: 2^2 / 2.
        (np.ones((1, 4, 4, 1), "float32"), _halves(4), 2),
        # Beside itself, a node is off by 1 towards two others (0 for +-1) and by 2 towards the third (1 for -1).
        (_checkerboard(2), _halves(2), (0 + 1 + 1 + 4) / 4),
        # Nothing is like nothing: 0 against 1.
        (np.zeros((1, 2, 2, 4), "float32"), np.ones((1, 2, 2, 1), "float32"), 1),
    ],
    ids=["2x2", "4x4", "opposite", "crossed", "zero"],
)
def test_by_hand(student, teacher, value):
    for distance in DISTANCES:
        assert float(patch_similarity(student, teacher, distance)) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize(
    ("side", "student_width", "teacher_width"), [(2, 3, 5), (4, 24, 17), (8, 70, 66), (8, 3, 130), (16, 24, 40)]
)
def test_against_a_direct_evaluation_in_float64(side, student_width, teacher_width, rectified):
    student, teacher = _maps(side, student_width, teacher_width, rectified=rectified)
    expected = _expected(student, teacher)
    for distance in DISTANCES:
        assert float(patch_similarity(student, teacher, distance)) == pytest.approx(expected, abs=1e-5)


def test_side_64_to_1e_5_and_equal_maps_to_zero():
    student, teacher = _maps(64, 12, 20, batch=1)
    assert float(patch_similarity(student, teacher)) == pytest.approx(_expected(student, teacher), abs=1e-5)
    assert float(patch_similarity(teacher, teacher)) == pytest.approx(0, abs=1e-6)
    # Maps that barely vary: every similarity is near 1, all of it cancels.
    student, teacher = _maps(32, 12, 20, batch=1)
    flat = 5 + student / 10
    assert float(patch_similarity(flat, 7 + teacher / 10)) == pytest.approx(_expected(flat, 7 + teacher / 10), abs=1e-6)


def test_mean_over_maps_of_any_sides():
    pairs = [_maps(side, 3, 4, seed=side) for side in (2, 4, 8)]
    students, teachers = zip(*pairs, strict=True)
    expected = np.mean([_expected(*pair) for pair in pairs])
    assert float(patch_similarity_loss(students, teachers)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("widths", [(3, 2), (17, 20)])
def test_gradient_by_finite_differences(widths, distance):
    student, teacher = _maps(4, *widths, rectified=False)
    slope, step = _gradient(student, teacher, distance), 1e-5
    for entry in list(np.ndindex(student.shape))[:: student.size // 24]:
        moved = np.zeros(student.shape)
        moved[entry] = step
        expected = (_expected(student + moved, teacher) - _expected(student - moved, teacher)) / (2 * step)
        assert slope[entry] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("distance", [direct_distance, gram_distance])
def test_zero_nodes_are_like_none_and_have_finite_gradients(distance):
    student, teacher = _maps(4, 3, 5, rectified=False)
    student[0, 0, 0] = student[1, 2:, 2:] = teacher[0, :2, :2] = teacher[0, 3, 3] = 0
    student[1, 0, 0] = 1e-30  # its square is 0 in float32
    expected = _expected(np.where(np.abs(student) > 1e-20, student, 0), teacher)
    assert float(patch_similarity(student, teacher, distance)) == pytest.approx(expected, abs=1e-5)
    slope = _gradient(student, teacher, distance)
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() < 1
    # The node of 2 x 2 zeros and its pixels; a zero pixel among others still counts in their mean.
    assert not slope[1, 2:, 2:].any()
    assert slope[0, 0, 0].any()


@pytest.mark.parametrize(
    ("student", "teacher", "found"),
    [
        (6, 6, "the student's map is 6 x 6"),
        (1, 1, "the student's map is 1 x 1"),
        (4, 12, "the teacher's map is 12 x 12"),
        (4, 8, "the student's map has side 4, the teacher's 8"),
    ],
)
def test_sides_that_cannot_be_halved_to_one_are_refused(student, teacher, found):
    with pytest.raises(ConfigError, match=f"{found}.*--image-size"):
        patch_similarity_loss([np.zeros((1, student, student, 3))], [np.zeros((1, teacher, teacher, 5))])


def test_feature_alignment_is_the_sum_over_levels_of_mean_squares():
    rng = np.random.default_rng(1)
    lifted, teacher = ([rng.normal(size=(2, s, s, s)).astype("float32") for s in (2, 4)] for _ in range(2))
    value, slopes = value_and_gradients(lambda *maps: feature_aligned_loss(maps, teacher), *lifted)
    assert value == pytest.approx(sum(np.mean((s - t) ** 2) for s, t in zip(lifted, teacher, strict=True)), rel=1e-5)
    for student, target, slope in zip(lifted, teacher, slopes, strict=True):
        np.testing.assert_allclose(slope, 2 * (student - target) / student.size, rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 4, 4, 7), (2, 2, 2, 5), (1, 4, 4, 5), (2, 16, 5)])
def test_maps_of_other_shapes_are_not_aligned(shape):
    same, expected = np.zeros((2, 8, 8, 3)), np.zeros((2, 4, 4, 5))
    with pytest.raises(ConfigError, match=rf"level 1.*{re.escape(str(shape))}.*\(2, 4, 4, 5\)"):
        feature_aligned_loss([same, np.zeros(shape)], [same, expected])
