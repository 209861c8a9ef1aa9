"""The records of ``kdloss.benchmark`` as tables, and accuracy against latency as a picture."""

import statistics
from operator import itemgetter

from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from kdloss.deploy.runtimes import RUNTIMES
from kdloss.evaluation.plots import PALETTE, new_figure
from kdloss.evaluation.tables import Column, Row, Table

_ENDS = {"ms": "median", "least": "low", "most": "high"}
MARKERS = dict(zip(RUNTIMES, ("o", "s", "D", "^", "P", "X", "v"), strict=True))


def record_tables(record):
    """The tables of a record: ``networks``, ``files`` and ``times``."""
    return {"networks": _networks(record), "files": _files(record), "times": _times(record)}


def accuracy_figure(record):
    """The NME of trained networks over the time of one image, as a matplotlib `Figure`.

    A colour stands for a network, a marker for a runtime. Times are those with the fewest threads of the record, which
    holds the NME of at least one file; bars go from the fastest round to the slowest.
    """
    threads = min(row["threads"] for row in record["rows"])
    times = {(row["model"], row["runtime"]): row["ms"] for row in record["rows"] if row["threads"] == threads}
    measured = [file for file in record["files"] if file["accuracy"]]
    colours = {
        name: PALETTE[i % len(PALETTE)] for i, name in enumerate(dict.fromkeys(one["model"] for one in measured))
    }
    figure, (axes,) = new_figure(7.0, 4.6 + 0.11 * (len(colours) + len(RUNTIMES)))
    for file in measured:
        ms, colour = times[file["model"], file["runtime"]], colours[file["model"]]
        bars = [[ms["median"] - ms["low"]], [ms["high"] - ms["median"]]]
        # 16-bit files compute as 32-bit ones do: hollow and larger, both show where they overlap.
        half = {"markersize": 11, "markerfacecolor": "none"} if file["runtime"].endswith("fp16") else {"markersize": 7}
        style = {"color": colour, "marker": MARKERS[file["runtime"]], "capsize": 3} | half
        axes.errorbar(ms["median"], file["accuracy"]["nme"], xerr=bars, **style)
    axes.set_xscale("log")
    axes.margins(x=0.08, y=0.12)
    axes.xaxis.set(major_locator=LogLocator(subs=(1, 1.5, 2, 3, 5, 7)), major_formatter="{x:g}", minor_formatter="")
    protocol = measured[0]["accuracy"]["protocol"]
    axes.set_xlabel(f"one image, ms on {threads} thread{'s'[: threads - 1]}, median of the rounds (logarithmic)")
    axes.set_ylabel(f"NME, % ({protocol['normaliser']})")
    rendered = " (rendered faces)" if protocol["synthetic"] else ""
    axes.set_title(f"{protocol['dataset']}, {protocol['n']} {protocol['split']} faces{rendered}", fontsize=10)
    # The legends stand below the plot, where they hide no point.
    lines = {name: Line2D([], [], color=colour, linewidth=2.5) for name, colour in colours.items()}
    runtimes = dict.fromkeys(file["runtime"] for file in measured)
    markers = {
        RUNTIMES[name].title: Line2D([], [], linestyle="", color="0.3", marker=MARKERS[name]) for name in runtimes
    }
    for keys, side, columns in ((lines, "left", 1), (markers, "right", 2)):
        place = {"loc": f"outside lower {side}", "ncols": columns, "frameon": False, "fontsize": 9}
        figure.legend(list(keys.values()), list(keys), **place)
    return figure


def _networks(record):
    columns = [
        ("image px", 0, itemgetter("image_size")),
        ("points", 0, itemgetter("points")),
        ("parameters (M)", 2, lambda model: model["parameters"] and model["parameters"] / 1e6),
        ("MACs (M)", 1, lambda model: model["macs"] and model["macs"] / 1e6),
        ("weights", None, lambda model: model["checkpoint"]["sha256"][:8] if model["checkpoint"] else "random"),
    ]
    notes = [
        "MACs: multiply-accumulates of one image in convolutions and dense layers; element-wise work is not counted",
        "weights: the first digits of the checkpoint's SHA-256",
    ]
    if not all(model["checkpoint"] for model in record["models"]):
        notes.append("random weights: good for costs, not for landmarks")
    return _table("Networks", "network", "label", columns, record["models"], notes)


def _files(record):
    settings, files = record["settings"], record["files"]
    columns, notes = [("runtime", None, _runtime_title), ("file MB", 2, itemgetter("megabytes"))], []
    if number := settings["processes"]:
        columns += [
            ("peak MB", 0, lambda file: statistics.median(file["memory"]["peak"])),
            ("above the runtime", 0, lambda file: statistics.median(file["memory"]["above_runtime"])),
        ]
        notes += [
            f"peak MB: of a process that opens the file and runs 3 images on one thread (median of {number})",
            "above the runtime: the same without what importing the runtime took",
        ]
    if measured := [file["accuracy"] for file in files if file["accuracy"]]:
        protocol = measured[0]["protocol"]
        faces = f"{protocol['n']} {'rendered ' * protocol['synthetic']}{protocol['split']} faces"
        columns.append(("NME %", 2, lambda file: file["accuracy"] and file["accuracy"]["nme"]))
        notes.append(f"NME: {protocol['dataset']}, {faces}, {protocol['normaliser']}, each network in its own box")
    int8 = {file["model"] for file in files if RUNTIMES[file["runtime"]].precision == "int8"}
    # Exported files, whose parameters are not counted, have scales of their own.
    quantised = [model for model in record["models"] if model["label"] in int8 and model["parameters"] is not None]
    if not all(model["checkpoint"] for model in quantised):
        notes.append("int8 of random weights: scales from patterns of noise, good for time and size alone")
    if any(model["checkpoint"] for model in quantised) and not settings["dataset"]:
        notes.append("int8 without --dataset: scales from patterns of noise, good for time and size, not for landmarks")
    return _table("Files", "network", "model", columns, files, notes)


def _times(record):
    columns = [
        ("runtime", None, _runtime_title),
        ("threads", 0, itemgetter("threads")),
        *((text, 2, lambda row, end=end: row["ms"][end]) for text, end in _ENDS.items()),
        ("x first", 3, lambda row: row["ratio"]["median"]),
    ]
    settings, machine = record["settings"], record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in record["runtimes"].items())
    notes = [
        f"ms: one image at batch 1, median of {settings['rounds']} rounds' medians over {settings['images']} images; "
        "least and most of the rounds",
        "x first: ms to those of the first row, within each round; a network's rows and the first ran in turns",
        f"{machine['processor'] or machine['platform']}, {machine['cores']} cores; {versions}",
    ]
    if machine.get("accelerators"):
        notes.append(f"Keras ran on {', '.join(machine['accelerators'])}: CUDA_VISIBLE_DEVICES=-1 keeps it on the CPU")
    return _table("Time of one image", "network", "model", columns, record["rows"], notes)


def _table(title, heading, label, columns, records, notes):
    """A `Table` with a row for each record, whose key ``label`` is the first cell; the other columns are (heading,
    decimals or None for words, function of a record)."""
    shown = tuple(Column(str(i), head, digits or 0, digits is None) for i, (head, digits, _) in enumerate(columns))
    rows = tuple(Row(one[label], {str(i): value(one) for i, (*_, value) in enumerate(columns)}) for one in records)
    return Table(title, shown, rows, tuple(notes), heading)


def _runtime_title(row):
    return RUNTIMES[row["runtime"]].title
