"""A record of ``kdloss.benchmark inference`` as tables."""

from kdloss.benchmarking.runtimes import RUNTIMES
from kdloss.evaluation.table import Column, Row, Table


def inference_tables(record):
    """The two tables of a record: the networks, and their times."""
    return [_networks_table(record), _times_table(record)]


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
                "parameters": model["parameters"] / 1e6,
                "macs": model["macs"] / 1e6,
                "weights": model["checkpoint"]["path"] if model["checkpoint"] else "random",
            },
        )
        for model in record["models"]
    ]
    notes = [
        "MACs: multiply-accumulates of one image in convolutions and dense layers; element-wise work is not counted"
    ]
    if not all(model["checkpoint"] for model in record["models"]):
        notes.append("random weights: good for costs, not for landmarks")
    return Table("Networks", columns, tuple(rows), tuple(notes), "network")


def _times_table(record):
    columns = (
        Column("runtime", "runtime", words=True),
        Column("threads", "threads"),
        Column("megabytes", "file MB"),
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
                "megabytes": row["megabytes"],
                "ms": row["ms"]["median"],
                "low": row["ms"]["low"],
                "high": row["ms"]["high"],
                "ratio": row["ratio"]["median"],
                "rate": row["images_per_second"] and row["images_per_second"]["median"],
            },
        )
        for row in record["rows"]
    ]
    settings, machine = record["settings"], record["machine"]
    notes = [
        f"ms: one image at batch 1, median of {settings['rounds']} rounds' medians over {settings['images']} images; "
        f"least and most of the rounds",
        "x first: ms to those of the first row, within each round; all rows ran in turns",
        f"images/s: batches of {settings['batch_size']}, median of the rounds",
        f"{machine['processor'] or machine['platform']}, {machine['cores']} cores; "
        + ", ".join(f"{name} {version}" for name, version in record["runtimes"].items()),
    ]
    if machine["accelerators"]:
        notes.append(f"Keras ran on {', '.join(machine['accelerators'])}: CUDA_VISIBLE_DEVICES=-1 keeps it on the CPU")
    return Table("Time of one image", columns, tuple(rows), tuple(notes), "network")
