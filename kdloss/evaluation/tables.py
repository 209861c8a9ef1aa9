"""One table model and its three faces: text for the terminal, Markdown for documents, HTML for reports."""

import html
from dataclasses import dataclass, field

from kdloss.datasets import dataset_spec
from kdloss.evaluation.published import published_results

ABSENT = "-"
CERTAINTY = {"F": "read in the authors' figures, code or logs", "C": "as cited by others"}


@dataclass(frozen=True)
class Column:
    """One column: its key in `Row.cells`, its heading, and the decimals of its numbers."""

    key: str
    label: str
    digits: int = 2


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


@dataclass(frozen=True)
class Result:
    """One measured model, for `results_table`.

    Args:
        label: its name in the table.
        metrics: what `evaluate_points` returned.
        kind: ``measured`` or ``baseline``.
        extra: heading -> value of further columns (teacher, warm start, training time, ...).
    """

    label: str
    metrics: dict
    kind: str = "measured"
    extra: dict = field(default_factory=dict)


def results_table(results, *, published=True):
    """The main table: NME of each subset, the other normalisers, FR, AUC, and the protocol of every row.

    Args:
        results: `Result`\\ s of one data set and split.
        published: put the papers' rows beside them.

    Returns:
        A `Table`. A value of a partial set is marked ``*``; notes say what is absent, partial or rendered.
    """
    first = results[0].metrics
    spec, protocol = dataset_spec(first["dataset"]), first["protocol"]
    normaliser = protocol["normaliser"]
    columns = [Column(f"nme_{name}", name) for name in first["subsets"]]
    if normaliser != "box":
        columns += [Column("pupil", "full (pupil)"), Column("box_nme", "full (box)")]
    columns += [Column("fr10", "FR10"), Column("fr08", "FR8")]
    columns += [Column("auc10", "AUC10", 3), Column("auc08", "AUC8", 3)]
    columns += [Column("n", "faces"), Column("crop", "crop"), Column("origin", "images")]
    extra = dict.fromkeys(key for result in results for key in result.extra)
    columns += [Column(f"extra_{key}", key) for key in extra]
    rows = [_measured_row(result, normaliser) for result in results]
    notes = list(dict.fromkeys(note for result in results for note in result.metrics["notes"]))
    if any(row.marks for row in rows):
        notes.append("* of a partial set, not comparable with numbers of the whole one")
    notes.append(
        f"NME and FR in percent, normalised by {normaliser} unless the column says otherwise; FR and AUC of the full "
        "set; occluded points count; no mirror test"
    )
    if published and protocol["split"] == "test":
        papers = published_results(spec.name)
        rows += [_published_row(result, spec) for result in papers]
        notes += _published_notes(papers)
    faces = "SYNTHETIC faces" if protocol["synthetic"] else "real faces"
    return Table(
        f"{spec.title}, {protocol['split']} split, {faces}: NME by subset, FR and AUC",
        tuple(columns),
        tuple(rows),
        tuple(notes),
    )


def parts_table(results):
    """NME of each facial part, over the full set, in percent of the protocol's normaliser."""
    protocol = results[0].metrics["protocol"]
    columns = tuple(Column(part, part) for part in results[0].metrics["parts"])
    rows = tuple(Row(result.label, result.metrics["parts"], result.kind) for result in results)
    title = f"NME by part, {protocol['split']} split, normalised by {protocol['normaliser']}"
    return Table(title, columns, rows)


def _measured_row(result, normaliser):
    subsets, protocol = result.metrics["subsets"], result.metrics["protocol"]
    full = subsets["full"]
    cells = {f"nme_{name}": values[f"nme_{normaliser}"] for name, values in subsets.items()}
    cells |= {"pupil": full["nme_interpupil"], "box_nme": full["nme_box"]}
    cells |= {key: full[key] for key in ("fr10", "fr08", "auc10", "auc08")}
    cells |= {"crop": protocol["box"], "origin": "synthetic" if protocol["synthetic"] else "real"}
    cells["n"] = str(full["n"])
    marks = {}
    if not protocol["synthetic"]:
        partial = {name for name, values in subsets.items() if values["complete"] is False and values["n"]}
        marks = {f"nme_{name}": "*" for name in partial}
        if "full" in partial:
            cells["n"] = f"{full['n']}/{full['official_n']}"
            marks |= dict.fromkeys(("pupil", "box_nme", "fr10", "fr08", "auc10", "auc08", "n"), "*")
    cells |= {f"extra_{key}": value for key, value in result.extra.items()}
    return Row(result.label, cells, result.kind, marks)


def _published_row(result, spec):
    cells = {f"nme_{name}": value for name, value in result.interocular.items()}
    cells |= {"pupil": result.interpupil.get("full"), "fr10": result.fr10, "n": str(spec.official("test"))}
    return Row(result.method, cells | {"crop": result.box, "origin": "real"}, "published")


def _published_notes(papers):
    notes = [f"{result.method}: {result.note}" for result in papers if result.note]
    sources = dict.fromkeys((result.source, result.certainty) for result in papers)
    return notes + [f"published rows: {source} ({CERTAINTY[certainty]})" for source, certainty in sources]


def text_table(table):
    """The table for a terminal: aligned columns, a rule between kinds of rows, notes below."""
    header, body = _cells(table)
    widths = [max(map(len, column)) for column in zip(header, *body, strict=True)]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    lines = [table.title, rule, _text_line(header, widths), rule]
    for row, cells, before in zip(table.rows, body, (None, *table.rows), strict=False):
        if before is not None and before.kind != row.kind:
            lines.append(rule)
        lines.append(_text_line(cells, widths))
    return "\n".join([*lines, rule, *(f"  {note}" for note in table.notes)])


def _text_line(cells, widths):
    first, *rest = (
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def markdown_table(table):
    """The table in Markdown, its notes as a list below."""
    header, body = _cells(table)
    rows = [header, ["---"] + ["---:"] * len(table.columns), *body]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    notes = ["", *(f"- {note}".replace("- *", "- \\*") for note in table.notes)] if table.notes else []
    return "\n".join([*lines, *notes])


def html_table(table):
    """The table as a fragment of HTML (no style of its own); rows carry their kind as a class."""
    header, body = _cells(table)
    head = "".join(f'<th scope="col">{html.escape(cell)}</th>' for cell in header)
    lines = []
    for row, (label, *cells) in zip(table.rows, body, strict=True):
        values = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr class="{html.escape(row.kind)}"><th scope="row">{html.escape(label)}</th>{values}</tr>')
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in table.notes)
    return (
        f'<div class="scroll"><table><caption>{html.escape(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


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
