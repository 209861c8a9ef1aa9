"""Errors drawn on the mean face: the numbers behind the pictures, against constructed predictions and plain loops."""

import numpy as np
import pytest

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


def test_mean_face_is_the_mean_over_square_boxes(evaluation):
    shape = point_errors.mean_face(evaluation)
    low, high = evaluation.truth.min(axis=1, keepdims=True), evaluation.truth.max(axis=1, keepdims=True)
    units = (evaluation.truth - (low + high) / 2) / (high - low).max(axis=2, keepdims=True)
    assert shape == pytest.approx(units.mean(axis=0), abs=1e-9)


def test_perfect_predictions_of_a_scheme_without_lines_draw_too(make_prepared):
    prepared = make_prepared("folder", custom=7, test=2, train=1)
    perfect = evaluate_predicted(prepared, prepared.source_points[prepared.indices("test")], label="a$^$b.npz")
    figure = point_errors.mean_face_error_figure(perfect)
    assert figure.axes[0].get_title().startswith("a$^$b.npz: ")  # no formula
    assert plots.figure_bytes(figure, dpi=40).startswith(b"\x89PNG")
