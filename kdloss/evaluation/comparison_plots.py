"""Pictures of a comparison: the differences with their intervals, and two models' errors face by face."""

import textwrap

import numpy as np
from matplotlib.ticker import FuncFormatter, LogLocator

from kdloss.evaluation import plots
from kdloss.evaluation.comparison import TIE, common_faces, distinct_labels
from kdloss.evaluation.protocol import THRESHOLDS

# Axes of logarithms have no zero, and one face fitted by chance must not stretch them: errors below a tenth of the
# median, or below this fraction of the normaliser, are drawn at the edge.
FLOOR = 1e-4


def differences_figure(comparison):
    """The difference of NME of each pair with its interval; filled where the interval excludes zero.

    Args:
        comparison: what `kdloss.evaluation.comparison.compare` returned.

    Returns:
        A matplotlib `Figure`: models against the reference above, the other pairs below a line.
    """
    pairs = comparison["pairs"]
    figure, (axes,) = plots.new_figure(7.2, 1.3 + 0.46 * len(pairs))
    axes.axvline(0, color="0.35", linewidth=1.2)
    for i, pair in enumerate(pairs):
        against_reference = pair["against"] == comparison["reference"]
        colour = plots.PALETTE[0] if against_reference else "0.45"
        axes.plot([pair["low"], pair["high"]], [i, i], color=colour, linewidth=2, solid_capstyle="butt")
        fill = colour if pair["settled"] else "white"
        axes.plot(pair["difference"], i, "o", color=colour, markerfacecolor=fill, markersize=7, markeredgewidth=1.6)
        # Above its interval and not beside it: names of models can be long.
        values = f"{pair['difference']:+.3f} [{pair['low']:+.3f}, {pair['high']:+.3f}]"
        name = axes.annotate(
            textwrap.fill(f"{pair['model']} against {pair['against']}: {values}", 105),
            (0, i),
            xycoords=("axes fraction", "data"),
            xytext=(2, 6),
            textcoords="offset points",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )
        name.set_in_layout(False)
    first = sum(pair["against"] == comparison["reference"] for pair in pairs)
    if first < len(pairs):
        axes.axhline(first - 0.75, color="0.35", linewidth=1, linestyle=":")
    axes.set(
        yticks=[],
        ylim=(len(pairs) - 0.5, -0.85),
        xlabel="difference of NME, points of a percent (left of zero: the first is better)",
        title=f"Paired differences on {comparison['n']} faces, 95 % intervals (filled: without zero)",
    )
    return figure


def scatter_figure(a, b):
    """The errors of two models face by face, with the diagonal between wins and losses.

    Args:
        a, b: two `Evaluation`\\ s of the same faces; those that only one has are left out.

    Returns:
        A matplotlib `Figure`: ``a`` to the right, ``b`` upwards, both in percent on axes of logarithms. Faces without
        prediction lie on the far edge.

    Raises:
        DataError: measured on other faces, or no face in common.
    """
    labels = distinct_labels([a.label, b.label])
    x, y = (one.errors[faces] for one, faces in zip((a, b), common_faces([a, b]), strict=True))
    missing = ~np.isfinite([x, y])
    absent = int(missing.any(axis=0).sum())
    shown = np.concatenate([[THRESHOLDS[0]], np.stack([x, y])[~missing]])
    low = max(shown.min(), np.median(shown) / 10, FLOOR) / 1.15
    high = 1.15 * shown.max()
    figure, (axes,) = plots.new_figure(5.6, 6.0)
    axes.plot([100 * low, 100 * high], [100 * low, 100 * high], color="0.35", linewidth=1.2, zorder=1)
    for draw in (axes.axvline, axes.axhline):
        draw(100 * THRESHOLDS[0], color="0.5", linewidth=1, linestyle=":", zorder=1)
    groups = {labels[0]: x < y - TIE, labels[1]: y < x - TIE}
    groups["neither"] = ~np.logical_or(*groups.values())
    drawn = {}
    for (name, member), colour, marker in zip(groups.items(), plots.PALETTE, "o^s", strict=False):
        if name != "neither" or member.any():
            drawn[f"{name} better: {member.sum()} of {len(x)} faces"] = axes.scatter(
                *(100 * np.clip(errors[member], low, high) for errors in (x, y)),
                s=14,
                color=colour,
                marker=marker,
                alpha=0.6,
                linewidths=0,
                clip_on=False,
                zorder=2,
            )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(100 * low, 100 * high),
        ylim=(100 * low, 100 * high),
        aspect="equal",
        xlabel=textwrap.fill(f"error of {labels[0]}, % of the normaliser", 52),
        ylabel=textwrap.fill(f"error of {labels[1]}, % of the normaliser", 52),
        title=f"Errors face by face, {len(x)} faces" + (f", {absent} without prediction" if absent else ""),
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    plots.named_legend(figure, drawn, loc="outside lower center", frameon=False, fontsize=9)
    return figure
