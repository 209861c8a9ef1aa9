"""Pictures of an evaluation. Figures are objects on an Agg canvas: no window, no global state, safe in threads."""

import io
import json
import textwrap
from pathlib import Path

import numpy as np
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from PIL import Image

from kdloss.errors import DataError
from kdloss.evaluation import metrics
from kdloss.geometry import BoxPolicy, invert, landmark_box, transform_points

# Okabe and Ito's colours, told apart with any colour vision; line styles say the same in grey.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
TRUTH, PREDICTION = "#56B4E9", "#F0E442"
BOOKKEEPING = ("epoch", "step", "lr", "learning_rate", "seconds", "time")


class PlainFigure(Figure):
    """A figure on an Agg canvas that shows texts as they are: names of files and models may hold ``$``, which is no
    formula there."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        FigureCanvasAgg(self)

    def draw(self, renderer):
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)


def figure_bytes(figure, image_format="png", dpi=130):
    """A figure as the bytes of a ``png``, in 256 colours, or of a ``jpeg`` (for faces)."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=image_format, dpi=dpi, facecolor="white")
    if image_format == "png":
        # A chart in a palette has a third of the bytes, and no difference that shows.
        drawn, buffer = Image.open(buffer).convert("RGB"), io.BytesIO()
        drawn.quantize(256).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def ced_figure(curves, *, title, limit=0.15):
    """Cumulative error distributions.

    Args:
        curves: label -> (n,) errors of the images, fractions of the normaliser; not finite for a face without
            prediction, so that its curve ends below 100 %.
        title: what was measured, with which normaliser.
        limit: right end of the axis, a fraction.

    Returns:
        A matplotlib `Figure`; the legend gives the NME of each curve, over the faces that have a prediction.
    """
    figure, (axes,) = new_figure(5.6, 4.2 + 0.2 * len(curves))
    drawn = {}
    for i, (label, errors) in enumerate(curves.items()):
        x, y = metrics.ced(errors)
        found = np.isfinite(x)
        # Steps from zero, continued to the edge of the plot.
        x = np.concatenate([[0.0], x[found], [max([limit, *x[found][-1:]])]])
        y = np.concatenate([[0.0], y[found], [found.mean()]])
        colour, style = _line(i)
        facts = [f"NME {metrics.nme(errors):.2f} %"] if found.any() else []
        facts += [] if found.all() else [f"{np.sum(~found)} of {len(found)} missing"]
        name = f"{label} ({', '.join(facts)})"
        (drawn[name],) = axes.step(100 * x, 100 * y, where="post", color=colour, linestyle=style, linewidth=2)
    for threshold in (0.08, 0.10):
        axes.axvline(100 * threshold, color="0.5", linewidth=1, zorder=0)
        axes.annotate(
            f"{100 * threshold:g} %",
            (100 * threshold, 1),
            xycoords=("data", "axes fraction"),
            xytext=(2, -2),
            textcoords="offset points",
            va="top",
            color="0.35",
            fontsize=8,
        )
    axes.set(
        xlim=(0, 100 * limit),
        ylim=(0, 104),
        xlabel="error of a face, % of the normaliser",
        ylabel="faces at or below, %",
    )
    axes.set_title(textwrap.fill(title, 62), fontsize=10)
    # Below the plot: inside, it would hide the curve of one model or another.
    named_legend(figure, drawn, loc="outside lower center", ncols=1, frameon=False, fontsize=9)
    return figure


def spread_by_error(errors, count):
    """Positions of ``count`` faces from the best to the worst, evenly spaced in rank: neither picked nor flattering."""
    order = np.argsort(errors, kind="stable")
    return order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))]


def worst_median_best(errors, count):
    """Positions of the worst, the median and the best faces, ``count`` of each and none of them twice.

    Faces without prediction (errors that are not finite) stand before the worst and take half of their places at most,
    so that the worst predictions are seen too. The median is that of the faces with one.

    Args:
        errors: (n,) errors of the faces, fractions.
        count: of each; a third of the faces at the most.

    Returns:
        A dict ``worst`` (the worst first), ``median``, ``best`` (the best first) -> (m,) positions. With fewer than
        three predictions there are only the worst.
    """
    order = np.argsort(errors, kind="stable")
    finite = np.isfinite(np.asarray(errors)[order])
    found, missing = order[finite], order[~finite]
    each = min(count, len(found) // 3)
    if not each:
        return {"worst": np.concatenate([missing, found[::-1]])[:count]}
    shown, middle = missing[: (each + 1) // 2], (len(found) - each) // 2
    worst = np.concatenate([shown, found[::-1][: each - len(shown)]])
    return {"worst": worst, "median": found[middle : middle + each], "best": found[:each]}


def error_text(error):
    """What to write below a face: its error (a fraction) in percent, or that it has no prediction."""
    return f"error {100 * error:.1f} %" if np.isfinite(error) else "no face found"


def face_figure(prepared, row, prediction):
    """One face with truth and prediction drawn on it, for a gallery.

    Args:
        prepared: the `PreparedDataset`.
        row: of the face.
        prediction: (N, 2) points in pixels of the source image; NaN where there are none, and then only the truth is
            drawn.

    Returns:
        A square matplotlib `Figure` without margins.
    """
    figure = PlainFigure(figsize=(2.6, 2.6))
    _draw_face(figure.add_axes((0, 0, 1, 1)), prepared, row, prediction)
    return figure


def face_grid(prepared, rows, predictions, *, errors=None, columns=4, title=""):
    """Faces with truth and prediction drawn on them.

    Args:
        prepared: the `PreparedDataset`.
        rows: (n,) row numbers of the faces to draw.
        predictions: (n, N, 2) points in pixels of the source images.
        errors: (n,) their errors, fractions, written below the faces.
        columns: faces in a row of the grid.
        title: over the grid.

    Returns:
        A matplotlib `Figure`.
    """
    columns = min(columns, len(rows))
    lines = -(-len(rows) // columns)
    side = 2.3
    head = 0.75 if title else 0.45
    figure = PlainFigure(figsize=(side * columns, (side + 0.25) * lines + head))
    height = (side + 0.25) * lines + head
    for i, row in enumerate(rows):
        left, top = (i % columns) / columns, 1 - (head + (i // columns) * (side + 0.25)) / height
        axes = figure.add_axes((left + 0.01 / columns, top - side / height, 0.98 / columns, side / height))
        _draw_face(axes, prepared, row, predictions[i])
        if errors is not None:
            axes.text(0.5, -0.015, error_text(errors[i]), transform=axes.transAxes, ha="center", va="top")
    if title:
        figure.text(0.5, 1 - 0.12 / height, title, ha="center", va="top", fontsize=11)
    keys = [Line2D([], [], color=colour, linewidth=3, path_effects=_outline()) for colour in (TRUTH, PREDICTION)]
    figure.legend(
        keys,
        ["truth", "prediction"],
        loc="upper center",
        ncols=2,
        frameon=False,
        fontsize=9,
        bbox_to_anchor=(0.5, 1 - (head - 0.42) / height),
        borderaxespad=0,
    )
    return figure


def training_curves(histories):
    """What training logged: the validation NME first, then one panel for each loss term.

    Args:
        histories: label -> the records of a run (see `read_history`).

    Returns:
        A matplotlib `Figure`.

    Raises:
        DataError: not one record to draw.
    """
    terms = list(dict.fromkeys(key for records in histories.values() for record in records for key in record))
    terms = [term for term in terms if term not in BOOKKEEPING and _series(histories, term)]
    if not terms:
        raise DataError(f"training curves: nothing to draw in {', '.join(histories) or 'no runs'}")
    terms.sort(key=lambda term: (term != "val_nme", term != "loss", term.startswith("val_")))
    columns = min(2, len(terms))
    figure, panels = new_figure(5.0 * columns, 3.2 * -(-len(terms) // columns), len(terms), columns)
    colours = {label: _line(i) for i, label in enumerate(histories)}
    for axes, term in zip(panels, terms, strict=True):
        for label, (x, y) in _series(histories, term).items():
            colour, style = colours[label]
            marker = "o" if len(x) == 1 else None
            axes.plot(x, y, color=colour, linestyle=style, linewidth=1.8, label=label, marker=marker)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch", title="validation NME, %" if term == "val_nme" else term.replace("_", " "))
        if term == "val_nme" or axes is panels[0]:
            drawn = {line.get_label(): line for line in axes.lines}
            named_legend(axes, drawn, frameon=True, framealpha=0.9, fontsize=8)
    return figure


def read_history(path):
    """The records of a run's ``metrics.jsonl``: a list of dicts.

    Raises:
        DataError: the file is missing or a line is no JSON object.
    """
    try:
        records = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: unreadable ({error}): expected one JSON object a line") from error
    if not all(isinstance(record, dict) for record in records):
        raise DataError(f"{path}: expected one JSON object a line")
    return records


def new_figure(width, height, panels=1, columns=1):
    figure = PlainFigure(figsize=(width, height), layout="constrained")
    lines = -(-panels // columns)
    axes = [figure.add_subplot(lines, columns, i + 1) for i in range(panels)]
    for one in axes:
        one.grid(color="0.9", linewidth=0.8)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def named_legend(where, drawn, **how):
    """A legend of a figure or axes that lists each of ``drawn``, label -> artist; labels may begin with ``_``, which
    matplotlib leaves out on its own."""
    return where.legend(list(drawn.values()), list(drawn), **how)


def _line(i):
    return PALETTE[i % len(PALETTE)], STYLES[i % len(STYLES)]


def _series(histories, term):
    """label -> (epochs, values) of the runs that logged a term as a finite number."""
    series = {}
    for label, records in histories.items():
        pairs = [
            (record.get("epoch", i + 1), record[term])
            for i, record in enumerate(records)
            if isinstance(record.get(term), int | float) and np.isfinite(record[term])
        ]
        if pairs:
            series[label] = tuple(zip(*pairs, strict=True))
    return series


def _outline():
    return [patheffects.Stroke(linewidth=2.6, foreground="#222222"), patheffects.Normal()]


def _draw_face(axes, prepared, row, prediction):
    truth = prepared.points[row]
    predicted = transform_points(invert(prepared.to_image[row]), prediction)
    axes.imshow(prepared.faces[row], interpolation="antialiased")
    for points, colour in ((truth, TRUTH), (predicted, PREDICTION)):
        for line in prepared.scheme.skeleton:
            axes.plot(*points[list(line)].T, color=colour, linewidth=1.3, path_effects=_outline())
        joined = {index for line in prepared.scheme.skeleton for index in line}
        single = [index for index in range(len(points)) if index not in joined]
        axes.plot(*points[single].T, ".", color=colour, markersize=5, markeredgecolor="#222222", markeredgewidth=0.5)
    x, y, width, height = BoxPolicy("gt", 1.4).grow(landmark_box(truth))
    axes.set(xlim=(x, x + width), ylim=(y + height, y))
    axes.set_axis_off()
