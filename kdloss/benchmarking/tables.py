"""The records of ``kdloss.benchmark`` as tables."""

import statistics

from kdloss.benchmarking.runtimes import RUNTIMES
from kdloss.evaluation.table import Column, Row, Table


def inference_tables(record):
    """The tables of a record: the networks, their files, and their times."""
    return [_networks_table(record), _files_table(record), _times_table(record)]


def _networks_table(record):
    columns = (
        Column("size", "image px"),
        Column("points", "points"),
        Column("parameters", "parameters (M)"),
        Column("macs", "MACs (M)", 1),
        Column("weights", "weights", words=True),
    )
    rows = [
        Row(
            model["label"],
            {
                "size": model["image_size"],
                "points": model["points"],
                "parameters": model["parameters"] and model["parameters"] / 1e6,
                "macs": model["macs"] and model["macs"] / 1e6,
                "weights": model["checkpoint"]["sha256"][:8] if model["checkpoint"] else "random",
            },
        )
        for model in record["models"]
    ]
    notes = [
        "MACs: multiply-accumulates of one image in convolutions and dense layers; element-wise work is not counted",
        "weights: the first digits of the checkpoint's SHA-256",
    ]
    if not all(model["checkpoint"] for model in record["models"]):
        notes.append("random weights: good for costs, not for landmarks")
    return Table("Networks", columns, tuple(rows), tuple(notes), "network")


def _files_table(record):
    settings = record["settings"]
    columns = [Column("runtime", "runtime", words=True), Column("megabytes", "file MB")]
    notes = []
    if settings["processes"]:
        columns += [Column("peak", "peak MB", 0), Column("above", "above the runtime", 0)]
        notes += [
            f"peak MB: of a process that opens the file and runs 3 images on one thread (median of "
            f"{settings['processes']})",
            "above the runtime: the same without what importing the runtime took",
        ]
    measured = [file["accuracy"] for file in record["files"] if file["accuracy"]]
    if measured:
        protocol = measured[0]["protocol"]
        columns.append(Column("nme", "NME %"))
        made = "rendered " if protocol["synthetic"] else ""
        notes.append(
            f"NME: {protocol['dataset']}, {protocol['n']} {made}{protocol['split']} faces, {protocol['normaliser']}, "
            "each network in its own box"
        )
    whole = any(RUNTIMES[file["runtime"]].whole_numbers for file in record["files"])
    if whole and not all(model["checkpoint"] for model in record["models"]):
        notes.append("int8 of random weights: scales from patterns of noise, good for time and size alone")
    if whole and not settings["dataset"] and any(model["checkpoint"] for model in record["models"]):
        notes.append("int8 without --dataset: scales from patterns of noise, good for time and size, not for landmarks")
    rows = [
        Row(
            file["model"],
            {
                "runtime": RUNTIMES[file["runtime"]].title,
                "megabytes": file["megabytes"],
                "peak": file["memory"] and statistics.median(file["memory"]["peak"]),
                "above": file["memory"] and statistics.median(file["memory"]["above_runtime"]),
                "nme": file["accuracy"] and file["accuracy"]["nme"],
            },
        )
        for file in record["files"]
    ]
    return Table("Files", tuple(columns), tuple(rows), tuple(notes), "network")


def _times_table(record):
    columns = (
        Column("runtime", "runtime", words=True),
        Column("threads", "threads"),
        Column("ms", "ms"),
        Column("low", "least"),
        Column("high", "most"),
        Column("ratio", "x first", 3),
        Column("rate", "images/s", 1),
    )
    rows = [
        Row(
            row["model"],
            {
                "runtime": RUNTIMES[row["runtime"]].title,
                "threads": row["threads"],
                "ms": row["ms"]["median"],
                "low": row["ms"]["low"],
                "high": row["ms"]["high"],
                "ratio": row["ratio"]["median"],
                "rate": row["images_per_second"]["median"],
            },
        )
        for row in record["rows"]
    ]
    settings = record["settings"]
    notes = [
        f"ms: one image at batch 1, median of {settings['rounds']} rounds' medians over {settings['images']} images; "
        "least and most of the rounds",
        "x first: ms to those of the first row, within each round; a network's rows and the first ran in turns",
        f"images/s: batches of {settings['batch_size']}, median of the rounds; LiteRT takes one image after the other",
        *machine_notes(record),
    ]
    return Table("Time of one image", columns, tuple(rows), tuple(notes), "network")


def folder_table(record):
    """The table of a record of ``kdloss.benchmark predict``."""
    columns = (
        Column("threads", "threads", words=True),
        Column("rate", "faces/s", 1),
        Column("low", "least", 1),
        Column("high", "most", 1),
        Column("ratio", "x loop"),
        Column("ratio_low", "least"),
        Column("ratio_high", "most"),
        Column("median_pixels", "px apart"),
        Column("largest_pixels", "at most"),
    )
    rows = [
        Row(
            row["way"],
            {
                "threads": "TensorFlow's" if row["threads"] is None else str(row["threads"]),
                "rate": row["faces_per_second"]["median"],
                "low": row["faces_per_second"]["low"],
                "high": row["faces_per_second"]["high"],
                "ratio": row["ratio"]["median"],
                "ratio_low": row["ratio"]["low"],
                "ratio_high": row["ratio"]["high"],
                "median_pixels": row["difference"]["median"],
                "largest_pixels": row["difference"]["largest"],
            },
        )
        for row in record["rows"]
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
        *machine_notes(record),
    ]
    return Table(f"{record['model']}: faces of a folder", columns, tuple(rows), tuple(notes), "way")


def machine_notes(record):
    """Where a record was made, for the notes of its last table."""
    machine = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in record["runtimes"].items())
    notes = [f"{machine['processor'] or machine['platform']}, {machine['cores']} cores; {versions}"]
    if machine.get("accelerators"):
        notes.append(f"Keras ran on {', '.join(machine['accelerators'])}: CUDA_VISIBLE_DEVICES=-1 keeps it on the CPU")
    return notes
