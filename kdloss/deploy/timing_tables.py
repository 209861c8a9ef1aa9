"""The records of ``kdloss.benchmark`` as tables."""

import statistics
from operator import itemgetter

from kdloss.deploy.runtimes import RUNTIMES
from kdloss.evaluation.tables import Column, Row, Table


def _table(title, heading, label, columns, records, notes):
    """A `Table` with a row for each record, of which ``label`` is the key of the first cell.

    Columns are ``(heading, decimals or None for words, function of a record)``.
    """
    made = tuple(Column(str(i), head, digits or 0, digits is None) for i, (head, digits, _) in enumerate(columns))
    rows = tuple(Row(one[label], {str(i): value(one) for i, (*_, value) in enumerate(columns)}) for one in records)
    return Table(title, made, rows, tuple(notes), heading)


def _spread(key, digits, head):
    """The three columns of a `kdloss.deploy.timing.spread`."""
    titles = {"median": head, "low": "least", "high": "most"}
    return [(title, digits, lambda row, end=end: row[key][end]) for end, title in titles.items()]


def inference_tables(record):
    """``networks``, ``files`` and ``times`` of a record: a dict of `Table`."""
    return {"networks": _networks(record), "files": _files(record), "times": _times(record)}


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
    settings, models, files = record["settings"], record["models"], record["files"]
    columns = [("runtime", None, _title), ("file MB", 2, itemgetter("megabytes"))]
    notes = []
    if number := settings["processes"]:
        columns += [
            ("peak MB", 0, lambda file: statistics.median(file["memory"]["peak"])),
            ("above the runtime", 0, lambda file: statistics.median(file["memory"]["above_runtime"])),
        ]
        notes += [
            f"peak MB: of a process that opens the file and runs 3 images on one thread (median of {number})",
            "above the runtime: the same without what importing the runtime took",
        ]
    measured = [file["accuracy"] for file in files if file["accuracy"]]
    if measured:
        protocol = measured[0]["protocol"]
        columns.append(("NME %", 2, lambda file: file["accuracy"] and file["accuracy"]["nme"]))
        made = "rendered " if protocol["synthetic"] else ""
        notes.append(
            f"NME: {protocol['dataset']}, {protocol['n']} {made}{protocol['split']} faces, {protocol['normaliser']}, "
            "each network in its own box"
        )
    whole = any(RUNTIMES[file["runtime"]].precision == "int8" for file in files)
    if whole and not all(model["checkpoint"] for model in models):
        notes.append("int8 of random weights: scales from patterns of noise, good for time and size alone")
    if whole and not settings["dataset"] and any(model["checkpoint"] for model in models):
        notes.append("int8 without --dataset: scales from patterns of noise, good for time and size, not for landmarks")
    return _table("Files", "network", "model", columns, files, notes)


def _title(row):
    return RUNTIMES[row["runtime"]].title


def _times(record):
    columns = [
        ("runtime", None, _title),
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


def folder_tables(record):
    """``folder`` of a record of ``kdloss.benchmark predict``: a dict of one `Table`."""
    columns = [
        ("threads", None, lambda row: "TensorFlow's" if row["threads"] is None else str(row["threads"])),
        *_spread("faces_per_second", 1, "faces/s"),
        *_spread("ratio", 2, "x loop"),
        ("px apart", 2, lambda row: row["difference"]["median"]),
        ("at most", 2, lambda row: row["difference"]["largest"]),
    ]
    settings, faces = record["settings"], record["faces"]
    made = "rendered " if faces["synthetic"] else ""
    notes = [
        f"{faces['n']} {made}{faces['split']} faces of {faces['dataset']}, each a JPEG file of {faces['side']} px with "
        "its box; reading and cutting included",
        f"median, least and most of {settings['rounds']} rounds in turns, each way in a process of its own, after a "
        "round to warm up",
        "x loop: faces a second to those of the first row, within each round",
        "px apart: distances of the points from those of the first row, in pixels of the files: median and largest",
        *_machine_notes(record),
    ]
    title = f"{record['model']}: faces of a folder"
    return {"folder": _table(title, "way", "way", columns, record["rows"], notes)}


def _machine_notes(record):
    """Where a record was made, for the notes of its last table."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in record["runtimes"].items())
    notes = [f"{machine['processor'] or machine['platform']}, {machine['cores']} cores; {versions}"]
    if machine.get("accelerators"):
        notes.append(f"Keras ran on {', '.join(machine['accelerators'])}: CUDA_VISIBLE_DEVICES=-1 keeps it on the CPU")
    return notes
