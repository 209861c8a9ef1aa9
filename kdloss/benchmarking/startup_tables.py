"""The record of ``kdloss.benchmark startup`` as a table."""

from kdloss.benchmarking.tables import machine_notes
from kdloss.evaluation.table import Column, Row, Table


def startup_table(record):
    """The table of a record: a row a command."""
    columns = (
        Column("ms", "ms", 0),
        Column("low", "least", 0),
        Column("high", "most", 0),
        Column("above", "above Python", 0),
    )
    rows = [
        Row(
            row["what"],
            {
                "ms": 1000 * row["seconds"]["median"],
                "low": 1000 * row["seconds"]["low"],
                "high": 1000 * row["seconds"]["high"],
                "above": 1000 * row["above_python"]["median"],
            },
        )
        for row in record["rows"]
    ]
    notes = (
        f"median, least and most of {record['settings']['rounds']} rounds in turns, each in a fresh process, after a "
        "round to warm up",
        "above Python: more than the first row, within each round",
        *machine_notes(record),
    )
    return Table("Start-up", columns, tuple(rows), notes, "what")
