"""Tables of recorded results inside Markdown files: blocks that a command writes and continuous integration compares.

A block stands between two lines, ``<!-- results: NAME -->`` and ``<!-- end of results -->``; NAME is one of the tables
that ``results.yml`` declares, or a JSON file, by its path from the document, that a command wrote with ``--json``.
"""

import dataclasses
import re
from pathlib import Path

from asm.atomic import write_whole
from kdloss.errors import DataError
from kdloss.evaluation.record_files import SUFFIX, record_tables
from kdloss.evaluation.recorded import MeasuredDifference, MeasuredQuantity, MeasuredResult, PublishedResult
from kdloss.evaluation.tables import Column, Row, Table, markdown_table, published_table, recorded_result, results_table

BEGIN = re.compile(r"<!-- results: (\S+) -->\s*")
END = "<!-- end of results -->"
SHOWN = ("network", "px", "epochs", "training faces", "ms", "MB", "date")


def recorded_table(recorded, name):
    """The `Table` of that name that a `Recorded` declares.

    Raises:
        DataError: no such table, a row that is not recorded, or rows and columns that do not fit together.
    """
    where = f"{recorded.path}: tables: {name}"
    if name not in recorded.tables:
        raise DataError(f"{where}: no such table: expected one of {', '.join(recorded.tables) or 'none'}")
    spec = recorded.tables[name]
    entries = (*recorded.published, *recorded.measured, *recorded.differences, *recorded.quantities)
    known = {entry.id: entry for entry in entries}
    for row in spec.rows:
        if row not in known:
            raise DataError(
                f"{where}: row {row} is not recorded: measure it and run python -m kdloss.results add FOLDER --id "
                f"{row}, or take it out of the table"
            )
    rows = [known[row] for row in spec.rows]
    kinds = {type(row) for row in rows}
    if len(kinds) > 1 and kinds & {MeasuredDifference, MeasuredQuantity}:
        raise DataError(
            f"{where}: rows of results, of differences or of quantities mixed: give each a table of its own"
        )
    if kinds & {MeasuredDifference, MeasuredQuantity} and spec.columns:
        raise DataError(f"{where}: columns: differences and quantities have columns of their own: take them out")
    for row, entry in zip(rows, _measured_or_published(rows, known), strict=True):
        if entry and entry.dataset != spec.dataset:
            raise DataError(f"{where}: row {row.id} is of {entry.dataset}, expected rows of {spec.dataset}")
    measured = [entry for entry in _measured_or_published(rows, known) if isinstance(entry, MeasuredResult)]
    if len({(entry.split, entry.synthetic) for entry in measured}) > 1:
        raise DataError(f"{where}: rows of several splits, or of real and rendered faces: give each a table of its own")
    if kinds == {MeasuredDifference}:
        return _differences_table(spec, rows, known)
    if kinds == {MeasuredQuantity}:
        return quantities_table(rows, known, spec.title)
    papers = [row for row in rows if isinstance(row, PublishedResult)]
    if not measured:
        return published_table(papers, spec.title)
    try:
        table = results_table(
            list(map(recorded_result, measured)), published=papers, columns=spec.columns or None, title=spec.title
        )
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    return _with_contents(table, measured)


def _measured_or_published(rows, known):
    """Of each row the result whose data set it shares: itself, or the one it belongs to; None where there is none."""
    for row in rows:
        if isinstance(row, MeasuredDifference):
            yield known[row.model]
        elif isinstance(row, MeasuredQuantity):
            yield known[row.of] if row.of else None
        else:
            yield row


def dataset_tables(recorded, dataset):
    """All results that a `Recorded` holds of a data set: a list of `Table`.

    Real and rendered faces and each split stand apart, and so do quantities of its measured results.
    """
    papers = [paper for paper in recorded.published if paper.dataset == dataset]
    groups = {}
    for entry in recorded.measured:
        if entry.dataset == dataset:
            result = recorded_result(entry)
            shown = dataclasses.replace(result, extra={name: result.extra[name] for name in SHOWN})
            groups.setdefault((entry.synthetic, entry.split), []).append((entry, shown))
    beside, tables = (False, "test"), []
    if papers and beside not in groups:
        tables.append(published_table(papers))
    for key, members in groups.items():
        entries, results = zip(*members, strict=True)
        table = results_table(results, published=papers if key == beside else False)
        tables.append(_with_contents(table, entries))
        known = {entry.id: entry for entry in entries}
        if quantities := [quantity for quantity in recorded.quantities if quantity.of in known]:
            title = f"{table.title.split(':')[0]}: other quantities"
            tables.append(quantities_table(quantities, known, title))
    return tables


def quantities_table(quantities, known, title):
    """`MeasuredQuantity`\\ s, one a row.

    Args:
        quantities: the rows.
        known: id -> `MeasuredResult`, those at least that the rows belong to.
        title: of the table.

    Returns:
        A `Table`; its notes say on which machine each was measured.
    """
    rows, notes, machines = [], {}, {}
    for entry in quantities:
        of = known[entry.of] if entry.of else None
        label = None if of is None else f"{of.label} (SYNTHETIC faces)" if of.synthetic else of.label
        cells = {
            "of": label,
            "value": f"{_number(entry.value)} {entry.unit}",
            "spread": None if entry.low is None else f"{_number(entry.low)} to {_number(entry.high)}",
            "n": entry.n,
            "date": str(entry.date),
            "command": entry.command,
        }
        rows.append(Row(entry.what, cells))
        if entry.note:
            notes[f"{entry.what} ({label}): {entry.note}" if label else f"{entry.what}: {entry.note}"] = None
        machine = f"{entry.machine}, {'no accelerator' if entry.accelerator == 'none' else entry.accelerator}"
        machines.setdefault(machine, []).append(f"{entry.what} ({label})" if label else entry.what)
    for machine, measured in machines.items():
        notes[f"measured on {machine}" + (f": {'; '.join(measured)}" if len(machines) > 1 else "")] = None
    words, heads = ("of", "command"), ("of", "value", "spread", "n", "date", "command")
    columns = tuple(Column(name, name, words=name in words) for name in heads)
    return Table(title, columns, tuple(rows), tuple(notes), heading="what")


def _number(value):
    """Two decimals, or three digits of what is below 1."""
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3g}"


def _with_contents(table, measured):
    """The table, with a note where its rows were measured on different prepared faces."""
    contents = dict.fromkeys(entry.protocol["content"] for entry in measured)
    if len(contents) < 2:
        return table
    note = f"measured on prepared faces with different content hashes: {', '.join(contents)}"
    return dataclasses.replace(table, notes=(*table.notes, note))


def check_blocks(path, recorded):
    """The names of the blocks of a Markdown file whose text is not what it would be now."""
    _, blocks = _regenerated(path, recorded)
    return [name for name, fresh in blocks.items() if not fresh]


def write_blocks(path, recorded):
    """Writes the blocks of a Markdown file anew, all or none.

    Returns:
        The names of those that changed.
    """
    text, blocks = _regenerated(path, recorded)
    stale = [name for name, fresh in blocks.items() if not fresh]
    if stale:
        write_whole(Path(path).resolve(), text)
    return stale


def block_names(path):
    """The names of the blocks of a Markdown file, in order."""
    return [name for name, _, _ in _blocks(_lines(path), path)]


def _regenerated(path, recorded):
    """The whole text with its blocks as they should be, and block name -> whether it was so already."""
    lines = _lines(path)
    text, blocks, done = [], {}, 0
    for name, begin, end in _blocks(lines, path):
        beside = name.endswith(SUFFIX)
        tables = record_tables(Path(path).parent / name) if beside else [recorded_table(recorded, name)]
        block = [line for table in tables for line in ("", table.title, "", *markdown_table(table).split("\n"))] + [""]
        blocks[name] = lines[begin + 1 : end] == block
        text += [*lines[done : begin + 1], *block]
        done = end
    return "\n".join([*text, *lines[done:]]), blocks


def _lines(path):
    try:
        return Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise DataError(f"{path}: cannot be read ({reason}): expected a Markdown file") from error


def _blocks(lines, path):
    """``(name, line of the beginning, line of the end)`` of each block."""
    found, name, begin = [], None, None
    for number, line in enumerate(lines):
        starts = BEGIN.fullmatch(line)
        if starts and name:
            raise DataError(f"{path}: line {number + 1}: {line.strip()} inside of block {name}: expected {END} first")
        if starts:
            name, begin = starts[1], number
        elif line.strip() == END:
            if not name:
                raise DataError(f"{path}: line {number + 1}: {END} ends nothing: expected <!-- results: NAME --> first")
            if name in [other for other, _, _ in found]:
                raise DataError(f"{path}: line {begin + 1}: block {name} stands twice: expected it once in a file")
            found.append((name, begin, number))
            name = None
    if name:
        raise DataError(f"{path}: line {begin + 1}: block {name} has no end: expected a line {END}")
    return found


def _differences_table(spec, differences, known):
    rows = []
    for entry in differences:
        cells = {
            "against": known[entry.against].label,
            "difference": f"{entry.difference:+.3f}",
            "interval": f"[{entry.low:+.3f}, {entry.high:+.3f}]",
            "zero": "outside" if entry.low * entry.high > 0 else "inside",
        }
        rows.append(Row(known[entry.model].label, cells))
    columns = (
        Column("against", "against", words=True),
        Column("difference", "NME points"),
        Column("interval", "interval"),
        Column("zero", "zero is"),
    )
    methods = tuple(dict.fromkeys(f"{entry.method}, {entry.date}" for entry in differences))
    return Table(spec.title, columns, tuple(rows), methods, heading="model")
