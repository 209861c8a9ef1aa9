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


@pytest.mark.parametrize(("image_format", "magic"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8\xff")])
def test_bytes_decode(image_format, magic):
    figure = plots.ced_figure({"a": np.array([0.02, 0.04])}, title="faces")
    data = plots.figure_bytes(figure, image_format, dpi=50)
    assert data.startswith(magic)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (230, 360, 3)
    assert image.std() > 5


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


def test_points_of_no_line_are_drawn_too(make_prepared):
    for prepared in (make_prepared("cofw", test=1, train=1), make_prepared("folder", custom=7, test=1, train=1)):
        rows = prepared.indices("test")
        axes = plots.face_grid(prepared, rows, prepared.source_points[rows]).axes[0]
        lone = prepared.scheme.num_points - len({i for line in prepared.scheme.skeleton for i in line})
        assert [len(line.get_xdata()) for line in axes.lines if line.get_marker() == "."] == [lone, lone]


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
