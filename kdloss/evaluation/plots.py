"""Pictures of evaluations, trainings and confidences: functions that return matplotlib figures.

Figures live on an Agg canvas: no window, no global state, safe in threads.
"""

import io
import json
import textwrap
import warnings
from pathlib import Path

import numpy as np
from matplotlib import patheffects
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from PIL import Image

from kdloss.data.geometry import BoxPolicy, invert, landmark_box, transform_points
from kdloss.evaluation import metrics
from kdloss.evaluation.protocol import THRESHOLDS, spread_rows
from kdloss.evaluation.tables import reliability_title

# Okabe and Ito's colours, told apart with any colour vision; line styles say the same in grey.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":")
TRUTH, PREDICTION = "#56B4E9", "#F0E442"
HEAT = "viridis"  # perceptually uniform, and read with any colour vision
OUTLINE = [patheffects.Stroke(linewidth=2.6, foreground="#222222"), patheffects.Normal()]
CED_LIMIT = 0.15  # the largest error that cumulative distributions show
BOOKKEEPING = ("epoch", "step", "lr", "learning_rate", "seconds", "time")


class PlainFigure(Figure):
    """A figure on an Agg canvas that draws ``$`` in names of files and models as it is, not as a formula."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        FigureCanvasAgg(self)

    def draw(self, renderer):
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)


def new_figure(width, height, panels=1, columns=1):
    """A `PlainFigure` of a size in inches, and the list of its axes, each with a grid."""
    figure = PlainFigure(figsize=(width, height), layout="constrained")
    axes = [figure.add_subplot(-(-panels // columns), columns, i + 1) for i in range(panels)]
    for one in axes:
        one.grid(color="0.9", linewidth=0.8)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def figure_bytes(figure, image_format="png", dpi=130):
    """A figure as the bytes of a ``png`` of 256 colours, or of a ``jpeg`` (for faces)."""
    buffer = io.BytesIO()
    for legend in figure.findobj(Legend):
        for label in legend.get_texts():  # names of files, no formulas
            label.set_parse_math(False)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # signs that the font lacks
        figure.savefig(buffer, format=image_format, dpi=dpi, facecolor="white")
    if image_format == "png":
        # A palette takes a third of the bytes and shows no difference.
        drawn, buffer = Image.open(buffer).convert("RGB"), io.BytesIO()
        drawn.quantize(256).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def ced_figure(curves, *, title):
    """Cumulative error distributions up to an error of `CED_LIMIT`; the legend gives the NME of each.

    ``curves`` is label -> (n,) errors of the faces, fractions of the normaliser. Faces without prediction have no
    finite error: the curve ends below 100 %, and NME leaves them out.
    """
    figure, (axes,) = new_figure(5.6, 4.2 + 0.2 * len(curves))
    drawn = {}
    for i, (label, errors) in enumerate(curves.items()):
        x, y = metrics.ced(errors)
        found = np.isfinite(x)
        # Steps from zero, continued to the edge of the plot.
        x = np.concatenate([[0.0], x[found], [max([CED_LIMIT, *x[found][-1:]])]])
        y = np.concatenate([[0.0], y[found], [found.mean()]])
        facts = [f"NME {metrics.nme(errors):.2f} %"] if found.any() else []
        facts += [] if found.all() else [f"{np.sum(~found)} of {len(found)} missing"]
        name = f"{label} ({', '.join(facts)})"
        (drawn[name],) = axes.step(100 * x, 100 * y, where="post", linewidth=2, **_line(i))
    for threshold in THRESHOLDS:
        axes.axvline(100 * threshold, color="0.5", linewidth=1, zorder=0)
        place = {"xycoords": ("data", "axes fraction"), "xytext": (2, -2), "textcoords": "offset points", "va": "top"}
        axes.annotate(f"{100 * threshold:g} %", (100 * threshold, 1), color="0.35", fontsize=8, **place)
    axes.set(xlim=(0, 100 * CED_LIMIT), xlabel="error of a face, % of the normaliser")
    axes.set(ylim=(0, 104), ylabel="faces at or below, %")
    axes.set_title(textwrap.fill(title, 62), fontsize=10)
    legend_below(figure, drawn)
    return figure


def spread_by_error(errors, count):
    """Positions of ``count`` faces from the best to the worst, evenly spaced in rank."""
    return spread_rows(np.argsort(errors, kind="stable"), count)


def worst_median_best(errors, count):
    """``worst`` (the worst first), ``median`` and ``best`` (the best first) -> (m,) positions, none of them twice.

    Each holds ``count`` faces, but at most a third of those with a prediction; with fewer than three predictions there
    are only the worst. Faces without prediction (errors that are not finite) come first among the worst and take at
    most half of their places.
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
    """The text below a face: its error (a fraction) in percent, or that it has no prediction."""
    return f"error {100 * error:.1f} %" if np.isfinite(error) else "no face found"


def face_figure(evaluation, position):
    """The face at a position of an `Evaluation`, with truth and prediction; a square figure without margins."""
    figure = PlainFigure(figsize=(2.6, 2.6))
    _draw_face(figure.add_axes((0, 0, 1, 1)), evaluation, position)
    return figure


def face_grid(evaluation, positions, *, columns=4, title=""):
    """Faces of an `Evaluation` with truth and prediction, ``columns`` in a row, and their errors below them."""
    columns, errors = min(columns, len(positions)), evaluation.errors
    side, below, head = 2.3, 0.25, 0.75 if title else 0.45
    height = (side + below) * -(-len(positions) // columns) + head
    figure = PlainFigure(figsize=(side * columns, height))
    for i, position in enumerate(positions):
        left, top = (i % columns) / columns, 1 - (head + (i // columns) * (side + below)) / height
        axes = figure.add_axes((left + 0.01 / columns, top - side / height, 0.98 / columns, side / height))
        _draw_face(axes, evaluation, position)
        text = error_text(errors[position])
        axes.text(0.5, -0.015, text, transform=axes.transAxes, ha="center", va="top")
    if title:
        figure.text(0.5, 1 - 0.12 / height, title, ha="center", va="top", fontsize=11)
    keys = [Line2D([], [], color=colour, linewidth=3, path_effects=OUTLINE) for colour in (TRUTH, PREDICTION)]
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 1 - (head - 0.42) / height), "borderaxespad": 0}
    figure.legend(keys, ["truth", "prediction"], ncols=2, frameon=False, fontsize=9, **place)
    return figure


def differences_figure(comparison):
    """The differences of NME that `compare` found, each with its interval, filled where the interval excludes zero.

    Models against the reference stand above, the other pairs below a line.
    """
    pairs = comparison["pairs"]
    # Names of models can be long.
    names = [textwrap.fill(f"{pair['model']} against {pair['against']}", 42, break_on_hyphens=False) for pair in pairs]
    labels = [
        f"{name}\n{pair['difference']:+z.3f} [{pair['low']:+z.3f}, {pair['high']:+z.3f}]"
        for name, pair in zip(names, pairs, strict=True)
    ]
    lines = 1 + max(label.count("\n") for label in labels)
    figure, (axes,) = new_figure(7.8, 1.3 + 0.17 * lines * len(pairs))
    axes.axvline(0, color="0.35", linewidth=1.2)
    for i, pair in enumerate(pairs):
        colour = PALETTE[0] if pair["against"] == comparison["reference"] else "0.45"
        axes.plot([pair["low"], pair["high"]], [i, i], color=colour, linewidth=2, solid_capstyle="butt")
        fill = colour if pair["settled"] else "white"
        axes.plot(pair["difference"], i, "o", color=colour, markerfacecolor=fill, markersize=7, markeredgewidth=1.6)
    first = sum(pair["against"] == comparison["reference"] for pair in pairs)
    if first < len(pairs):
        axes.axhline(first - 0.5, color="0.35", linewidth=1, linestyle=":")
    axes.set_yticks(range(len(pairs)), labels, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set(ylim=(len(pairs) - 0.5, -0.5))
    axes.set_xlabel("difference of NME, points of a percent (left of zero: the first is better)")
    figure.suptitle(
        f"Paired differences on {comparison['n']} faces, 95 % intervals (filled: without zero)", fontsize=11
    )
    return figure


def robustness_figure(record):
    """What `measure_robustness` found: heat maps of NME with the box shifted, and with the box scaled and turned.

    The unperturbed box is framed. A star marks settings where more than half of the crops reach beyond the stored
    pictures.
    """
    shift, turn = record["shift"], record["scale_rotation"]
    every = np.concatenate([np.ravel(shift["nme"]), np.ravel(turn["nme"])])
    # A linear scale would paint all boxes the same next to one that breaks the model.
    lowest = max(every.min(), 1e-3)
    norm = LogNorm(lowest, max(every.max(), 1.05 * lowest), clip=True)
    figure = PlainFigure(figsize=(10.4, 5.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(7, 6))
    percents = [f"{100 * value:+z.0f}" if value else "0" for value in shift["shifts"]]
    _heat_map(left, shift, percents, percents, norm)
    left.set(xlabel="box moved right, % of its width", ylabel="box moved down, % of its height")
    left.set_title("shifted", fontsize=11)
    degrees = [f"{value:+g}°" if value else "0°" for value in turn["rotations"]]
    image = _heat_map(right, turn, degrees, [f"{value:.1f}" for value in turn["scales"]], norm)
    right.set(xlabel="box turned clockwise", ylabel="box scaled by")
    right.set_title("scaled and turned", fontsize=11)
    bar = figure.colorbar(image, ax=[left, right], shrink=0.85, pad=0.015)
    bar.set_label(f"NME, % ({record['normaliser']}), logarithmic scale")
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter("{x:g}")
    faces = f"{record['n']} synthetic faces" if record["synthetic"] else f"{record['n']} faces"
    ratio = "" if record["robust_ratio"] is None else f" ({record['robust_ratio']:.2f} times)"
    title = (
        f"Box robustness, {record['dataset']}, {faces}, box {record['box']}\n"
        f"NME {record['baseline_nme']:.2f} % in the unperturbed box, {record['robust_nme']:.2f} % perturbed{ratio}"
    )
    figure.suptitle(title, fontsize=12)
    if max(np.max(shift["outside"]), np.max(turn["outside"])) > 0.5:
        figure.supxlabel("* most of these crops reach beyond the stored pictures and are black there", fontsize=9)
    return figure


def training_curves(histories):
    """The validation NME of runs over the epochs, and one panel for each loss term; see `read_history`."""
    terms = list(dict.fromkeys(key for records in histories.values() for record in records for key in record))
    terms = [term for term in terms if term not in BOOKKEEPING and _series(histories, term)]
    terms.sort(key=lambda term: (term != "val_nme", term != "loss", term.startswith("val_")))
    columns = min(2, len(terms))
    figure, panels = new_figure(5.0 * columns, 3.2 * -(-len(terms) // columns), len(terms), columns)
    lines, drawn = {label: _line(i) for i, label in enumerate(histories)}, {}
    for axes, term in zip(panels, terms, strict=True):
        for label, (x, y) in _series(histories, term).items():
            marker = "o" if len(x) == 1 else None
            (line,) = axes.plot(x, y, linewidth=1.8, label=label, marker=marker, **lines[label])
            drawn.setdefault(label, line)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.set(xlabel="epoch", title="validation NME, %" if term == "val_nme" else term.replace("_", " "))
    legend_below(figure, drawn, columns)
    return figure


def read_history(path):
    """The records of a run's ``metrics.jsonl``: a list of dicts."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()]


def reliability_figure(record):
    """Over confidence, the share of points within tolerance and the mean error; see `reliability_table`."""
    figure, (left, right) = new_figure(8.4, 3.8, 2, 2)
    keys = ("confidence", "within", "error")
    confidence, within, error = ([group[key] for group in record["groups"]] for key in keys)
    left.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    left.plot(confidence, within, "o-", color=PALETTE[0])
    left.set(xlabel="confidence", xlim=(0, 1), ylim=(0, 1))
    left.set_ylabel(f"share within {100 * record['within']:g} % of the box")
    right.plot(confidence, error, "o-", color=PALETTE[1])
    right.set(xlabel="confidence", ylabel="mean error, % of the box's side", xlim=(0, 1), ylim=(0, None))
    figure.suptitle(reliability_title(record), fontsize=10)
    return figure


def legend_below(figure, drawn, columns=1):
    """A legend of label -> artist below the plot, where it hides no curve. Matplotlib's own skips labels with ``_``."""
    place = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": 9}
    figure.legend(list(drawn.values()), list(drawn), **place)


def _line(i):
    return {"color": PALETTE[i % len(PALETTE)], "linestyle": STYLES[i % len(STYLES)]}


def _series(histories, term):
    """label -> (epochs, values) of the runs that logged a term as a finite number."""
    series = {}
    for label, records in histories.items():
        logged = [(i, record) for i, record in enumerate(records, 1) if isinstance(record.get(term), int | float)]
        pairs = [(record.get("epoch", i), record[term]) for i, record in logged if np.isfinite(record[term])]
        series |= {label: tuple(zip(*pairs, strict=True))} if pairs else {}
    return series


def _draw_face(axes, evaluation, position):
    prepared, row = evaluation.prepared, evaluation.rows[position]
    truth = prepared.points[row]
    predicted = transform_points(invert(prepared.to_image[row]), evaluation.points[position])
    axes.imshow(prepared.faces[row], interpolation="antialiased")
    for points, colour in ((truth, TRUTH), (predicted, PREDICTION)):
        for line in prepared.scheme.skeleton:
            axes.plot(*points[list(line)].T, color=colour, linewidth=1.3, path_effects=OUTLINE)
        joined = {index for line in prepared.scheme.skeleton for index in line}
        single = [index for index in range(len(points)) if index not in joined]
        axes.plot(*points[single].T, ".", color=colour, markersize=5, markeredgecolor="#222222", markeredgewidth=0.5)
    x, y, width, height = BoxPolicy("gt", 1.4).grow(landmark_box(truth))
    axes.set(xlim=(x, x + width), ylim=(y + height, y))
    axes.set_axis_off()


def _heat_map(axes, grid, columns, lines, norm):
    """Draws a grid of NMEs with the values in its cells; columns and lines are the labels of the ticks."""
    image = axes.imshow(grid["nme"], cmap=HEAT, norm=norm, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(lines)), lines)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (i, j), value in np.ndenumerate(grid["nme"]):
        red, green, blue, _ = image.cmap(norm(value))
        dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5
        star = "*" if grid["outside"][i][j] > 0.5 else ""
        axes.text(j, i, f"{value:.2f}{star}", ha="center", va="center", color="white" if dark else "black", fontsize=10)
        if columns[j].rstrip("°") == "0" and lines[i] in ("0", "1.0"):
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="red", linewidth=2))
    return image
