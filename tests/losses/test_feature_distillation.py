"""Feature distillation: PS by hand, by a direct evaluation in float64 and by finite differences, and FA by hand.

Both also where the teacher's maps have other sides.
"""

import math
import re

import keras
import numpy as np
import pytest

from kdloss.errors import ConfigError
from kdloss.losses.feature_distillation import (
    FeatureDistillation,
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
    side, beyond = -(-len(features) // size), -len(features) % size
    whole = np.pad(features.astype(np.float64), ((0, beyond), (0, beyond), (0, 0)), constant_values=np.nan)
    nodes = np.nanmean(whole.reshape(side, size, side, size, -1), axis=(1, 3)).reshape(side * side, -1)
    norms = np.linalg.norm(nodes, axis=1, keepdims=True)
    unit = nodes / np.where(norms > 0, norms, 1)
    return unit @ unit.T


def _expected(students, teachers):
    """The loss of one map as its formula is written."""
    sizes = [2**k for k in range(math.ceil(math.log2(students.shape[1])))]
    pairs = [*zip(students, teachers, strict=True)]
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
        # 2 x 5 x 4 pairs of pixels are orthogonal. Of the patches, the last is a white pixel and the others are grey.
        (_checkerboard(3), np.ones((1, 3, 3, 1), "float32"), (40 / 81 + 6 / 16 * (1 - math.sqrt(1 / 2)) ** 2) / 2),
    ],
    ids=["2x2", "4x4", "opposite", "crossed", "zero", "3x3"],
)
def test_by_hand(student, teacher, value):
    for distance in DISTANCES:
        assert float(patch_similarity(student, teacher, distance)) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("rectified", [True, False])
@pytest.mark.parametrize(
    ("side", "student_width", "teacher_width"),
    [(2, 3, 5), (4, 24, 17), (8, 70, 66), (8, 3, 130), (16, 24, 40), (3, 3, 5), (6, 70, 3), (7, 24, 17), (9, 4, 40)],
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
    pairs = [_maps(side, 3, 4, seed=side) for side in (2, 3, 4, 8)]
    students, teachers = zip(*pairs, strict=True)
    expected = np.mean([_expected(*pair) for pair in pairs])
    assert float(patch_similarity_loss(students, teachers)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("side", "widths"), [(4, (3, 2)), (4, (17, 20)), (5, (3, 2))])
def test_gradient_by_finite_differences(side, widths, distance):
    student, teacher = _maps(side, *widths, rectified=False)
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


@pytest.mark.parametrize("side", [2, 3, 7])
def test_neither_lengths_nor_axes_of_the_features_matter(side):
    student, teacher = _maps(side, 4, 6)
    lengths = np.random.default_rng(1).uniform(0.5, 2, (2, 1, 1, 1)).astype("float32")
    axes = np.linalg.qr(np.random.default_rng(2).normal(size=(4, 4)))[0].astype("float32")
    expected = float(patch_similarity(student, teacher))
    assert expected > 0.01
    assert float(patch_similarity(lengths * student @ axes, 3 * teacher)) == pytest.approx(expected, abs=1e-6)
    assert float(patch_similarity(lengths * teacher, teacher)) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("student", "teacher", "found"),
    [
        ((1, 1), (1, 1), "the student's map is 1 x 1, expected a square of side 2 at least: give --image-size 64"),
        ((4, 4), (4, 2), "the teacher's map is 4 x 2, expected a square"),
        ((4, 4), (8, 8), "the student's map has side 4, the teacher's 8: expected the same"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(student, teacher, found):
    with pytest.raises(ConfigError, match=found):
        patch_similarity_loss([np.zeros((1, *student, 3))], [np.zeros((1, *teacher, 5))])


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


def _layer(students, teachers, **weights):
    """A `FeatureDistillation` of maps as wide as the teacher's, which its convolutions leave as they are."""
    layer = FeatureDistillation(*([keras.Input(m.shape[1:]) for m in maps] for maps in (students, teachers)), **weights)
    for lift in layer.lifts:
        lift.kernel.assign(np.eye(lift.filters)[None, None])
    return layer


# Teacher's and student's side -> the share of each of the teacher's pixels in each of the student's, along an axis.
SHARES = {
    (4, 3): np.array([[3, 1, 0, 0], [0, 2, 2, 0], [0, 0, 1, 3]]) / 4,
    (6, 2): np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]]) / 3,
    (3, 4): np.array([[3, 0, 0], [1, 2, 0], [0, 2, 1], [0, 0, 3]]) / 3,
    (2, 4): np.repeat(np.eye(2), 2, axis=0),
    (3, 3): np.eye(3),
}


@pytest.mark.parametrize("sides", SHARES)
def test_a_pixel_follows_the_mean_of_its_area_in_the_map_of_the_teacher(sides):
    shares, (_, teacher) = SHARES[sides], _maps(sides[0], 3, 3)
    same = np.einsum("ih,jw,bhwc->bijc", shares, shares, teacher).astype("float32")
    other = same[:, ::-1] + 0.1
    layer = _layer([same], [teacher], fa_weight=0.5, ps_weight=2)
    expected = {"fa": 0.5 * np.mean((other - same) ** 2), "ps": 2 * _expected(other, same)}
    for student, values in ((same, {"fa": 0, "ps": 0}), (other, expected)):
        found = {name: float(value) for name, value in layer([student], [teacher]).items()}
        assert found == pytest.approx(values, rel=1e-4, abs=1e-6)
    # A step against the gradient goes towards the resized map.
    _, slopes = value_and_gradients(lambda *maps: layer(maps[:1], maps[1:])["fa"], other, teacher)
    np.testing.assert_allclose(slopes[0], (other - same) / same.size, rtol=1e-4, atol=1e-7)
    assert not slopes[1].any()


@pytest.mark.parametrize("sides", [(3, 4), (7, 3), (6, 8), (4, 12)])
def test_levels_are_paired_and_means_of_maps_are_kept(sides):
    """A student whose maps say the same everywhere is best at the mean of the teacher's map, level by level."""
    given, wanted = sides
    teachers = [_maps(given * 2**level, 3, 3 + level, seed=level)[1] for level in range(4)]
    means = [teacher.mean(axis=(1, 2), keepdims=True) for teacher in teachers]
    students = [np.tile(mean, (1, wanted * 2**k, wanted * 2**k, 1)) for k, mean in enumerate(means)]
    layer = _layer(students, teachers, fa_weight=1)
    _, slopes = value_and_gradients(lambda *maps: layer(maps[:4], maps[4:])["fa"], *students, *teachers)
    for slope in slopes[:4]:
        np.testing.assert_allclose(slope.sum(axis=(1, 2)), 0, atol=1e-6)
        assert slope.any()


def test_students_of_one_pixel_are_refused_for_patches_alone():
    students, teachers = _maps(1, 3, 3)[:1], _maps(4, 3, 3)[1:]
    assert float(_layer(students, teachers, fa_weight=1)(students, teachers)["fa"]) > 0
    with pytest.raises(ConfigError, match=r"the student's map is 1 x 1.*--image-size 64 or more"):
        _layer(students, teachers, ps_weight=1)
