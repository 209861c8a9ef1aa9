"""Tables of results, in which each row states the protocol that it was measured under.

`Table` is the one form of tables. `results_table`, `brief_table`, `parts_table` and `points_table` make them from the
dicts of `kdloss.evaluation.protocol.evaluate_points`; `text_table` and `json_table` show them, and
`kdloss.evaluation.html`.
"""

import shutil
import textwrap
from dataclasses import dataclass, field, replace

from tabulate import MIN_PADDING, SEPARATING_LINE, tabulate

from kdloss.data.datasets import dataset_spec
from kdloss.evaluation.published import published_results
from kdloss.names import printable

ABSENT = "-"
PARTIAL = "*"  # after a value of a partial set
PROTOCOL = "protocol"  # heading of the column
LEAST_LABEL, MOST_WIDTH = 22, 100  # characters, of a brief table: its first column at least, all of it at most

# Last word of a column's heading -> which value of a subset it shows, and its decimals.
MEASURES = {
    "(pupil)": ("nme_interpupil", 2),
    "(box)": ("nme_box", 2),
    "FR10": ("fr10", 2),
    "FR8": ("fr08", 2),
    "AUC10": ("auc10", 3),
    "AUC8": ("auc08", 3),
}
SHORT = {"interocular": "ocular", "interpupil": "pupil", "box": "box"}
TEXT_COLUMNS = (PROTOCOL, "network", "start")
LEGEND = (
    "protocol: data set, split and faces; normaliser; crop; thresholds of FR and AUC; mirror test; occluded points; "
    "faces without prediction; hash of the checkpoint"
)


@dataclass(frozen=True)
class Column:
    """One column: its key in `Row.cells`, its heading, the decimals of its numbers, and whether it holds words."""

    key: str
    label: str
    digits: int = 2
    words: bool = False


@dataclass(frozen=True)
class Row:
    """One row, about ``label``."""

    label: str
    cells: dict  # column key -> number, text, or None (not measured)
    kind: str = "measured"  # or "baseline", "published": a rule separates kinds
    marks: dict[str, str] = field(default_factory=dict)  # column key -> a sign after the value, explained in a note


@dataclass(frozen=True)
class Table:
    """Rows and columns, with a title, notes, and a heading for the column of row labels."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    heading: str = "method"


@dataclass(frozen=True)
class Result:
    """One measured model, called ``label``."""

    label: str
    metrics: dict  # what `kdloss.evaluation.protocol.evaluate_points` returned
    kind: str = "measured"  # or "baseline"
    extra: dict = field(default_factory=dict)  # heading -> value of further columns (ms, MB, network, start, ...)


def text_table(table, width=None):
    """The table for a terminal: aligned columns, a rule between kinds of rows, notes below.

    With a ``width``, in characters, the row labels, the title and the notes are broken into lines that fit.
    """
    shown, lines, form = json_table(table), [], {}
    for row, cells, before in zip(table.rows, shown["rows"], (None, *table.rows), strict=False):
        lines += [SEPARATING_LINE] if before is not None and before.kind != row.kind else []
        lines.append(cells)
    sides = ["left", *("left" if column.words else "right" for column in table.columns)]
    if width:
        form = {
            "maxcolwidths": [max(_room(table, width), LEAST_LABEL), *(None for _ in table.columns)],
            "break_on_hyphens": False,
        }
    text = tabulate(lines, shown["columns"], tablefmt="simple", colalign=sides, disable_numparse=True, **form)
    title, *notes = (wrapped(line, width) for line in (table.title, *(f"  {note}" for note in table.notes)))
    return "\n".join([title, "", text, "", *notes]).rstrip()


def wrapped(line, width):
    """A line broken into several of ``width`` characters; the next ones are indented. None: as it is."""
    if not width:
        return line
    return textwrap.fill(line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)


def terminal_width():
    """The characters of a line of the terminal, `MOST_WIDTH` at most; that too where there is no terminal."""
    return min(MOST_WIDTH, shutil.get_terminal_size((MOST_WIDTH, 24)).columns)


def _room(table, width):
    """The characters that the columns of a table leave for the labels of its rows."""
    shown = json_table(table)
    lines = [[f"{heading}{' ' * MIN_PADDING}" for heading in shown["columns"]], *shown["rows"]]
    return width - sum(2 + max(map(len, column)) for column in list(zip(*lines, strict=True))[1:])


def json_table(table):
    """The table as a dict for JSON; ``tools/tables.py`` shows such tables in documents."""
    header = [table.heading, *(column.label for column in table.columns)]
    body = [[printable(row.label), *(cell_text(row, column) for column in table.columns)] for row in table.rows]
    return {"title": table.title, "columns": header, "rows": body, "notes": list(table.notes)}


def cell_text(row, column):
    """What a table shows of a `Row` in a `Column`."""
    value = row.cells.get(column.key)
    if value is None:
        return ABSENT
    text = f"{value:z.{column.digits}f}" if isinstance(value, float) else str(value)
    return text + row.marks.get(column.key, "")


def results_table(results, *, published=True, columns=None):
    """The main table: NME of each subset, the other normalisers, FR, AUC, and the protocol of every row.

    Args:
        results: `Result`\\ s of one data set and split.
        published: also show what papers report on the data set, where split and normaliser are those of papers.
        columns: headings: a subset (its NME by the row's normaliser), a subset and one of `MEASURES` ("common (box)",
            "common FR10"; without a subset of the full set), or a heading of ``extra``. None: all.

    Returns:
        A `Table`. A value of a partial set is marked ``*``; notes say what is absent, partial or rendered.
    """
    first = results[0].metrics
    spec, protocol = dataset_spec(first["dataset"]), first["protocol"]
    alike = protocol["split"] == "test" and protocol["normaliser"] == "interocular"
    papers = published_results(spec.name) if published and alike else []
    names = [name for name in columns or _default_columns(results) if name != PROTOCOL]
    shown = [_column(name) for name in (*names, PROTOCOL)]
    rows = [_measured_row(result, shown) for result in results]
    rows += [_published_row(paper, spec, shown) for paper in papers]
    faces = "SYNTHETIC faces" if protocol["synthetic"] else "real faces"
    title = f"{spec.title}, {protocol['split']} split, {faces}: NME by subset, FR and AUC"
    return Table(title, tuple(shown), tuple(rows), tuple(_notes(results, rows, papers)))


def brief_table(results, width):
    """What of `results_table` fits a terminal of ``width`` characters: NME of the subsets, FR10 and AUC10.

    Published rows are few, and absent beside rendered faces. Subsets without faces are left out; so are those that find
    no room, and a note says so.
    """
    first = results[0].metrics
    subsets = dict.fromkeys(name for one in results for name, found in one.metrics["subsets"].items() if found["n"])
    table = results_table(results, columns=[*subsets, "FR10", "AUC10"], published=not first["protocol"]["synthetic"])
    cited = {paper.method for paper in published_results(first["dataset"]) if paper.brief}
    shown = [column for column in table.columns if column.key != PROTOCOL]
    rows = [row for row in table.rows if row.kind != "published" or row.label in cited]
    rows = [row for row in rows if any(row.cells.get(column.key) is not None for column in shown)]
    table, dropped = replace(table, rows=tuple(rows)), []
    while _room(replace(table, columns=tuple(shown)), width) < LEAST_LABEL and len(shown) > 3:
        dropped.insert(0, shown.pop(-4).label)  # the last subset before the full set
    shared = [protocol_parts(one.metrics) for one in results if one.kind == "measured"]
    notes = [*_measured_notes(results, rows), "NME and FR in percent; protocol: "]
    notes[-1] += ", ".join(part for part in shared[0] if all(part in other for other in shared))
    if dropped:
        notes.append(f"no room for: {', '.join(dropped)}")
    if any(row.kind == "published" for row in rows):
        notes.append("rows of papers: as they report, by protocols of their own")
    return replace(table, columns=tuple(shown), notes=tuple(notes))


def parts_table(results):
    """NME of each facial part, and of visible and occluded points where they are annotated; percent."""
    protocol = results[0].metrics["protocol"]
    visibility = [result.metrics.get("visibility") or {} for result in results]
    names = dict.fromkeys([*results[0].metrics["parts"], *(name for values in visibility for name in values)])
    rows = tuple(
        Row(result.label, result.metrics["parts"] | seen | {PROTOCOL: protocol_text(result.metrics)}, result.kind)
        for result, seen in zip(results, visibility, strict=True)
    )
    columns = (*(Column(name, name) for name in names), Column(PROTOCOL, PROTOCOL, words=True))
    title = f"NME by part, {protocol['split']} split, normalised by {protocol['normaliser']}"
    return Table(title, columns, rows, (LEGEND,))


def points_table(results):
    """NME of each point in percent, one column a `Result`; the worst point of the first result on top."""
    protocol, worst = results[0].metrics["protocol"], results[0].metrics["points"]
    columns = tuple(Column(str(number), result.label) for number, result in enumerate(results))
    rows = tuple(
        Row(name, {str(number): result.metrics["points"][name] for number, result in enumerate(results)})
        for name in sorted(worst, key=lambda name: worst[name] or 0, reverse=True)
    )
    title = f"NME by point, worst first, {protocol['split']} split, normalised by {protocol['normaliser']}"
    notes = (*(f"{result.label}: {protocol_text(result.metrics)}" for result in results), LEGEND)
    return Table(title, columns, rows, notes, heading="point")


def reliability_table(record):
    """Groups of points, the least confident on top; of `kdloss.inference.confidence_fit.reliability`'s dict."""
    groups = record["groups"]
    rows = tuple(Row(f"{i} of {len(groups)}", group) for i, group in enumerate(groups, 1))
    notes = (
        f"groups of {record['points'] // len(groups)} points, from the least to the most confident",
        f"within: share of points within {100 * record['within']:g} % of the face box's side, which is what confidence "
        f"estimates; of all points {record['share_within']:.3f}",
        f"rank correlation of confidence and error {record['spearman']:.2f}; mean gap between confidence and share "
        f"{record['calibration_error']:.3f}" + (f"; AUC {record['auc']:.3f}" if record["auc"] is not None else ""),
    )
    columns = (*(Column(key, key, 3) for key in ("confidence", "within")), Column("error", "mean error, % of box"))
    return Table(reliability_title(record), columns, rows, notes, "points")


def reliability_title(record):
    """The title of `reliability_table` and of its picture."""
    faces = f"{record['faces']} {record['split']} faces of {dataset_spec(record['dataset']).title}"
    return f"{record['checkpoint']}: confidence on {faces}" + (", SYNTHETIC" if record["synthetic"] else "")


def protocol_text(metrics):
    """The protocol of a measurement in one line."""
    return ", ".join(protocol_parts(metrics))


def protocol_parts(metrics):
    """The parts of the protocol of a measurement, texts in the order of `LEGEND`."""
    protocol = metrics["protocol"]
    faces, missing, checkpoint = str(protocol["n"]), protocol["missing"], protocol["checkpoint"]
    if protocol["complete"] is False and not protocol["synthetic"]:
        faces = f"{faces}/{protocol['official_n']}{PARTIAL}"
    rendered = "SYNTHETIC " if protocol["synthetic"] else ""
    return [
        f"{rendered}{dataset_spec(metrics['dataset']).title} {protocol['split']} {faces}",
        SHORT.get(protocol["normaliser"], protocol["normaliser"]),
        protocol["box"].replace("not stated", "crop not stated"),
        "at " + "/".join(f"{threshold:.2f}" for threshold in protocol["thresholds"]),
        {True: "flip", False: "no flip", None: "flip not stated"}[protocol["flip_test"]],
        f"occl. {protocol['occluded_points']}",
        f"{missing['n']} missing {missing['counted']}" if missing["n"] else "none missing",
        "no checkpoint" if checkpoint is None else (checkpoint["sha256"] or "")[:8] or "hash not recorded",
    ]


def _default_columns(results):
    names = list(dict.fromkeys(name for result in results for name in result.metrics["subsets"]))
    if results[0].metrics["protocol"]["normaliser"] != "box":
        names += ["full (pupil)", "full (box)"]
    extra = dict.fromkeys(key for result in results for key in result.extra)
    return [*names, "FR10", "FR8", "AUC10", "AUC8", *extra]


def _column(name):
    _, word = _subset_and_measure(name)
    digits = MEASURES[word][1] if word else 1 if name == "MB" else 2
    return Column(name, name, digits, words=name in TEXT_COLUMNS)


def _subset_and_measure(name):
    """Subset and measure that a heading names; the measure is "" for NME by the row's normaliser."""
    subset, _, word = name.rpartition(" ")
    return (subset or "full", word) if word in MEASURES else (name, "")


def _measured_row(result, columns):
    subsets, protocol = result.metrics["subsets"], result.metrics["protocol"]
    cells, marks = result.extra | {PROTOCOL: protocol_text(result.metrics)}, {}
    for column in columns:
        subset, word = _subset_and_measure(column.key)
        if subset in subsets:
            values = subsets[subset]
            cells[column.key] = values[MEASURES[word][0] if word else f"nme_{protocol['normaliser']}"]
            if values["complete"] is False and values["n"] and not protocol["synthetic"]:
                marks[column.key] = PARTIAL
    return Row(result.label, cells, result.kind, marks)


def _published_row(paper, spec, columns):
    reported = {"(pupil)": paper.nme_interpupil, "FR10": {"full": paper.fr10}, "": paper.nme_interocular}
    cells = {}
    for column in columns:
        subset, word = _subset_and_measure(column.key)
        cells[column.key] = reported.get(word, {}).get(subset)
    kinds = [SHORT[kind] for kind in ("interocular", "interpupil") if getattr(paper, f"nme_{kind}")]
    threshold = "" if paper.fr10 is None else "at 0.10, "
    crop = paper.box.replace("not stated", "crop not stated")
    cells[PROTOCOL] = (
        f"{spec.title} test {spec.official('test')}, {' and '.join(kinds)}, {crop}, {threshold}"
        f"rest not stated ({paper.date}, {paper.certainty})"
    )
    return Row(paper.method, cells, "published")


def _measured_notes(results, rows):
    """What a reader must know of the measured rows, and of the marks."""
    notes = []
    for sentence in dict.fromkeys(sentence for result in results for sentence in result.metrics["notes"]):
        owners = [result.label for result in results if sentence in result.metrics["notes"]]
        notes.append(sentence if len(owners) == len(results) else f"{'; '.join(owners)}: {sentence}")
    if any(row.marks for row in rows):
        notes.append(f"{PARTIAL} of a partial set, not comparable with numbers of the whole set")
    return notes


def _notes(results, rows, papers):
    notes, sources = _measured_notes(results, rows), {}
    normaliser = results[0].metrics["protocol"]["normaliser"]
    by = "the size of the landmarks' box" if normaliser == "box" else f"{normaliser.replace(':', ' to ')} distance"
    notes.append(f"NME and FR in percent; unless the column says otherwise, NME by {by}, FR and AUC of the full set")
    notes += [LEGEND, *(f"{paper.method}: {paper.note}" for paper in papers if paper.note)]
    for paper in papers:
        sources.setdefault(f"{paper.certainty} ({paper.meaning})", {})[paper.source] = None
    return notes + [f"published, {certainty}: {'; '.join(cited)}" for certainty, cited in sources.items()]
