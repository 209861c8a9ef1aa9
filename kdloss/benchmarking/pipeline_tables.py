"""The record of ``kdloss.benchmark pipeline`` as tables."""

from kdloss.benchmarking.tables import machine_notes
from kdloss.evaluation.table import Column, Row, Table

RATES = (Column("rate", "views/s", 0), Column("low", "least", 0), Column("high", "most", 0))


def pipeline_tables(record):
    """The tables of a record: the stages of a view, batches of views, and, if measured, a larger set."""
    tables = [_stages_table(record), _batches_table(record)]
    if record["settings"]["times"] > 1:
        tables.append(_larger_table(record))
    *others, last = tables
    return [*others, Table(last.title, last.columns, last.rows, (*last.notes, *machine_notes(record)), last.heading)]


def _rows(record, *groups):
    return [row for row in record["rows"] if row["group"] in groups]


def _rates(row):
    rate = row["views_per_second"]
    return {"rate": rate["median"], "low": rate["low"], "high": rate["high"]}


def _ratios(row):
    ratio = row["ratio"] or {}
    return {"ratio": ratio.get("median"), "ratio_low": ratio.get("low"), "ratio_high": ratio.get("high")}


def _threads(row):
    return "training's" if row["threads"] is None else str(row["threads"])


def _stages_table(record):
    columns = (*RATES, Column("microseconds", "µs a view", 1))
    rows = [
        Row(row["what"], _rates(row) | {"microseconds": 1e6 / row["views_per_second"]["median"]})
        for row in _rows(record, "alone")
    ]
    settings, faces = record["settings"], record["faces"]
    made = "rendered " if faces["synthetic"] else ""
    notes = (
        f"views of {settings['image_size']} px, --augment {settings['augment']}, of {faces['n']} {made}training faces "
        f"of {faces['dataset']}, stored at {faces['side']} px; one thread",
        f"median, least and most of {settings['rounds']} rounds of {settings['views']} views in turns, after a round "
        "to warm up",
        "faces are stored as pixels, so nothing is decoded; views are drawn into their batch, so nothing is stacked",
        "augment, alone: of all views, as many of which vary as --augment says",
    )
    return Table("Stages of a view", columns, tuple(rows), notes, "stage")


def _batches_table(record):
    columns = (
        Column("threads", "threads", words=True),
        *RATES,
        Column("ratio", "x training"),
        Column("ratio_low", "least"),
        Column("ratio_high", "most"),
    )
    rows = [
        Row(row["what"], {"threads": _threads(row)} | _rates(row) | _ratios(row))
        for row in _rows(record, "together", "training")
    ]
    settings = record["settings"]
    notes = [f"batches of {settings['batch_size']}, all stages; threads: those that draw"]
    if settings["steps"]:
        notes.append(
            f"x training: to what the training of {settings['arch']} takes in the same round, fed with one batch in "
            "memory"
        )
    return Table(f"Batches of views ({record['backend']})", columns, tuple(rows), tuple(notes), "way")


def _larger_table(record):
    times = record["settings"]["times"]
    columns = (
        Column("threads", "threads", words=True),
        *RATES,
        Column("ratio", "x the set", 3),
        Column("ratio_low", "least", 3),
        Column("ratio_high", "most", 3),
    )
    rows = [
        Row(row["what"], {"threads": _threads(row)} | _rates(row) | _ratios(row)) for row in _rows(record, "larger")
    ]
    notes = ("x the set: to the set as it is, within each round",)
    return Table(f"{times} times the faces", columns, tuple(rows), notes, "way")
