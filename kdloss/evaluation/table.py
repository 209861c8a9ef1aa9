"""One table model and its three forms: text for the terminal, HTML for reports, JSON for documents."""

import html
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
    header, body = _cells(table)
    lines = []
    for row, cells, before in zip(table.rows, body, (None, *table.rows), strict=False):
        lines += [SEPARATING_LINE] if before is not None and before.kind != row.kind else []
        lines.append(cells)
    sides = ["left", *("left" if column.words else "right" for column in table.columns)]
    text = tabulate(lines, header, tablefmt="simple", colalign=sides, disable_numparse=True)
    return "\n".join([table.title, "", text, "", *(f"  {note}" for note in table.notes)]).rstrip()


def html_table(table):
    """The table as a fragment of HTML (no style of its own); rows carry their kind as a class."""
    header, body = _cells(table)
    kinds = [' class="words"' if column.words else "" for column in table.columns]
    head = "".join(
        f'<th scope="col"{kind}>{html.escape(cell)}</th>' for kind, cell in zip(["", *kinds], header, strict=True)
    )
    lines = []
    for row, (label, *cells) in zip(table.rows, body, strict=True):
        values = "".join(f"<td{kind}>{html.escape(cell)}</td>" for kind, cell in zip(kinds, cells, strict=True))
        lines.append(f'<tr class="{html.escape(row.kind)}"><th scope="row">{html.escape(label)}</th>{values}</tr>')
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    return (
        f'<div class="scroll"><table><caption>{html.escape(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


def json_table(table):
    """The table as a dict for the JSON that ``tools/tables.py`` puts into documents."""
    header, body = _cells(table)
    return {"title": table.title, "columns": header, "rows": body, "notes": list(table.notes)}


def _cells(table):
    """Heading and body as text."""
    header = [table.heading, *(column.label for column in table.columns)]
    body = [[row.label, *(_cell(row, column) for column in table.columns)] for row in table.rows]
    return header, body


def _cell(row, column):
    value = row.cells.get(column.key)
    if value is None:
        return ABSENT
    text = f"{value:.{column.digits}f}" if isinstance(value, float) else str(value)
    return text + row.marks.get(column.key, "")
