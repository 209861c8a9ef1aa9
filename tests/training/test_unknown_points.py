"""Faces some of whose points are not known: prepared, trained on and measured by the others."""

import numpy as np
import pytest

from asm.__main__ import load_training_shapes
from kdloss.data.augmentation import AugmentConfig
from kdloss.data.batches import ViewBatches
from kdloss.data.geometry import BoxPolicy, landmark_box
from kdloss.errors import DataError
from kdloss.evaluation import metrics
from kdloss.evaluation.evaluation import evaluate_mean_shape, evaluate_predicted
from kdloss.evaluation.point_errors import mean_face
from kdloss.inference.confidence_fit import fit_confidence
from kdloss.training.fit import train
from kdloss.training.soft_landmarks import fit_shape_model, mean_shape, soft_points, unit_shapes
from tests.training.tiny_chain import heatmap_config, tiny_config

POLICY = BoxPolicy()
UNKNOWN = (0, 30, 45)  # 45 is an outer eye corner


@pytest.fixture(scope="module")
def partly(make_prepared):
    return make_prepared("300w", train=30, unknown=UNKNOWN)


@pytest.fixture(scope="module")
def whole(make_prepared):
    """The same faces, all of whose points are known."""
    return make_prepared("300w", train=30)


def rows_of(prepared):
    """The rows of faces with unknown points, and of those without."""
    unknown = np.isnan(prepared.points).any(axis=(1, 2))
    return np.flatnonzero(unknown), np.flatnonzero(~unknown)


def test_they_are_prepared_and_said(partly):
    some, _ = rows_of(partly)
    assert len(some) == 12
    assert set(np.flatnonzero(np.isnan(partly.points[some[0], :, 0]))) == set(UNKNOWN)
    assert partly.manifest["warnings"] == ["36 of 2584 points are not labelled: losses and errors leave them out"]
    known = np.delete(partly.source_points, UNKNOWN, axis=1)
    np.testing.assert_array_equal(landmark_box(partly.source_points)[some], landmark_box(known)[some])
    assert np.isfinite(partly.boxes(POLICY)).all()


def test_the_shape_model_is_of_whole_faces_and_says_the_rest(partly, whole):
    train = partly.indices("train")
    some, others = rows_of(partly)
    model = fit_shape_model(partly, POLICY, 0.9, train)
    same = fit_shape_model(whole, POLICY, 0.9, np.intersect1d(train, others))
    np.testing.assert_allclose(model.mean, same.mean, atol=1e-6)
    soft = soft_points(partly, model, POLICY)
    assert np.isfinite(soft).all()
    np.testing.assert_array_equal(soft[others], soft_points(whole, model, POLICY)[others])
    shapes = unit_shapes(partly, POLICY)[train]
    np.testing.assert_allclose(mean_shape(partly, POLICY, train), np.nanmean(shapes, axis=0), atol=1e-12)
    with pytest.raises(DataError, match="0 of 12 training faces have all of their points, expected 2 at least"):
        fit_shape_model(partly, POLICY, 0.9, some)
    shapes, _ = load_training_shapes(partly.path)
    assert len(shapes) == len(np.intersect1d(train, others))
    assert np.isfinite(shapes).all()
    with pytest.raises(DataError, match=f"point {partly.scheme.names[0]} is known in none of 12 training faces"):
        mean_shape(partly, POLICY, some)


def test_views_keep_and_mirror_them(partly):
    some, _ = rows_of(partly)
    _, arrays = ViewBatches(partly, some, size=32, batch_size=4).batch(0, 0)
    np.testing.assert_array_equal(np.isnan(arrays["hard"]).any(axis=(0, 2)).nonzero()[0], UNKNOWN)
    _, arrays = ViewBatches(partly, some, size=32, batch_size=4, augment=AugmentConfig(mirror=1.0)).batch(0, 0)
    partners = sorted(partly.scheme.mirror[list(UNKNOWN)])
    np.testing.assert_array_equal(np.isnan(arrays["hard"]).any(axis=(0, 2)).nonzero()[0], partners)


def test_errors_are_those_of_the_known_points(partly, whole):
    rows = partly.indices("test")
    points = whole.source_points[rows] + np.random.default_rng(0).normal(0, 1, (len(rows), 68, 2))
    found, full = (evaluate_predicted(one, points, box=POLICY) for one in (partly, whole))
    # The outer eye corners are not known in all faces, so that errors are divided by the box.
    assert (found.normaliser, full.normaliser) == ("box", "interocular")
    by_point = metrics.point_errors(points, whole.source_points[rows], whole.scheme, "box")
    by_point *= (
        metrics.normaliser(whole.source_points[rows], whole.scheme, "box")
        / metrics.normaliser(partly.source_points[rows], partly.scheme, "box")
    )[:, None]
    known = np.isfinite(partly.points[rows][..., 0])
    expected = [errors[own].mean() for errors, own in zip(by_point, known, strict=True)]
    np.testing.assert_allclose(found.errors, expected, rtol=1e-6)
    assert found.metrics["subsets"]["full"]["nme_box"] == pytest.approx(100 * np.mean(expected), rel=1e-6)
    assert found.metrics["subsets"]["full"]["nme_interocular"] is None
    assert np.isfinite(mean_face(found)).all()
    assert np.isfinite([*found.metrics["points"].values()]).all()
    assert evaluate_mean_shape(partly, POLICY).errors.max() < 1


def test_confidence_is_fitted_on_known_points():
    rng = np.random.default_rng(0)
    signal = rng.uniform(0.01, 0.1, (40, 3))
    errors = signal * rng.uniform(0, 1, (40, 3))
    signal, errors = np.vstack([signal, signal[:10]]), np.vstack([errors, np.full((10, 3), np.nan)])
    assert fit_confidence(signal, errors, "spread").slope < 0


@pytest.mark.parametrize("config", [tiny_config("tough"), tiny_config("tolerant"), heatmap_config("tough")])
def test_training_learns_the_known_points(config, partly, tmp_path):
    assert 0 < train(config, partly, tmp_path / "run", verbose=0)["val_nme"] < 100
