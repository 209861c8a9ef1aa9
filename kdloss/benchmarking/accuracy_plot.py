"""Accuracy against latency, as a picture."""

from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from kdloss.benchmarking.runtimes import RUNTIMES
from kdloss.evaluation.plots import PALETTE, STYLES, new_figure

MARKERS = dict(zip(RUNTIMES, ("o", "s", "D", "^", "P", "X", "v"), strict=True))


def accuracy_figure(record):
    """The NME of trained networks over the time of one image, a colour for each network, a marker for each runtime.

    Args:
        record: of ``kdloss.benchmark inference``, with the NME of at least one file.

    Returns:
        A matplotlib `Figure`. The time is that with the fewest threads of the record; bars go from the fastest round to
        the slowest.
    """
    threads = min(row["threads"] for row in record["rows"])
    times = {(row["model"], row["runtime"]): row["ms"] for row in record["rows"] if row["threads"] == threads}
    measured = [file for file in record["files"] if file["accuracy"]]
    networks = list(dict.fromkeys(file["model"] for file in measured))
    runtimes = list(dict.fromkeys(file["runtime"] for file in measured))
    figure, (axes,) = new_figure(7.0, 4.6 + 0.11 * (len(networks) + len(runtimes)))
    for number, network in enumerate(networks):
        points = sorted(
            (times[network, file["runtime"]]["median"], file["accuracy"]["nme"], file["runtime"])
            for file in measured
            if file["model"] == network
        )
        colour, style = _look(number)
        axes.plot(*zip(*(point[:2] for point in points), strict=True), style, color=colour, linewidth=1, alpha=0.6)
        for ms, nme, runtime in points:
            spread = times[network, runtime]
            bars = [[ms - spread["low"]], [spread["high"] - ms]]
            axes.errorbar(ms, nme, xerr=bars, capsize=3, elinewidth=1, zorder=3, **_marker(runtime, colour))
    axes.set_xscale("log")
    _mark_milliseconds(axes)
    axes.margins(x=0.08, y=0.12)
    protocol = measured[0]["accuracy"]["protocol"]
    axes.set(
        xlabel=f"one image, ms on {threads} thread{'s'[: threads - 1]}, median of the rounds (logarithmic)",
        ylabel=f"NME, % of the {protocol['normaliser']} distance" if protocol["normaliser"] != "box" else "NME, %",
    )
    made = " (rendered faces)" if protocol["synthetic"] else ""
    axes.set_title(f"{protocol['dataset']}, {protocol['n']} {protocol['split']} faces{made}", fontsize=10)
    _legends(figure, networks, runtimes)
    return figure


def _look(number):
    return PALETTE[number % len(PALETTE)], STYLES[number % len(STYLES)]


def _marker(runtime, colour):
    """Files in 16 bits, which compute as those in 32, are larger and hollow: both show where one covers the other."""
    look = {"marker": MARKERS[runtime], "color": colour, "markeredgecolor": colour, "markersize": 7}
    return look | {"markersize": 11, "markerfacecolor": "none"} if runtime.endswith("fp16") else look


def _mark_milliseconds(axes):
    """Numbers at 1, 2, 5, 10 ...: powers of ten alone are one or none in a picture like this."""
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _legends(figure, networks, runtimes):
    """Below the plot, where they hide no point: the networks by colour, the runtimes by marker."""
    lines = []
    for number in range(len(networks)):
        colour, style = _look(number)
        lines.append(Line2D([], [], color=colour, linestyle=style, linewidth=2.5))
    markers = [Line2D([], [], linestyle="", **_marker(name, "0.3")) for name in runtimes]
    titles = [RUNTIMES[name].title for name in runtimes]
    how = {"frameon": False, "fontsize": 9}
    figure.legend(lines, networks, loc="outside lower left", ncols=1, **how)
    figure.legend(markers, titles, loc="outside lower right", ncols=2, **how)
