"""Pictures: that they hold what they should, in the right place."""

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_hex

from kdloss.errors import DataError
from kdloss.evaluation import plots
from kdloss.geometry import invert, transform_points


def test_ced_curve_reads_as_the_distribution():
    figure = plots.ced_figure({"a": np.array([0.02, 0.04, 0.2]), "b": np.array([0.01])}, title="faces")
    axes = figure.axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) > 2]
    x, y = curves[0].get_data()
    assert curves[0].get_drawstyle() == "steps-post"
    assert x == pytest.approx([0, 2, 4, 20, 20])
    assert y == pytest.approx([0, 100 / 3, 200 / 3, 100, 100])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a (NME 8.67 %)", "b (NME 1.00 %)"]
    assert curves[0].get_color() != curves[1].get_color()
    assert curves[0].get_linestyle() != curves[1].get_linestyle()


def test_names_of_files_are_shown_as_they_are():
    errors = {"a$^$b.npz": np.array([0.02]), "_mine.npz": np.array([0.04])}
    figure = plots.ced_figure(errors, title=r"$\frac$ of _mine.npz")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["a$^$b.npz (NME 2.00 %)", "_mine.npz (NME 4.00 %)"]
    curves = plots.training_curves({name: [{"epoch": 1, "val_nme": 7.0, "k$^$d": 1.0}] for name in errors})
    assert [text.get_text() for text in curves.axes[0].get_legend().get_texts()] == list(errors)
    for drawn in (figure, curves):
        assert plots.figure_bytes(drawn, dpi=40).startswith(b"\x89PNG")


def test_ced_curve_of_missing_faces_ends_below_all():
    errors = {"a": np.array([np.inf, 0.02, 0.04, np.nan]), "b": np.array([np.inf, np.inf])}
    figure = plots.ced_figure(errors, title="faces")
    curves = [line for line in figure.axes[0].lines if line.get_drawstyle() == "steps-post"]
    assert curves[0].get_xdata() == pytest.approx([0, 2, 4, 15])
    assert curves[0].get_ydata() == pytest.approx([0, 25, 50, 50])
    assert curves[1].get_xdata() == pytest.approx([0, 15])
    assert curves[1].get_ydata() == pytest.approx([0, 0])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["a (NME 3.00 %, 2 of 4 missing)", "b (2 of 2 missing)"]


def test_faces_are_drawn_with_truth_and_prediction_where_they_lie(faces_300w):
    rows = faces_300w.indices("test")[:5]
    predictions = faces_300w.source_points[rows] + [3.0, -2.0]
    figure = plots.face_grid(faces_300w, rows, predictions, errors=np.full(5, 0.0123), columns=3, title="faces")
    assert len(figure.axes) == 5
    for axes, row, predicted in zip(figure.axes, rows, predictions, strict=True):
        assert np.array_equal(axes.images[0].get_array(), faces_300w.faces[row])
        expected = {
            to_hex(plots.TRUTH): faces_300w.points[row],
            to_hex(plots.PREDICTION): transform_points(invert(faces_300w.to_image[row]), predicted),
        }
        for colour, points in expected.items():
            lines = [line for line in axes.lines if to_hex(line.get_color()) == colour and len(line.get_xdata())]
            assert len(lines) == len(faces_300w.scheme.skeleton)
            for line, indices in zip(lines, faces_300w.scheme.skeleton, strict=True):
                assert np.column_stack(line.get_data()) == pytest.approx(points[list(indices)], abs=1e-4)
        left, right = axes.get_xlim()
        bottom, top = axes.get_ylim()
        assert np.all((faces_300w.points[row] > [left, top]) & (faces_300w.points[row] < [right, bottom]))
        assert axes.texts[0].get_text() == "error 1.2 %"
    assert plots.figure_bytes(figure, "jpeg", dpi=40).startswith(b"\xff\xd8\xff")


def test_a_face_without_prediction_shows_the_truth_alone(faces_300w):
    row = faces_300w.indices("test")[0]
    figure = plots.face_figure(faces_300w, row, np.full((68, 2), np.nan))
    (axes,) = figure.axes
    drawn = {to_hex(line.get_color()) for line in axes.lines if np.isfinite(line.get_xydata()).any()}
    assert drawn == {to_hex(plots.TRUTH)}
    image = cv2.imdecode(np.frombuffer(plots.figure_bytes(figure, "jpeg", dpi=50), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (130, 130, 3)
    rows = np.array([row, row])
    grid = plots.face_grid(faces_300w, rows, faces_300w.source_points[rows], errors=np.array([np.inf, 0.05]))
    assert [axes.texts[0].get_text() for axes in grid.axes] == ["no face found", "error 5.0 %"]


@pytest.mark.parametrize(
    ("errors", "count", "expected"),
    [
        ([7, 1, 3, 2, 9, 5, 4, 8, 6], 2, {"worst": [4, 7], "median": [6, 5], "best": [1, 3]}),
        # Missing faces take half of the worst places, and none of the others.
        (["inf", 1, "inf", 2, "nan", 3, 4, 5, 6], 2, {"worst": [0, 8], "median": [5, 6], "best": [1, 3]}),
        (["inf", 1, 2, 3], 8, {"worst": [0], "median": [2], "best": [1]}),
        (["inf", "inf"], 8, {"worst": [0, 1]}),
        ([5], 8, {"worst": [0]}),
    ],
)
def test_worst_median_and_best_faces(errors, count, expected):
    found = plots.worst_median_best(np.array(errors, float), count)
    assert {name: chosen.tolist() for name, chosen in found.items()} == expected


def test_spread_goes_from_best_to_worst():
    errors = np.array([0.5, 0.1, 0.3, 0.2, 0.4])
    assert plots.spread_by_error(errors, 3).tolist() == [1, 2, 0]
    assert plots.spread_by_error(errors, 12).tolist() == [1, 3, 2, 4, 0]
    assert plots.spread_by_error(errors, 1).tolist() == [1]


def test_training_curves_show_each_term_of_each_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(
        '{"epoch": 1, "loss": 2.0, "tough": 1.5, "val_nme": 9.0, "learning_rate": 0.1}\n'
        '{"epoch": 2, "loss": 1.0, "tough": NaN, "val_nme": 8.0, "learning_rate": 0.1}\n\n'
    )
    histories = {"mine": plots.read_history(path), "other": [{"epoch": 1, "val_nme": 7.0}]}
    figure = plots.training_curves(histories)
    shown = {
        axes.get_title(): {line.get_label(): line.get_xydata().tolist() for line in axes.lines} for axes in figure.axes
    }
    assert list(shown) == ["validation NME, %", "loss", "tough"]
    assert shown["validation NME, %"] == {"mine": [[1, 9], [2, 8]], "other": [[1, 7]]}
    assert shown["loss"] == {"mine": [[1, 2], [2, 1]]}
    assert shown["tough"] == {"mine": [[1, 1.5]]}
    assert plots.figure_bytes(figure, dpi=40).startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ['{"epoch": 1', "[1, 2]", "3"])
def test_a_damaged_history_is_named(text, tmp_path):
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"metrics\.jsonl: "):
        plots.read_history(tmp_path / "metrics.jsonl")
    with pytest.raises(DataError, match="nothing to draw in mine"):
        plots.training_curves({"mine": []})
