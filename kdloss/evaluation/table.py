"""One table model and its three faces: text for the terminal, Markdown for documents, HTML for reports."""

import html
from dataclasses import dataclass, field

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
        kind: rows of one kind stand together: ``measured``, ``baseline``, ``reference``, ``published``.
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
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lefts = [True, *(column.words for column in table.columns)]
    lines = [table.title, rule, _text_line(header, widths, lefts), rule]
    for row, cells, before in zip(table.rows, body, (None, *table.rows), strict=False):
        if before is not None and before.kind != row.kind:
            lines.append(rule)
        lines.append(_text_line(cells, widths, lefts))
    return "\n".join([*lines, rule, *(f"  {note}" for note in table.notes)])


def _text_line(cells, widths, lefts):
    return "  ".join(
        cell.ljust(width) if left else cell.rjust(width) for cell, width, left in zip(cells, widths, lefts, strict=True)
    ).rstrip()


def markdown_table(table):
    """The table in Markdown, its notes as a list below."""
    header, body = _cells(table)
    rules = ["---" if column.words else "---:" for column in table.columns]
    rows = [header, ["---", *rules], *body]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    notes = ["", *(f"- {note}".replace("- *", "- \\*") for note in table.notes)] if table.notes else []
    return "\n".join([*lines, *notes])


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
