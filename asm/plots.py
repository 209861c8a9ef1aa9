"""Pictures of a shape model: `matplotlib.figure.Figure`s, made without pyplot and its global state."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from asm.procrustes import ShapeError

_INK, _QUIET, _FAINT, _GHOST = "#1f2430", "#6b7280", "#a3abb8", "#cfd4dc"
_MINUS, _PLUS, _ACCENT = "#1769aa", "#c2410c", "#0f766e"
_BY_DEVIATION = LinearSegmentedColormap.from_list("deviation", [_MINUS, _INK, _PLUS])


def modes_figure(model, rows=4, deviations=(-3, -2, -1, 0, 1, 2, 3)):
    """A figure of what each mode does to the mean shape, which is drawn in grey behind each shape.

    The first ``rows`` modes have a row each, and ``deviations``, in standard deviations, a column each.

    Raises:
        ShapeError: ``rows`` is below 1.
    """
    if rows < 1:
        raise ShapeError(f"rows: found {rows}, expected at least 1 mode to draw")
    rows = min(rows, len(model.modes))
    coefficients = np.zeros((rows, len(deviations), len(model.modes)))
    for row in range(rows):
        coefficients[row, :, row] = np.multiply(deviations, np.sqrt(model.eigenvalues[row]))
    shapes = model.reconstruct(coefficients)

    low, high = shapes.min(axis=(0, 1, 2)), shapes.max(axis=(0, 1, 2))
    margin = 0.06 * (high - low).max() or 1.0
    low, high = low - margin, high + margin
    height = 1.55 * np.clip((high[1] - low[1]) / (high[0] - low[0]), 0.5, 2.0)
    size = (1.3 + 1.55 * len(deviations), 1 + height * rows)
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.05, wspace=0, hspace=0)
    grid = figure.subplots(rows, len(deviations), squeeze=False)
    for row in range(rows):
        for column, deviation in enumerate(deviations):
            axes = grid[row, column]
            axes.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal")
            axes.set_axis_off()
            if deviation != 0:
                _draw_shape(axes, model.mean, model.skeleton, _GHOST, width=0.9, dot=1.2)
            colour = _BY_DEVIATION(0.5 + deviation / np.abs(deviations).max() / 2)
            _draw_shape(axes, shapes[row, column], model.skeleton, colour, width=1.5, dot=2.0)
            if row == 0:
                axes.set_title(_deviation_label(deviation), fontsize=11, color=_INK, pad=8)
        label = {"xycoords": "axes fraction", "horizontalalignment": "right"}
        mode, share = f"Mode {row + 1}", f"{100 * model.shares[row]:.1f} %"
        grid[row, 0].annotate(mode, (0, 0.52), **label, fontsize=12, color=_INK, weight="bold")
        grid[row, 0].annotate(share, (0, 0.48), **label, fontsize=11, color=_QUIET, verticalalignment="top")
    title = f"{_headline(model)}, {_kept(model)} of the variance"
    figure.suptitle(title, x=0.01, horizontalalignment="left", fontsize=12.5, color=_INK, weight="bold")
    return figure


def variance_curve(model):
    """A figure of the share of variance that the first modes explain together; the kept modes are marked."""
    kept, total = len(model.modes), len(model.spectrum)
    shares = 100 * np.cumsum(model.spectrum) / model.spectrum.sum()
    counts = np.arange(1, total + 1)
    figure = Figure(figsize=(6.4, 4.0), facecolor="white", layout="constrained")
    axes = figure.subplots()
    axes.plot(counts, shares, color=_FAINT, linewidth=2, marker="o", markersize=3)
    axes.plot(counts[:kept], shares[:kept], color=_ACCENT, linewidth=2.2, marker="o", markersize=4)
    axes.vlines(kept, 0, shares[kept - 1], color=_ACCENT, linewidth=1, linestyle=(0, (4, 3)))
    late = kept > 0.6 * total
    place = {"xytext": (-10 if late else 10, -16), "textcoords": "offset points", "verticalalignment": "top"}
    place["horizontalalignment"] = "right" if late else "left"
    axes.annotate(_kept(model), (kept, shares[kept - 1]), **place, color=_ACCENT, fontsize=11, weight="bold")
    # Beyond 99.5 % the curve is flat: showing all of it would squeeze the part that matters to the left.
    last = max(int(np.argmax(shares >= 99.5)) + 1, min(total, kept + 3))
    axes.set(xlim=(0, last * 1.04), ylim=(0, 103))
    axes.set_xlabel("number of modes", color=_INK)
    axes.set_ylabel("share of variance, %", color=_INK)
    axes.set_title(_headline(model), fontsize=11, color=_INK, weight="bold", loc="left", pad=10)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(axis="y", color="#e5e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=_QUIET)
    return figure


def _draw_shape(axes, shape, skeleton, color, width, dot):
    for line in skeleton:
        points = shape[list(line)]
        axes.plot(points[:, 0], points[:, 1], color=color, linewidth=width, solid_joinstyle="round")
    size = dot if skeleton else 2 * dot
    axes.plot(shape[:, 0], shape[:, 1], color=color, linestyle="none", marker="o", markersize=size, markeredgewidth=0)


def _deviation_label(deviation):
    return "mean" if deviation == 0 else f"{deviation:+g} sd".replace("-", "\N{MINUS SIGN}")


def _headline(model):
    source = model.metadata.get("source")
    return "Shape model: " + (f"{source}, " if source else "") + f"{model.num_points} points"


def _kept(model):
    kept = "1 mode" if len(model.modes) == 1 else f"{len(model.modes)} modes"
    return f"{kept} kept: {100 * model.explained:.1f} %"
