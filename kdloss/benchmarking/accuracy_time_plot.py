"""NME against minutes of training, as a picture."""

from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from kdloss.evaluation.plots import PALETTE, STYLES, new_figure


def accuracy_time_figure(record):
    """The curves of all runs: NME on the test faces over minutes, a colour for each recipe.

    Args:
        record: of ``kdloss.benchmark time-to-accuracy``.

    Returns:
        A matplotlib `Figure`: thin lines are runs, a thick one is the run whose minutes are the median.
    """
    figure, (axes,) = new_figure(7.2, 4.8 + 0.2 * len(record["rows"]))
    for number, row in enumerate(record["rows"]):
        look = {"color": PALETTE[number % len(PALETTE)], "linestyle": STYLES[number % len(STYLES)]}
        runs = sorted(row["runs"], key=lambda run: run["epochs"][-1]["seconds"])
        middle = runs[(len(runs) - 1) // 2]
        for run in runs:
            curve = [(one["seconds"] / 60, one["test_nme"]) for one in run["epochs"] if one["test_nme"] is not None]
            if not curve:
                continue
            label = f"{row['recipe']}: {row['about']}" if run is middle else None
            width, alpha = (2.2, 1.0) if run is middle else (0.8, 0.5)
            axes.plot(*zip(*curve, strict=True), linewidth=width, alpha=alpha, label=label, marker="o", ms=3, **look)
    axes.axhline(record["target"], color="0.4", linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    shown = [one["test_nme"] for row in record["rows"] for run in row["runs"] for one in run["epochs"]]
    shown = [value for value in shown if value is not None]
    if shown:
        # The first epochs of slow recipes would press all others together.
        axes.set_ylim(0.9 * min([*shown, record["target"]]), min(1.05 * max(shown), 3 * record["target"]))
    axes.set(xlabel="minutes of training (logarithmic)", ylabel=f"NME, % of the {record['normaliser']} distance")
    kept = "rendered" if record["synthetic"] else "real"
    axes.set_title(f"{record['dataset']}, {record['subset']} test set, {kept} faces", fontsize=10)
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    return figure
