"""Similarity fits and generalised Procrustes alignment."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asm import Similarity, UserError, fit_similarity, generalised_procrustes

# A shape without any symmetry.
HOOK = np.array([[0.0, 0.0], [4.0, 0.5], [3.5, 3.0], [1.0, 5.0], [-1.0, 2.0]])


def similarity(scale=1.0, angle=0.0, shift=(0.0, 0.0)):
    p, q = scale * np.cos(angle), scale * np.sin(angle)
    return Similarity(np.array([[p, -q, shift[0]], [q, p, shift[1]]]))


def umeyama(source, target, weights):
    """The published algorithm (PAMI 13(4), 1991, equations 34 to 43), by singular values."""
    weights = weights / weights.sum()
    source_mean, target_mean = weights @ source, weights @ target
    covariance = (weights[:, None] * (target - target_mean)).T @ (source - source_mean)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / (weights @ ((source - source_mean) ** 2).sum(axis=1))
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def random_similarities(generator, count):
    factor = generator.uniform(0.3, 3.0, count) * np.exp(1j * generator.uniform(-0.6, 0.6, count))
    shift = generator.normal(size=(2, count)) * 20
    rows = [[factor.real, -factor.imag, shift[0]], [factor.imag, factor.real, shift[1]]]
    return Similarity(np.moveaxis(np.array(rows), -1, 0))


@given(
    scale=st.floats(0.01, 100),
    angle=st.floats(-3.1, 3.1),
    x=st.floats(-1000, 1000),
    y=st.floats(-1000, 1000),
)
def test_an_exact_similarity_is_found_again(scale, angle, x, y):
    fitted = fit_similarity(HOOK, similarity(scale, angle, (x, y)).apply(HOOK))
    assert fitted.scale == pytest.approx(scale, rel=1e-7)
    assert fitted.rotation == pytest.approx(angle, abs=1e-7)
    np.testing.assert_allclose(fitted.matrix[:, 2], [x, y], atol=1e-6)


def test_two_points_by_hand():
    # (0,0)->(5,5) and (1,0)->(5,7): twice as large, a quarter turn from x towards y.
    fitted = fit_similarity([[0, 0], [1, 0]], [[5, 5], [5, 7]])
    np.testing.assert_allclose(fitted.matrix, [[0, -2, 5], [2, 0, 5]], atol=1e-15)


def test_the_inverse_undoes_it():
    transforms = random_similarities(np.random.default_rng(0), 7)
    shapes = np.random.default_rng(1).normal(size=(7, 5, 2))
    np.testing.assert_allclose(transforms.inverse().apply(transforms.apply(shapes)), shapes, atol=1e-12)
    np.testing.assert_allclose(transforms.inverse().inverse().matrix, transforms.matrix, atol=1e-12)


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_over_determined_fits_agree_with_umeyama(mirror):
    generator = np.random.default_rng(2)
    source, target = generator.normal(size=(2, 30, 9, 2))
    target = 0.5 * target + source * [mirror, 1.0]
    weights = generator.uniform(0.1, 2.0, (30, 9))
    expected = [umeyama(*case) for case in zip(source, target, weights, strict=True)]
    np.testing.assert_allclose(fit_similarity(source, target, weights).matrix, expected, atol=1e-12)


def test_no_similarity_is_nearer_than_the_fit():
    generator = np.random.default_rng(3)
    source, target = HOOK, HOOK + generator.normal(size=HOOK.shape)
    fitted = fit_similarity(source, target)
    best = ((fitted.apply(source) - target) ** 2).sum()
    p, q, x, y = fitted.matrix[0, 0], fitted.matrix[1, 0], *fitted.matrix[:, 2]
    for step in 1e-3 * np.concatenate([np.eye(4), -np.eye(4)]):
        a, b, c, d = np.add([p, q, x, y], step)
        assert ((Similarity(np.array([[a, -b, c], [b, a, d]])).apply(source) - target) ** 2).sum() > best


def test_a_mirrored_shape_is_not_matched_by_a_reflection():
    mirrored = HOOK * [-1, 1]
    fitted = fit_similarity(HOOK, mirrored)
    assert np.linalg.det(fitted.matrix[:, :2]) > 0
    # A reflection would have matched exactly; the residual stays a good part of the shape's size.
    assert np.linalg.norm(fitted.apply(HOOK) - mirrored) > 0.3 * np.linalg.norm(HOOK - HOOK.mean(axis=0))


def test_a_square_and_its_mirror_image_have_no_best_rotation():
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    with pytest.raises(UserError, match="no rotation is better"):
        fit_similarity(square, square * [-1, 1])


def test_points_without_weight_do_not_count():
    target = similarity(2.0, 0.3, (1, 2)).apply(HOOK)
    target[4] += 50
    fitted = fit_similarity(HOOK, target, weights=[1, 1, 1, 1, 0])
    np.testing.assert_allclose(fitted.apply(HOOK)[:4], target[:4], atol=1e-12)


def test_weights_double_as_repeated_points():
    target = HOOK + np.random.default_rng(4).normal(size=HOOK.shape)
    twice = fit_similarity(np.vstack([HOOK, HOOK[:1]]), np.vstack([target, target[:1]]))
    np.testing.assert_allclose(fit_similarity(HOOK, target, [2, 1, 1, 1, 1]).matrix, twice.matrix, atol=1e-12)


def test_whole_batches_are_fitted_as_one_by_one():
    shapes = HOOK + np.random.default_rng(5).normal(size=(3, 4, 5, 2))
    fitted = fit_similarity(HOOK, shapes)
    assert fitted.matrix.shape == (3, 4, 2, 3)
    np.testing.assert_allclose(fitted.matrix[2, 1], fit_similarity(HOOK, shapes[2, 1]).matrix, atol=1e-14)


@pytest.mark.parametrize(
    ("source", "target", "weights", "message"),
    [
        (np.full((5, 2), 0.1), HOOK, None, "source shape: all points coincide in 1"),
        (HOOK, np.full((5, 2), 1e6 + 0.1), None, "target shape: all points coincide in 1"),
        (HOOK, HOOK, [1, 0, 0, 0, 0], "all points coincide"),
        (HOOK, HOOK[:4], None, "found 4 points a shape, expected 5"),
        (HOOK, np.full((5, 2), np.nan), None, "NaN or infinite"),
        (HOOK, HOOK, [1, 1, 1, 1], "expected .*5"),
        (HOOK, HOOK, [1, 1, 1, 1, -1], ">= 0"),
        (HOOK, HOOK, np.zeros(5), "not all 0"),
        (np.stack([HOOK] * 2), np.stack([HOOK] * 3), None, "don't fit together"),
        (HOOK.T, HOOK, None, "x then y"),
        ("points", HOOK, None, "not an array of numbers"),
    ],
)
def test_bad_input_is_refused(source, target, weights, message):
    with pytest.raises(UserError, match=message):
        fit_similarity(source, target, weights)


def test_copies_of_one_shape_align_exactly():
    transforms = random_similarities(np.random.default_rng(6), 12)
    result = generalised_procrustes(transforms.apply(HOOK))
    np.testing.assert_allclose(result.aligned, np.broadcast_to(result.mean, (12, 5, 2)), atol=1e-9)
    np.testing.assert_allclose(result.transforms.apply(transforms.apply(HOOK)), result.aligned, atol=1e-12)


def test_the_mean_is_the_full_procrustes_mean():
    """Kent (1994): the leading eigenvector of the sum of z z* over centred, unit-sized complex shapes z."""
    generator = np.random.default_rng(7)
    shapes = random_similarities(generator, 40).apply(HOOK + generator.normal(size=(40, 5, 2)) * 0.4)
    z = shapes[..., 0] + 1j * shapes[..., 1]
    z = z - z.mean(axis=1, keepdims=True)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    expected = np.linalg.eigh(z.T @ z.conj())[1][:, -1]
    mean = generalised_procrustes(shapes, tolerance=1e-12).mean
    found = mean[:, 0] + 1j * mean[:, 1]
    found -= found.mean()
    assert abs(np.vdot(expected, found)) / np.linalg.norm(found) == pytest.approx(1.0, abs=1e-12)


def test_the_frame_is_the_average_of_the_given_ones():
    # Turned by +-0.2, a half and twice as large: the average frame is upright and of the hook's own size.
    hook = HOOK - HOOK.mean(axis=0)
    pair = [similarity(0.5, 0.2, (-7, 3)).apply(hook), similarity(2.0, -0.2, (9, 3)).apply(hook)]
    np.testing.assert_allclose(generalised_procrustes(pair).mean, hook + np.array([1, 3]), atol=1e-9)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_the_shapes_does_not_matter(seed):
    generator = np.random.default_rng(seed)
    shapes = random_similarities(generator, 8).apply(HOOK + generator.normal(size=(8, 5, 2)) * 0.2)
    order = generator.permutation(8)
    one, other = (generalised_procrustes(s, tolerance=1e-12) for s in (shapes, shapes[order]))
    np.testing.assert_allclose(other.mean, one.mean, atol=1e-7)
    np.testing.assert_allclose(other.aligned, one.aligned[order], atol=1e-7)


def test_shapes_turned_evenly_to_all_sides_still_align():
    quarters = [similarity(1.0, k * np.pi / 2, (0, 0)).apply(HOOK) for k in range(4)]
    result = generalised_procrustes(quarters)
    np.testing.assert_allclose(result.aligned, np.broadcast_to(result.mean, (4, 5, 2)), atol=1e-9)


def test_a_mirrored_shape_among_the_others_is_turned_but_never_mirrored():
    shapes = np.stack([HOOK, HOOK * 1.1, HOOK + 2, HOOK * [-1, 1]])
    result = generalised_procrustes(shapes)
    assert (np.linalg.det(result.transforms.matrix[..., :2]) > 0).all()
    assert np.linalg.norm(result.aligned[3] - result.aligned[0]) > 1


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (HOOK[None], {}, "n >= 2"),
        (HOOK, {}, r"\(n, N, 2\)"),
        ([HOOK, HOOK * 0], {}, "all points coincide in 1 shape"),
        (np.random.default_rng(8).normal(size=(9, 5, 2)), {"max_iterations": 2}, "after 2 rounds"),
        ([HOOK, HOOK], {"max_iterations": 0}, "at least 1"),
    ],
)
def test_shapes_that_cannot_be_aligned_are_refused(shapes, options, message):
    with pytest.raises(UserError, match=message):
        generalised_procrustes(shapes, **options)
