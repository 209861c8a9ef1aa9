"""Similarity fits and generalised Procrustes alignment: they follow shapes that move, and never mirror."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asm import ShapeError, Similarity, fit_similarity, generalised_procrustes

# A shape without any symmetry.
HOOK = np.array([[0.0, 0.0], [4.0, 0.5], [3.5, 3.0], [1.0, 5.0], [-1.0, 2.0]])


def similarities(scale, angle, x=0.0, y=0.0):
    """One `Similarity`, or a batch of them."""
    return Similarity(np.asarray(scale * np.exp(1j * np.asarray(angle))), np.asarray(x + 1j * y + 0 * scale))


def random_similarities(generator, count):
    shift = generator.normal(size=(2, count)) * 20
    return similarities(generator.uniform(0.3, 3.0, count), generator.uniform(-0.6, 0.6, count), *shift)


moves = st.builds(similarities, st.floats(0.1, 10), st.floats(-3.1, 3.1), st.floats(-300, 300), st.floats(-300, 300))


def umeyama(source, target):
    """``source`` as the published algorithm moves it (PAMI 13(4), 1991, equations 34 to 43), by singular values."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    u, d, vt = np.linalg.svd(covariance)
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / ((source - source_mean) ** 2).sum(axis=1).mean()
    return (source - source_mean) @ (scale * rotation).T + target_mean


@pytest.mark.parametrize("mirror", [1.0, -1.0])
def test_fits_are_umeyamas_and_never_reflections(mirror):
    generator = np.random.default_rng(2)
    source, target = generator.normal(size=(2, 30, 9, 2))
    target = 0.5 * target + source * [mirror, 1.0]
    fitted = fit_similarity(source, target)
    expected = [umeyama(*case) for case in zip(source, target, strict=True)]
    np.testing.assert_allclose(fitted.apply(source), expected, atol=1e-12)


SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])


@pytest.mark.parametrize(
    ("use", "shapes", "message"),
    [
        (fit_similarity, (np.full((5, 2), 0.1), HOOK), "source shape: all points coincide in 1"),
        (fit_similarity, (SQUARE, SQUARE * [-1, 1]), "no rotation is better"),
        (fit_similarity, (HOOK, HOOK[:4]), "found 4 points a shape, expected 5"),
        (fit_similarity, (HOOK, np.full((5, 2), np.nan)), "NaN or infinite"),
        (generalised_procrustes, (HOOK[None],), "n >= 2"),
        (generalised_procrustes, ([HOOK, HOOK * 0],), "all points coincide in 1 shape"),
    ],
)
def test_bad_input_is_refused(use, shapes, message):
    with pytest.raises(ShapeError, match=message):
        use(*shapes)


def test_the_mean_is_the_full_procrustes_mean():
    """Kent (1994): the leading eigenvector of the sum of z z* over centred, unit-sized complex shapes z."""
    generator = np.random.default_rng(7)
    shapes = random_similarities(generator, 40).apply(HOOK + generator.normal(size=(40, 5, 2)) * 0.4)
    z, mean = (points @ [1, 1j] for points in (shapes, generalised_procrustes(shapes).mean))
    z = z - z.mean(axis=1, keepdims=True)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    expected, found = np.linalg.eigh(z.T @ z.conj())[1][:, -1], mean - mean.mean()
    assert abs(np.vdot(expected, found)) / np.linalg.norm(found) == pytest.approx(1.0, abs=1e-12)


def test_the_frame_is_the_average_of_the_given_ones():
    # Turned by +-0.2, a half and twice as large: the average frame is upright and of the hook's own size.
    hook = HOOK - HOOK.mean(axis=0)
    pair = similarities(np.array([0.5, 2.0]), np.array([0.2, -0.2]), np.array([-7, 9]), 3).apply(hook)
    np.testing.assert_allclose(generalised_procrustes(pair).mean, hook + np.array([1, 3]), atol=1e-9)


@settings(max_examples=30)
@given(moves, st.integers(0, 10**6), st.floats(0.5, 8))
def test_alignment_does_not_depend_on_the_order_and_follows_a_common_move(move, seed, spread):
    generator = np.random.default_rng(seed)
    shapes = generator.normal(size=(1, 7, 2)) * 50 + generator.normal(size=(6, 7, 2)) * spread
    order = generator.permutation(6)
    here, there = (generalised_procrustes(moved) for moved in (shapes, move.apply(shapes[order])))
    reach = np.abs(there.mean).max()
    np.testing.assert_allclose(there.mean, move.apply(here.mean), atol=1e-7 * reach)
    np.testing.assert_allclose(there.aligned, move.apply(here.aligned[order]), atol=1e-7 * reach)
    np.testing.assert_allclose(move.inverse().apply(move.apply(shapes)), shapes, atol=1e-9 * 300)


def test_alignment_removes_the_similarity_of_each_shape():
    quarters = similarities(1.0, np.arange(4) * np.pi / 2)  # to all sides evenly: there is no mean rotation
    for transforms in (random_similarities(np.random.default_rng(6), 12), quarters):
        moved = transforms.apply(HOOK)
        result = generalised_procrustes(moved)
        np.testing.assert_allclose(result.aligned, np.broadcast_to(result.mean, moved.shape), atol=1e-9)
        np.testing.assert_allclose(result.transforms.apply(moved), result.aligned, atol=1e-12)
