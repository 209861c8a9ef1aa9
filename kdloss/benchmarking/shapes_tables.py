"""The record of ``kdloss.benchmark shapes`` as a table."""

from kdloss.benchmarking.tables import machine_notes
from kdloss.evaluation.table import Column, Row, Table


def shapes_table(record):
    """The table of a record: a row a step and number of shapes."""
    columns = (
        Column("shapes", "shapes"),
        Column("ms", "ms", 1),
        Column("low", "least", 1),
        Column("high", "most", 1),
        Column("growth", "x per shape"),
        Column("product", "product ms", 1),
        Column("ratio", "x product"),
        Column("ratio_low", "least"),
        Column("ratio_high", "most"),
        Column("megabytes", "MB", 0),
    )
    rows = [
        Row(
            f"{row['step']}, aligned" if row["align"] else row["step"],
            {
                "shapes": row["shapes"],
                "ms": 1000 * row["seconds"]["median"],
                "low": 1000 * row["seconds"]["low"],
                "high": 1000 * row["seconds"]["high"],
                "growth": row["growth"]["median"],
                "product": 1000 * row["product_seconds"]["median"],
                "ratio": row["ratio"]["median"],
                "ratio_low": row["ratio"]["low"],
                "ratio_high": row["ratio"]["high"],
                "megabytes": row["megabytes"],
            },
        )
        for row in record["rows"]
    ]
    settings = record["settings"]
    modes = {row["align"]: row["modes"] for row in record["rows"]}
    notes = [
        f"float64 shapes of {settings['points']} points; {100 * settings['variance']:g} % of the variance, in "
        f"{modes[False]} modes ({modes[True]} aligned)",
        f"median, least and most of {settings['rounds']} rounds in turns, after a round to warm up",
        "x per shape: time a shape, to that of the fewest shapes; 1: time is linear in shapes",
        "product: X'X for a fit, twice for an aligned one (Procrustes); (X E') E of modes E to soften",
        "x product: to it, within each round",
        "MB: the most memory beside the shapes, in a process of its own; softened shapes are new ones",
        *machine_notes(record),
    ]
    return Table("Shape models", columns, tuple(rows), tuple(notes), "step")
