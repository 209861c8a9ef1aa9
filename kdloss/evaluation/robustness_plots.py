"""The heat maps of box robustness. Figures are objects on an Agg canvas, as in `kdloss.evaluation.plots`."""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.patches import Rectangle
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

from kdloss.evaluation.plots import PlainFigure

COLOURS = "viridis"  # perceptually uniform, and read with any colour vision


def robustness_figure(result):
    """Two heat maps of NME on one colour scale: the box shifted, and the box scaled and turned.

    The unperturbed box is framed. A star marks the settings in which more than half of the crops reach beyond the
    stored pictures.

    Args:
        result: what `measure_robustness` returned, or JSON made of it.

    Returns:
        A matplotlib `Figure`.
    """
    shift, turn = result["shift"], result["scale_rotation"]
    every = np.concatenate([np.ravel(shift["nme"]), np.ravel(turn["nme"])])
    # By ratio: one box that breaks the model would else paint all others the same.
    lowest = max(every.min(), 1e-3)
    norm = LogNorm(lowest, max(every.max(), 1.05 * lowest), clip=True)
    figure = PlainFigure(figsize=(10.4, 5.4), layout="constrained")
    panels = figure.subplots(1, 2, width_ratios=(7, 6))
    percents = [f"{100 * value:+.0f}" if value else "0" for value in shift["shifts"]]
    _heat_map(panels[0], shift, percents, percents, norm)
    panels[0].set(xlabel="box moved right, % of its width", ylabel="box moved down, % of its height")
    panels[0].set_title("shifted", fontsize=11)
    degrees = [f"{value:+g}°" if value else "0°" for value in turn["rotations"]]
    image = _heat_map(panels[1], turn, degrees, [f"{value:.1f}" for value in turn["scales"]], norm)
    panels[1].set(xlabel="box turned clockwise", ylabel="box scaled by")
    panels[1].set_title("scaled and turned", fontsize=11)
    bar = figure.colorbar(image, ax=panels, shrink=0.85, pad=0.015)
    bar.set_label(f"NME, % ({result['normaliser']}), by ratio")
    bar.outline.set_visible(False)
    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    figure.suptitle(_title(result), fontsize=12)
    if any(_starred(share) for grid in (shift, turn) for share in np.ravel(grid["outside"])):
        figure.supxlabel("* these crops reach beyond the stored pictures and are black there", fontsize=9)
    return figure


def _title(result):
    faces = f"{result['n']} synthetic faces" if result["synthetic"] else f"{result['n']} faces"
    ratio = "" if result["robust_ratio"] is None else f" ({result['robust_ratio']:.2f} times)"
    return (
        f"Box robustness, {result['dataset']}, {faces}, box {result['box']}\n"
        f"NME {result['baseline_nme']:.2f} % in the unperturbed box, {result['robust_nme']:.2f} % perturbed{ratio}"
    )


def _heat_map(axes, grid, columns, lines, norm):
    """Draws one grid with its values written in the cells; columns and lines are the labels of the ticks."""
    image = axes.imshow(grid["nme"], cmap=COLOURS, norm=norm, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(lines)), lines)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for (i, j), value in np.ndenumerate(grid["nme"]):
        red, green, blue, _ = image.cmap(norm(value))
        dark = 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.5
        star = "*" if _starred(grid["outside"][i][j]) else ""
        axes.text(j, i, f"{value:.2f}{star}", ha="center", va="center", color="white" if dark else "black", fontsize=10)
        if columns[j].rstrip("°") == "0" and lines[i] in ("0", "1.0"):
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor="red", linewidth=2))
    return image


def _starred(share):
    return share > 0.5
