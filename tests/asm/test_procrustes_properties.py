"""What holds of similarity fits and alignments of any shapes: they follow shapes that move, and never mirror."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from asm import Similarity, fit_similarity, generalised_procrustes


@st.composite
def similarities(draw):
    factor = draw(st.floats(0.1, 10)) * np.exp(1j * draw(st.floats(-np.pi, np.pi)))
    x, y = draw(st.floats(-300, 300)), draw(st.floats(-300, 300))
    return Similarity(np.array([[factor.real, -factor.imag, x], [factor.imag, factor.real, y]]))


@st.composite
def pairs(draw):
    """Two shapes of 7 points (7, 2) that resemble each other, and weights (7,)."""
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    source = generator.normal(size=(7, 2)) * 50
    return source, source + generator.normal(size=(7, 2)) * draw(st.floats(0, 15)), generator.uniform(0.1, 3, 7)


def after(outer, inner):
    """The `Similarity` of ``outer`` after ``inner``."""
    linear = outer.matrix[:, :2] @ inner.matrix
    return Similarity(linear + np.column_stack([np.zeros((2, 2)), outer.matrix[:, 2]]))


def residual(fit, source, target, weights):
    return (weights * ((fit.apply(source) - target) ** 2).sum(axis=1)).sum()


@given(similarities(), pairs())
def test_the_inverse_undoes_from_both_sides(move, pair):
    points = pair[0]
    np.testing.assert_allclose(move.inverse().apply(move.apply(points)), points, atol=1e-9 * 300)
    np.testing.assert_allclose(move.apply(move.inverse().apply(points)), points, atol=1e-9 * 300)
    np.testing.assert_allclose(move.inverse().scale * move.scale, 1, rtol=1e-12)


@given(similarities(), pairs())
def test_a_moved_source_is_moved_back_by_its_fit(move, pair):
    source, target, weights = pair
    expected = after(fit_similarity(source, target, weights), move.inverse())
    np.testing.assert_allclose(fit_similarity(move.apply(source), target, weights).matrix, expected.matrix, atol=1e-6)


@given(similarities(), pairs())
def test_a_moved_target_is_followed_by_its_fit(move, pair):
    source, target, weights = pair
    expected = after(move, fit_similarity(source, target, weights))
    np.testing.assert_allclose(fit_similarity(source, move.apply(target), weights).matrix, expected.matrix, atol=1e-6)


@given(similarities(), pairs())
def test_no_similarity_is_nearer_than_the_fit_and_none_mirrors(other, pair):
    source, target, weights = pair
    for goal in (target, target * [-1, 1]):
        fitted = fit_similarity(source, goal, weights)
        assert np.linalg.det(fitted.matrix[:, :2]) > 0
        assert residual(fitted, source, goal, weights) <= residual(other, source, goal, weights) + 1e-9
        near = Similarity(fitted.matrix + 1e-3 * (other.matrix - fitted.matrix))
        assert residual(fitted, source, goal, weights) <= residual(near, source, goal, weights) + 1e-9


@given(pairs(), st.permutations(range(7)))
def test_the_order_of_the_points_does_not_matter(pair, order):
    source, target, weights = pair
    one, other = fit_similarity(source, target, weights), fit_similarity(source[order], target[order], weights[order])
    np.testing.assert_allclose(other.matrix, one.matrix, atol=1e-9)


@settings(max_examples=30)
@given(similarities(), st.integers(0, 10**6), st.floats(0.5, 8))
def test_shapes_that_all_move_together_are_aligned_as_before_and_moved(move, seed, spread):
    generator = np.random.default_rng(seed)
    shapes = generator.normal(size=(1, 7, 2)) * 50 + generator.normal(size=(6, 7, 2)) * spread
    here, there = (generalised_procrustes(moved, tolerance=1e-12) for moved in (shapes, move.apply(shapes)))
    reach = np.abs(there.mean).max()
    np.testing.assert_allclose(there.mean, move.apply(here.mean), atol=1e-7 * reach)
    np.testing.assert_allclose(there.aligned, move.apply(here.aligned), atol=1e-7 * reach)


@settings(max_examples=30)
@given(st.integers(0, 10**6))
def test_alignment_takes_out_whatever_similarity_each_shape_had(seed):
    generator = np.random.default_rng(seed)
    shape = generator.normal(size=(7, 2)) * 50
    factor = generator.uniform(0.5, 2, 9) * np.exp(1j * generator.uniform(-1, 1, 9))
    shift = generator.normal(size=(2, 9)) * 100
    rows = [[factor.real, -factor.imag, shift[0]], [factor.imag, factor.real, shift[1]]]
    result = generalised_procrustes(Similarity(np.moveaxis(np.array(rows), -1, 0)).apply(shape))
    np.testing.assert_allclose(result.aligned, np.broadcast_to(result.mean, (9, 7, 2)), atol=1e-6 * 50)
