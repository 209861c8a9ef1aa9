"""The records of ``kdloss.benchmark`` as tables, and accuracy against latency as a picture."""

import statistics
from operator import itemgetter

from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from kdloss.deploy.runtimes import RUNTIMES
from kdloss.evaluation.plots import PALETTE, STYLES, new_figure
from kdloss.evaluation.tables import Column, Row, Table

MARKERS = dict(zip(RUNTIMES, ("o", "s", "D", "^", "P", "X", "v"), strict=True))


def record_tables(record):
    """The tables of a record: ``networks``, ``files`` and ``times`` of networks, or ``folder`` of photographs."""
    if "faces" in record:
        return {"folder": _folder(record)}
    return {"networks": _networks(record), "files": _files(record), "times": _times(record)}


def accuracy_figure(record):
    """The NME of trained networks over the time of one image, as a matplotlib `Figure`.

    A colour stands for a network, a marker for a runtime. Times are those with the fewest threads of the record, which
    holds the NME of at least one file; bars go from the fastest round to the slowest.
    """
    threads = min(row["threads"] for row in record["rows"])
    times = {(row["model"], row["runtime"]): row["ms"] for row in record["rows"] if row["threads"] == threads}
    measured = [file for file in record["files"] if file["accuracy"]]
    networks = {name: _look(number) for number, name in enumerate(dict.fromkeys(file["model"] for file in measured))}
    runtimes = list(dict.fromkeys(file["runtime"] for file in measured))
    figure, (axes,) = new_figure(7.0, 4.6 + 0.11 * (len(networks) + len(runtimes)))
    for network, look in networks.items():
        errors = {file["runtime"]: file["accuracy"]["nme"] for file in measured if file["model"] == network}
        line = sorted((times[network, runtime]["median"], nme) for runtime, nme in errors.items())
        axes.plot(*zip(*line, strict=True), **look, linewidth=1, alpha=0.6)
        for runtime, nme in errors.items():
            ms = times[network, runtime]
            bars = [[ms["median"] - ms["low"]], [ms["high"] - ms["median"]]]
            style = {"capsize": 3, "elinewidth": 1, "zorder": 3} | _marker(runtime, look["color"])
            axes.errorbar(ms["median"], nme, xerr=bars, **style)
    axes.set_xscale("log")
    # The axis is too short for labels at powers of ten only.
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1, 1.5, 2, 3, 5, 7)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.08, y=0.12)
    protocol = measured[0]["accuracy"]["protocol"]
    axes.set_xlabel(f"one image, ms on {threads} thread{'s'[: threads - 1]}, median of the rounds (logarithmic)")
    axes.set_ylabel(f"NME, % of the {protocol['normaliser']} distance" if protocol["normaliser"] != "box" else "NME, %")
    rendered = " (rendered faces)" if protocol["synthetic"] else ""
    axes.set_title(f"{protocol['dataset']}, {protocol['n']} {protocol['split']} faces{rendered}", fontsize=10)
    # The legends stand below the plot, where they hide no point.
    lines = [Line2D([], [], **look, linewidth=2.5) for look in networks.values()]
    markers = [Line2D([], [], linestyle="", **_marker(name, "0.3")) for name in runtimes]
    titles = [RUNTIMES[name].title for name in runtimes]
    figure.legend(lines, list(networks), loc="outside lower left", ncols=1, frameon=False, fontsize=9)
    figure.legend(markers, titles, loc="outside lower right", ncols=2, frameon=False, fontsize=9)
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
        columns.append(("NME %", 2, lambda file: file["accuracy"] and file["accuracy"]["nme"]))
        notes.append(
            f"NME: {protocol['dataset']}, {protocol['n']} {_rendered(protocol)}{protocol['split']} faces, "
            f"{protocol['normaliser']}, each network in its own box"
        )
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
        *_spread("ms", 2, "ms"),
        ("x first", 3, lambda row: row["ratio"]["median"]),
        ("images/s", 1, lambda row: row["images_per_second"]["median"]),
    ]
    settings = record["settings"]
    notes = [
        f"ms: one image at batch 1, median of {settings['rounds']} rounds' medians over {settings['images']} images; "
        "least and most of the rounds",
        "x first: ms to those of the first row, within each round; a network's rows and the first ran in turns",
        f"images/s: batches of {settings['batch_size']}, median of the rounds; LiteRT takes one image after the other",
        *_machine_notes(record),
    ]
    return _table("Time of one image", "network", "model", columns, record["rows"], notes)


def _folder(record):
    columns = [
        ("threads", None, lambda row: "TensorFlow's" if row["threads"] is None else str(row["threads"])),
        *_spread("faces_per_second", 1, "faces/s"),
        *_spread("ratio", 2, "x loop"),
        ("px apart", 2, lambda row: row["difference"]["median"]),
        ("at most", 2, lambda row: row["difference"]["largest"]),
    ]
    settings, faces = record["settings"], record["faces"]
    notes = [
        f"{faces['n']} {_rendered(faces)}{faces['split']} faces of {faces['dataset']}, each a JPEG file of "
        f"{faces['side']} px with its box; reading and cutting included",
        f"median, least and most of {settings['rounds']} rounds in turns, each way in a process of its own, after a "
        "round to warm up",
        "x loop: faces a second to those of the first row, within each round",
        "px apart: distances of the points from those of the first row, in pixels of the files: median and largest",
        *_machine_notes(record),
    ]
    title = f"{record['model']}: faces of a folder"
    return _table(title, "way", "way", columns, record["rows"], notes)


def _table(title, heading, label, columns, records, notes):
    """A `Table` with a row for each record, whose key ``label`` is the first cell; the other columns are (heading,
    decimals or None for words, function of a record)."""
    shown = tuple(Column(str(i), head, digits or 0, digits is None) for i, (head, digits, _) in enumerate(columns))
    rows = tuple(Row(one[label], {str(i): value(one) for i, (*_, value) in enumerate(columns)}) for one in records)
    return Table(title, shown, rows, tuple(notes), heading)


def _spread(key, digits, heading):
    """The three columns of a `kdloss.deploy.timing.spread`."""
    headings = {"median": heading, "low": "least", "high": "most"}
    return [(text, digits, lambda row, end=end: row[key][end]) for end, text in headings.items()]


def _runtime_title(row):
    return RUNTIMES[row["runtime"]].title


def _rendered(facts):
    return "rendered " if facts["synthetic"] else ""


def _machine_notes(record):
    """The machine of a record, as notes of its last table."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in record["runtimes"].items())
    notes = [f"{machine['processor'] or machine['platform']}, {machine['cores']} cores; {versions}"]
    if machine.get("accelerators"):
        notes.append(f"Keras ran on {', '.join(machine['accelerators'])}: CUDA_VISIBLE_DEVICES=-1 keeps it on the CPU")
    return notes


def _look(number):
    return {"color": PALETTE[number % len(PALETTE)], "linestyle": STYLES[number % len(STYLES)]}


def _marker(runtime, colour):
    """16-bit files compute as 32-bit ones do, so their markers are larger and hollow: both show where they overlap."""
    look = {"marker": MARKERS[runtime], "color": colour, "markeredgecolor": colour, "markersize": 7}
    return look | {"markersize": 11, "markerfacecolor": "none"} if runtime.endswith("fp16") else look
