"""Accuracy against latency, as a picture."""

from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from kdloss.deploy.runtimes import RUNTIMES
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
    networks = {name: _look(number) for number, name in enumerate(dict.fromkeys(file["model"] for file in measured))}
    runtimes = list(dict.fromkeys(file["runtime"] for file in measured))
    figure, (axes,) = new_figure(7.0, 4.6 + 0.11 * (len(networks) + len(runtimes)))
    for network, look in networks.items():
        found = {file["runtime"]: file["accuracy"]["nme"] for file in measured if file["model"] == network}
        points = sorted((times[network, runtime]["median"], nme) for runtime, nme in found.items())
        axes.plot(*zip(*points, strict=True), **look, linewidth=1, alpha=0.6)
        for runtime, nme in found.items():
            ms = times[network, runtime]
            bars = [[ms["median"] - ms["low"]], [ms["high"] - ms["median"]]]
            style = {"capsize": 3, "elinewidth": 1, "zorder": 3} | _marker(runtime, look["color"])
            axes.errorbar(ms["median"], nme, xerr=bars, **style)
    axes.set_xscale("log")
    # Numbers at 1, 2, 5, 10 ...: powers of ten alone are one or none in a picture like this.
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.08, y=0.12)
    protocol = measured[0]["accuracy"]["protocol"]
    axes.set_xlabel(f"one image, ms on {threads} thread{'s'[: threads - 1]}, median of the rounds (logarithmic)")
    axes.set_ylabel(f"NME, % of the {protocol['normaliser']} distance" if protocol["normaliser"] != "box" else "NME, %")
    made = " (rendered faces)" if protocol["synthetic"] else ""
    axes.set_title(f"{protocol['dataset']}, {protocol['n']} {protocol['split']} faces{made}", fontsize=10)
    # Below the plot, where they hide no point.
    lines = [Line2D([], [], **look, linewidth=2.5) for look in networks.values()]
    markers = [Line2D([], [], linestyle="", **_marker(name, "0.3")) for name in runtimes]
    how = {"frameon": False, "fontsize": 9}
    figure.legend(lines, list(networks), loc="outside lower left", ncols=1, **how)
    figure.legend(markers, [RUNTIMES[name].title for name in runtimes], loc="outside lower right", ncols=2, **how)
    return figure


def _look(number):
    return {"color": PALETTE[number % len(PALETTE)], "linestyle": STYLES[number % len(STYLES)]}


def _marker(runtime, colour):
    """Files in 16 bits, which compute as those in 32, are larger and hollow: both show where one covers the other."""
    look = {"marker": MARKERS[runtime], "color": colour, "markeredgecolor": colour, "markersize": 7}
    return look | {"markersize": 11, "markerfacecolor": "none"} if runtime.endswith("fp16") else look
