"""Pictures of the shape model."""

import subprocess
import sys

import numpy as np
import pytest

from asm import ShapeError, ShapeModel
from asm.plots import modes_figure, variance_curve

BASE = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 3.0], [0.0, 3.0]])
SHAPES = BASE + (np.random.default_rng(0).normal(size=(40, 8)) * 0.5 ** np.arange(1, 9)).reshape(40, 4, 2)


MODEL = ShapeModel.fit(SHAPES, modes=3, metadata={"skeleton": "[[0, 1, 2, 3, 0]]", "source": "toy"})


def test_each_cell_draws_its_shape():
    figure = modes_figure(MODEL, rows=2)
    assert len(figure.axes) == 2 * 7
    for row in range(2):
        for column, deviation in enumerate((-3, -2, -1, 0, 1, 2, 3)):
            axes = figure.axes[7 * row + column]
            expected = MODEL.mean + deviation * np.sqrt(MODEL.eigenvalues[row]) * MODEL.modes[row]
            line, points = axes.lines[-2].get_xydata(), axes.lines[-1].get_xydata()
            np.testing.assert_allclose(points, expected, atol=1e-12)
            np.testing.assert_allclose(line, expected[[0, 1, 2, 3, 0]], atol=1e-12)
            low, high = axes.get_ylim()[::-1]
            assert low < expected[:, 1].min()
            assert high > expected[:, 1].max()  # y runs downwards
    assert [axes.get_title() for axes in figure.axes[:7]][::3] == ["\N{MINUS SIGN}3 sd", "mean", "+3 sd"]


def test_there_are_no_more_rows_than_modes_and_dots_alone_without_a_skeleton():
    figure = modes_figure(ShapeModel.fit(SHAPES, modes=1), rows=9)
    assert [[line.get_linestyle() for line in axes.lines][-1:] for axes in figure.axes] == 7 * [["None"]]
    with pytest.raises(ShapeError, match="rows: found 0"):
        modes_figure(ShapeModel.fit(SHAPES, modes=1), rows=0)


def test_the_curve_marks_the_kept_modes():
    whole, kept = variance_curve(MODEL).axes[0].lines
    np.testing.assert_allclose(whole.get_ydata()[-1], 100)
    assert len(whole.get_xdata()) == 8
    np.testing.assert_allclose(kept.get_xydata(), whole.get_xydata()[:3])
    np.testing.assert_allclose(kept.get_ydata()[-1], 100 * MODEL.explained)


def test_neither_pyplot_nor_kdloss_is_imported():
    code = "import sys, asm, asm.plots; print('matplotlib.pyplot' in sys.modules, 'kdloss' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
