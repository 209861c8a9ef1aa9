"""The shape model: fit, projection, clip, softening, and its file."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asm import ShapeError, ShapeModel

GENERATOR = np.random.default_rng(0)
# 60 shapes of 6 points that vary in all 12 directions, each direction less than the one before.
BASE = np.array([[0.0, 0.0], [4.0, 0.5], [3.5, 3.0], [1.0, 5.0], [-1.0, 2.0], [1.5, 1.5]])
SHAPES = BASE + (GENERATOR.normal(size=(60, 12)) * 0.6 ** np.arange(12)).reshape(60, 6, 2)
# Two points on the x axis that move apart and together: by hand, lambda = (2 + 0 + 2) / (3 - 1) = 2.
SPREADING = np.array([[[-1.0, 0.0], [1.0, 0.0]], [[-2.0, 0.0], [2.0, 0.0]], [[-3.0, 0.0], [3.0, 0.0]]])


def test_two_points_by_hand():
    model = ShapeModel.fit(SPREADING, modes=1)
    np.testing.assert_allclose(model.mean, [[-2, 0], [2, 0]], atol=1e-15)
    np.testing.assert_allclose(model.eigenvalues, [2.0])
    mode = model.modes[0] * np.sign(model.modes[0, 1, 0])
    np.testing.assert_allclose(mode, [[-np.sqrt(0.5), 0], [np.sqrt(0.5), 0]], atol=1e-15)
    assert model.explained == pytest.approx(1.0)
    # (-12, 1), (12, 1) lies b = 10 sqrt(2) out; the clip is at 3 sqrt(2): 3 to each side, and off the axis nothing.
    np.testing.assert_allclose(np.abs(model.project([[-12, 1], [12, 1]])), [10 * np.sqrt(2)])
    np.testing.assert_allclose(model.soften([[-12, 1], [12, 1]]), [[-5, 0], [5, 0]], atol=1e-14)


@pytest.mark.parametrize("align", [False, True])
def test_soft_points_of_rendered_faces_stay_what_they_were(align):
    """The file holds 24 shapes, and the first two of them as an earlier implementation softened them."""
    with np.load(Path(__file__).with_name("golden_shapes.npz")) as golden:
        shapes, expected = golden["shapes"], golden["aligned" if align else "plain"]
    soft = ShapeModel.fit(shapes, variance=0.9, align=align).soften(shapes[:2].astype(np.float64), limit=1.0)
    np.testing.assert_allclose(soft, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e15])
def test_numbers_that_are_not_finite_or_too_large_are_refused(value):
    shapes, model = SHAPES.copy(), ShapeModel.fit(SHAPES, modes=2)
    shapes[[3, -2, -1], 5, 1] = value
    for use in (model.soften, model.project, lambda shapes: ShapeModel.fit(shapes, modes=2)):
        with pytest.raises(ShapeError, match=r"in 3 shape\(s\)"):
            use(shapes)


@pytest.mark.parametrize("align", [False, True])
def test_modes_are_orthonormal_and_carry_the_variance(align):
    model = ShapeModel.fit(SHAPES, modes=5, align=align)
    flat = model.modes.reshape(5, -1)
    np.testing.assert_allclose(flat @ flat.T, np.eye(5), atol=1e-12)
    coefficients = model.project(SHAPES)
    np.testing.assert_allclose(coefficients.mean(axis=0), 0, atol=1e-10)
    np.testing.assert_allclose(np.cov(coefficients.T), np.diag(model.eigenvalues), atol=1e-10)
    assert (np.diff(model.spectrum) <= 0).all()
    assert (model.reference is not None) == align


def test_a_share_that_is_met_exactly_takes_no_further_mode():
    # Four shapes, the deviations (+-2, 0) and (0, +-1) of one point: the first mode holds 4 / 5 exactly.
    shapes = np.zeros((4, 2, 2))
    shapes[:, 0] = [[2, 0], [-2, 0], [0, 1], [0, -1]]
    assert len(ShapeModel.fit(shapes, variance=0.8).modes) == 1
    assert len(ShapeModel.fit(shapes, variance=0.81).modes) == 2


@pytest.mark.parametrize("align", [False, True])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), modes=st.integers(1, 8), limit=st.floats(0.1, 4))
def test_softening_twice_is_softening_once(align, seed, modes, limit):
    model = ShapeModel.fit(SHAPES, modes=modes, align=align)
    wild = BASE + np.random.default_rng(seed).normal(size=(4, 6, 2))
    once = model.soften(wild, limit=limit)
    np.testing.assert_allclose(model.soften(once, limit=limit), once, atol=1e-9)


def test_an_aligned_model_softens_alike_wherever_the_shape_lies():
    model = ShapeModel.fit(SHAPES, modes=3, align=True)
    turn = 1.7 * np.array([[np.cos(0.8), np.sin(0.8)], [-np.sin(0.8), np.cos(0.8)]])
    wild = BASE + GENERATOR.normal(size=(5, 6, 2))
    np.testing.assert_allclose(model.soften(wild @ turn + [40, -9]), model.soften(wild) @ turn + [40, -9], atol=1e-10)
    np.testing.assert_allclose(model.project(wild @ turn + [40, -9]), model.project(wild), atol=1e-10)


def test_whole_arrays_come_out_as_one_by_one():
    model = ShapeModel.fit(SHAPES, modes=3)
    block = SHAPES[:24].reshape(2, 3, 4, 6, 2)
    assert model.project(block).shape == (2, 3, 4, 3)
    soft = model.soften(block)
    assert soft.shape == block.shape
    np.testing.assert_allclose(soft[1, 2, 3], model.soften(block[1, 2, 3]), atol=1e-14)
    assert model.soften(block[:0]).shape == (0, 3, 4, 6, 2)


@pytest.mark.parametrize(("given", "answered"), [("f4", "f4"), ("f2", "f2"), ("f8", "f8"), ("i4", "f8")])
def test_the_floating_type_is_kept(given, answered):
    model = ShapeModel.fit(SHAPES.astype("f4"), modes=3)
    points = (10 * SHAPES[:2]).astype(given)
    assert model.soften(points).dtype == model.project(points).dtype == np.dtype(answered)
    assert model.reconstruct(model.project(points)).dtype == np.dtype(answered)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        (SHAPES, {}, "not both"),
        (SHAPES, {"variance": 0.0}, r"found 0.0, expected a share in \(0, 1\]"),
        (SHAPES, {"modes": 13}, "found 13, expected a whole number from 1 to 12"),
        (SHAPES[:1], {"modes": 1}, "n >= 2"),
        (SHAPES[[0, 0, 0]], {"modes": 1}, "all 3 are the same"),
    ],
)
def test_a_bad_fit_is_refused(shapes, options, message):
    with pytest.raises(ShapeError, match=message):
        ShapeModel.fit(shapes, **options)


@pytest.mark.parametrize("align", [False, True])
def test_a_saved_model_is_the_same_model(tmp_path, align):
    metadata = {"scheme": "68", "skeleton": "[[0, 1, 2], [3, 4]]", "note": "Größe"}
    model = ShapeModel.fit(SHAPES, modes=4, align=align, metadata=metadata)
    path = tmp_path / "shape.npz"
    model.save(path)
    again = ShapeModel.load(path)
    np.testing.assert_array_equal(again.soften(SHAPES, 1.0), model.soften(SHAPES, 1.0))
    np.testing.assert_array_equal(again.shares, model.shares)
    assert again.metadata == metadata
    assert again.skeleton == ((0, 1, 2), (3, 4))
    first = path.read_bytes()
    model.save(path)
    assert path.read_bytes() == first


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "shape.npz"
    with pytest.raises(ShapeError, match="no such file"):
        ShapeModel.load(path)
    with pytest.raises(ShapeError, match="no such file"):
        ShapeModel.load(tmp_path)
    ShapeModel.fit(SHAPES, modes=4).save(path)
    for content in (b"", b"not a model", b"PK\x03\x04 neither", path.read_bytes()[:-100]):
        path.write_bytes(content)
        with pytest.raises(ShapeError, match=r"not a readable \.npz"):
            ShapeModel.load(path)
    np.savez(path, points=SHAPES)
    with pytest.raises(ShapeError, match="not a shape model"):
        ShapeModel.load(path)
    np.savez_compressed(path, points=np.zeros(40_000_000))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ShapeError, match="holds 320 MB unpacked, expected 268 MB at most"):
        ShapeModel.load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": np.array(2)}, "version 2, expected 1"),
        ({"modes": SHAPES[:4]}, "damaged .*orthonormal"),
        ({"mean": np.full((6, 2), np.nan)}, "damaged .*finite"),
        ({"spectrum": -np.ones(9)}, "damaged .*variances"),
        ({"metadata": np.array([{"a": "b"}], dtype=object)}, "not a readable"),
    ],
)
def test_a_damaged_model_is_refused(tmp_path, changes, message):
    path = tmp_path / "shape.npz"
    ShapeModel.fit(SHAPES, modes=4).save(path)
    with np.load(path) as archive:
        arrays = {**archive} | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(ShapeError, match=message):
        ShapeModel.load(path)


@pytest.mark.parametrize("modes", [3, 12])
def test_unknown_points_are_where_a_gaussian_expects_them(modes):
    model = ShapeModel.fit(SHAPES, modes=modes)
    partly = SHAPES.copy()
    partly[3, [0, 4]] = np.nan
    completed = model.complete(partly)
    np.testing.assert_array_equal(completed[np.isfinite(partly)], SHAPES[np.isfinite(partly)])
    axes = model.modes.reshape(modes, 12)
    noise = model.spectrum[modes:].sum() / max(1, 12 - modes)
    covariance = axes.T @ np.diag(model.eigenvalues) @ axes + noise * np.eye(12)
    known = np.isfinite(partly[3]).ravel()
    away = (SHAPES[3] - model.mean).ravel()[known]
    expected = covariance[~known][:, known] @ np.linalg.solve(covariance[known][:, known], away)
    found = (completed[3] - model.mean).ravel()[~known]
    np.testing.assert_allclose(found, expected, atol=1e-8)
    np.testing.assert_allclose(model.complete(np.full((6, 2), np.nan)), model.mean, atol=1e-12)
    with pytest.raises(ShapeError, match="found 5 points a shape, expected 6"):
        model.complete(partly[:, 1:])


def test_an_aligned_model_expects_alike_wherever_the_shape_lies():
    model, turn = ShapeModel.fit(SHAPES, modes=4, align=True), np.array([[0.0, 2.0], [-2.0, 0.0]])
    partly = SHAPES[0].copy()
    partly[2] = np.nan
    np.testing.assert_allclose(model.complete(partly @ turn + 7), model.complete(partly) @ turn + 7, atol=1e-9)
