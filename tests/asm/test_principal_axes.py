"""Principal axes by the scatter matrix, against singular values; and long arrays in blocks."""

import tracemalloc

import numpy as np
import pytest

from asm import ShapeModel, UserError
from asm.blocks import FEW, MANY, blocks
from asm.principal_axes import principal_axes

GENERATOR = np.random.default_rng(0)
# More than one block of either kind: 1.2 million numbers.
SHAPES = GENERATOR.uniform(-0.4, 0.4, (20, 2)) + (
    (GENERATOR.normal(size=(30_000, 40)) * 0.7 ** np.arange(40)) @ np.linalg.qr(GENERATOR.normal(size=(40, 40)))[0]
).reshape(-1, 20, 2)


def rows_of(deviations, count=500):
    """Centred rows whose singular values and axes are known."""
    generator = np.random.default_rng(1)
    left = generator.normal(size=(count, len(deviations)))
    left = np.linalg.qr(left - left.mean(axis=0))[0]
    axes = np.linalg.qr(generator.normal(size=(len(deviations), len(deviations))))[0]
    return (left * deviations) @ axes, axes


def axes_of(rows, floor=0.0):
    return principal_axes(lambda: (rows[part] for part in blocks(rows, 1000)), rows.shape[1], floor)


def test_small_variances_are_as_exact_as_by_singular_values():
    deviations = np.array([1.0, 0.5, 1e-2, 1e-4, 3e-5, 1e-6, 1e-8])  # of a product alone, all from 1e-8 on are noise
    rows, expected = rows_of(deviations)
    values, axes = axes_of(rows)
    np.testing.assert_allclose(values[:3], deviations[:3] ** 2, rtol=1e-10)
    np.testing.assert_allclose(values, deviations**2, rtol=1e-6)
    np.testing.assert_allclose(np.abs(axes @ expected.T), np.eye(7), atol=1e-7)
    np.testing.assert_allclose(axes @ axes.T, np.eye(7), atol=1e-14)


def test_what_lies_below_the_floor_is_not_looked_into():
    calls = []

    def centred():
        calls.append(1)
        yield rows

    rows, _ = rows_of(np.array([1.0, 1e-5, 1e-10]))
    principal_axes(centred, 3, floor=1e-12)
    assert len(calls) == 2  # all, and then the two small ones, of which the greater one is 1e-10
    calls.clear()
    principal_axes(centred, 3, floor=1.0)
    assert len(calls) == 1


def test_rows_on_a_line_and_rows_at_a_point():
    rows = np.outer([1.0, -1.0, 2.0, -2.0], [0.0, -0.8, 0.6])
    values, axes = axes_of(rows)
    np.testing.assert_allclose(values, [10, 0, 0], atol=1e-14)
    np.testing.assert_allclose(axes[0], [0, 0.8, -0.6], atol=1e-15)  # the greatest number is positive
    assert (axes_of(np.zeros((4, 3)))[0] == 0).all()


def test_a_fit_is_that_of_singular_values():
    model = ShapeModel.fit(SHAPES, modes=40)
    flat = SHAPES.reshape(len(SHAPES), -1)
    mean = flat.mean(axis=0)
    _, deviations, axes = np.linalg.svd(flat - mean, full_matrices=False)
    np.testing.assert_allclose(model.mean.ravel(), mean, atol=1e-14)
    np.testing.assert_allclose(model.spectrum, deviations**2 / (len(SHAPES) - 1), rtol=1e-10)
    cosines = (model.modes.reshape(40, 40) * axes).sum(axis=1)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-10)


@pytest.mark.parametrize("align", [False, True])
def test_blocks_are_softened_as_shapes_alone(align):
    model = ShapeModel.fit(SHAPES[:500], modes=4, align=align)
    given = SHAPES[: 3 * FEW // 40]
    soft = model.soften(given)
    some = [0, FEW // 40 - 1, FEW // 40, len(given) - 1]  # the last of a block and the first of the next among them
    for row in some:
        np.testing.assert_allclose(soft[row], model.soften(given[row]), atol=1e-13)
    np.testing.assert_allclose(model.project(given)[some], model.project(given[some]), atol=1e-13)


def test_blocks_hold_all_and_no_more():
    array = np.arange(10 * FEW).reshape(-1, 5, 2)
    parts = [array[part] for part in blocks(array)]
    assert {part.size for part in parts} == {FEW}
    np.testing.assert_array_equal(np.concatenate(parts), array)
    assert [array[part].size for part in blocks(array, MANY)] == [10 * FEW]
    assert [len(np.zeros((3, 2 * FEW))[part]) for part in blocks(np.zeros((3, 2 * FEW)))] == [1, 1, 1]
    assert list(blocks(np.zeros((0, 5, 2)))) == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e15])
def test_what_no_sum_bears_is_found_in_whichever_block(value):
    shapes = SHAPES.copy()
    shapes[[3, -2, -1], 5, 1] = value
    model = ShapeModel.fit(SHAPES[:50], modes=2)
    for use in (model.soften, model.project, lambda shapes: ShapeModel.fit(shapes, modes=2)):
        with pytest.raises(UserError, match=r"in 3 shape\(s\)"):
            use(shapes)


def test_a_fit_takes_no_more_memory_for_more_shapes():
    def peak(shapes):
        tracemalloc.start()
        try:
            ShapeModel.fit(shapes, modes=2)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    longer = np.concatenate([SHAPES] * 6)
    assert peak(longer) < 1.1 * peak(longer[::2].copy()) < longer.nbytes
