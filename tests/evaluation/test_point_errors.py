"""Errors drawn on the mean face: the numbers behind the pictures, against constructed predictions and plain loops."""

import dataclasses

import numpy as np
import pytest

from kdloss.errors import DataError
from kdloss.evaluation import plots, point_errors
from kdloss.evaluation.evaluation import evaluate_predicted


@pytest.fixture(scope="module")
def evaluation(faces_300w):
    """Random errors, larger for later points; the third face has no prediction."""
    truth = faces_300w.source_points[faces_300w.indices("test")]
    errors = np.random.default_rng(3).normal(size=truth.shape) * np.linspace(0.5, 4, 68)[:, None] + [0.5, -1]
    points = truth + errors
    points[2] = np.nan
    return evaluate_predicted(faces_300w, points, label="noise", missing="fail")


def test_point_nme_is_that_of_the_protocol(evaluation):
    assert point_errors.point_nme(evaluation) == pytest.approx(list(evaluation.metrics["points"].values()), rel=1e-12)


def test_mean_face_is_the_mean_over_square_boxes(evaluation):
    shape, length = point_errors.mean_face(evaluation)
    low, high = evaluation.truth.min(axis=1, keepdims=True), evaluation.truth.max(axis=1, keepdims=True)
    units = (evaluation.truth - (low + high) / 2) / (high - low).max(axis=2, keepdims=True)
    assert shape == pytest.approx(units.mean(axis=0), abs=1e-9)
    assert length == pytest.approx(np.linalg.norm(units[:, 36] - units[:, 45], axis=1).mean(), rel=1e-9)


def test_bias_and_spread_are_those_of_the_vectors(evaluation):
    bias, covariance = point_errors.point_deviations(evaluation)
    for i in (0, 30, 67):
        vectors = [
            (points[i] - truth[i]) / np.linalg.norm(truth[36] - truth[45])
            for truth, points in zip(evaluation.truth, evaluation.points, strict=True)
            if np.isfinite(points).all()
        ]
        assert len(vectors) == 7
        assert bias[i] == pytest.approx(np.mean(vectors, axis=0), rel=1e-9)
        assert covariance[i] == pytest.approx(np.cov(np.array(vectors).T, bias=True), rel=1e-9)


def test_table_names_the_worst_points_first(evaluation):
    table, scheme = point_errors.deviations_table(evaluation), evaluation.prepared.scheme
    values, (bias, covariance) = point_errors.point_nme(evaluation), point_errors.point_deviations(evaluation)
    worst = int(values.argmax())
    assert [row.label for row in table.rows] == [scheme.names[i] for i in np.argsort(-values)]
    first = dict(table.rows[0].cells)
    assert worst in scheme.parts[first.pop("part")]
    assert first.pop("index") == str(worst)
    numbers = [values[worst], *(100 * bias[worst]), 100 * np.sqrt(np.trace(covariance[worst]))]
    assert first == pytest.approx(dict(zip(("NME", "bias right", "bias down", "spread"), numbers, strict=True)))
    assert [column.key for column in table.columns] == ["index", "part", *first]
    assert "interocular" in table.notes[0]


def test_perfect_predictions_of_a_scheme_without_lines_draw_too(make_prepared):
    prepared = make_prepared("folder", custom=7, test=2, train=1)
    perfect = evaluate_predicted(prepared, prepared.source_points[prepared.indices("test")], label="a$^$b.npz")
    for figure in (point_errors.mean_face_error_figure(perfect), point_errors.error_ellipse_figure(perfect)):
        assert figure.axes[0].get_title().startswith("a$^$b.npz: ")  # no formula
        assert plots.figure_bytes(figure, dpi=40).startswith(b"\x89PNG")


def test_without_any_prediction_points_have_no_error(evaluation):
    nothing = dataclasses.replace(evaluation, label="nothing", points=evaluation.points * np.nan)
    with pytest.raises(DataError, match="nothing: none of the 8 faces has a prediction"):
        point_errors.point_nme(nothing)
