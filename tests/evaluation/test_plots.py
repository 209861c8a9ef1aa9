"""Pictures: that they hold what they should, in the right place."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from kdloss.data.geometry import invert, transform_points
from kdloss.evaluation import plots
from kdloss.evaluation.evaluation import evaluate_predicted


def test_ced_curves_read_as_the_distribution_and_end_below_all_where_faces_are_missing():
    inf = np.inf
    errors = {"a": [0.02, 0.04, 0.2], "b": [0.01], "c": [inf, 0.02, 0.04, np.nan], "d": [inf, inf]}
    figure = plots.ced_figure({label: np.array(values) for label, values in errors.items()}, title="faces")
    expected = {
        "a (NME 8.67 %)": ([0, 2, 4, 20, 20], [0, 100 / 3, 200 / 3, 100, 100]),
        "b (NME 1.00 %)": ([0, 1, 15], [0, 100, 100]),
        "c (NME 3.00 %, 2 of 4 missing)": ([0, 2, 4, 15], [0, 25, 50, 50]),
        "d (2 of 2 missing)": ([0, 15], [0, 0]),
    }
    curves = [line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-post"]
    for curve, (x, y) in zip(curves, expected.values(), strict=True):
        assert curve.get_xdata() == pytest.approx(x)
        assert curve.get_ydata() == pytest.approx(y)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(expected)
    assert len({curve.get_color() for curve in curves}) == len({curve.get_linestyle() for curve in curves}) == 4


def test_any_label_can_be_drawn():
    labels = ("$x_$", "\u4eba", "a\x1bb")
    plots.figure_bytes(plots.ced_figure(dict.fromkeys(labels, np.array([0.02])), title="faces"))


def test_faces_are_drawn_with_truth_and_prediction_where_they_lie(faces_300w):
    rows = faces_300w.indices("test")
    measured = evaluate_predicted(faces_300w, faces_300w.source_points[rows] + [3.0, -2.0])
    figure = plots.face_grid(measured, [4, 0, 2], columns=2, title="faces")
    for axes, i in zip(figure.axes, (4, 0, 2), strict=True):
        predicted = transform_points(invert(faces_300w.to_image[rows[i]]), measured.points[i])
        for colour, points in ((plots.TRUTH, faces_300w.points[rows[i]]), (plots.PREDICTION, predicted)):
            lines = [
                line for line in axes.lines if to_hex(line.get_color()) == to_hex(colour) and len(line.get_xdata())
            ]
            for line, indices in zip(lines, faces_300w.scheme.skeleton, strict=True):
                assert np.column_stack(line.get_data()) == pytest.approx(points[list(indices)], abs=1e-4)
        assert axes.texts[0].get_text() == f"error {100 * measured.errors[i]:.1f} %"
    assert plots.figure_bytes(figure, "jpeg", dpi=40).startswith(b"\xff\xd8\xff")


def test_a_face_without_prediction_shows_the_truth_alone(faces_300w):
    points = faces_300w.source_points[faces_300w.indices("test")].copy()
    points[1] = np.nan
    measured = evaluate_predicted(faces_300w, points, missing="fail")
    (axes,) = plots.face_figure(measured, 1).axes
    drawn = {to_hex(line.get_color()) for line in axes.lines if np.isfinite(line.get_xydata()).any()}
    assert drawn == {to_hex(plots.TRUTH)}
    texts = [axes.texts[0].get_text() for axes in plots.face_grid(measured, [1, 0]).axes]
    assert texts == ["no face found", "error 0.0 %"]


@pytest.mark.parametrize(
    ("errors", "count", "expected"),
    [
        ([7, 1, 3, 2, 9, 5, 4, 8, 6], 2, {"worst": [4, 7], "median": [6, 5], "best": [1, 3]}),
        # Missing faces take half of the worst places, and none of the others.
        (["inf", 1, "inf", 2, "nan", 3, 4, 5, 6], 2, {"worst": [0, 8], "median": [5, 6], "best": [1, 3]}),
        (["inf", "inf"], 8, {"worst": [0, 1]}),
    ],
)
def test_worst_median_and_best_faces(errors, count, expected):
    found = plots.worst_median_best(np.array(errors, float), count)
    assert {name: chosen.tolist() for name, chosen in found.items()} == expected


def test_training_curves_show_each_term_of_each_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"epoch": 1, "loss": 2.0, "tough": 1.5, "val_nme": 9.0, "learning_rate": 0.1}\n'
        '{"epoch": 2, "loss": 1.0, "tough": NaN, "val_nme": 8.0, "learning_rate": 0.1}\n\n'
    )
    histories = {"_$^$b": plots.read_history(path), "other": [{"epoch": 1, "val_nme": 7.0}]}
    figure = plots.training_curves(histories)
    assert [axes.get_title() for axes in figure.axes] == ["validation NME, %", "loss", "tough"]
    shown = {line.get_label(): line.get_xydata().tolist() for line in figure.axes[0].lines}
    assert shown == {"_$^$b": [[1, 9], [2, 8]], "other": [[1, 7]]}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(histories)
    assert plots.figure_bytes(figure, dpi=40).startswith(b"\x89PNG")
