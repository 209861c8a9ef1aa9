"""One table model and two of its forms: text for the terminal, JSON for documents. Reports show it as HTML."""

from dataclasses import dataclass, field

from tabulate import SEPARATING_LINE, tabulate

ABSENT = "-"


@dataclass(frozen=True)
class Column:
    """One column: its key in `Row.cells`, its heading, the decimals of its numbers, and whether it holds words."""

    key: str
    label: str
    digits: int = 2
    words: bool = False


@dataclass(frozen=True)
class Row:
    """One row.

    Args:
        label: what the row is about.
        cells: column key -> number, text, or None (not measured).
        kind: rows of one kind stand together: ``measured``, ``baseline``, ``published``.
        marks: column key -> a sign after the value that a note of the table explains.
    """

    label: str
    cells: dict
    kind: str = "measured"
    marks: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Rows times columns, with a title and notes."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    heading: str = "method"


def text_table(table):
    """The table for a terminal: aligned columns, a rule between kinds of rows, notes below."""
    shown, lines = json_table(table), []
    for row, cells, before in zip(table.rows, shown["rows"], (None, *table.rows), strict=False):
        lines += [SEPARATING_LINE] if before is not None and before.kind != row.kind else []
        lines.append(cells)
    sides = ["left", *("left" if column.words else "right" for column in table.columns)]
    text = tabulate(lines, shown["columns"], tablefmt="simple", colalign=sides, disable_numparse=True)
    return "\n".join([table.title, "", text, "", *(f"  {note}" for note in table.notes)]).rstrip()


def json_table(table):
    """The table as a dict for the JSON that ``tools/tables.py`` puts into documents."""
    header = [table.heading, *(column.label for column in table.columns)]
    body = [[row.label, *(cell_text(row, column) for column in table.columns)] for row in table.rows]
    return {"title": table.title, "columns": header, "rows": body, "notes": list(table.notes)}


def cell_text(row, column):
    """What a table shows of a `Row` in a `Column`."""
    value = row.cells.get(column.key)
    if value is None:
        return ABSENT
    text = f"{value:.{column.digits}f}" if isinstance(value, float) else str(value)
    return text + row.marks.get(column.key, "")
