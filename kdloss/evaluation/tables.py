"""What tables of results show: every row with the protocol that it was measured under."""

from dataclasses import dataclass, field

from kdloss.datasets import dataset_spec
from kdloss.errors import DataError
from kdloss.evaluation.recorded import published_results, recorded_metrics, reference_results
from kdloss.evaluation.table import Column, Row, Table, html_table, markdown_table, text_table

__all__ = [
    "Column",
    "Result",
    "Row",
    "Table",
    "html_table",
    "markdown_table",
    "parts_table",
    "points_table",
    "protocol_text",
    "published_table",
    "recorded_result",
    "results_table",
    "text_table",
]

PARTIAL = "*"
PROTOCOL = "protocol"

# Last word of a column's heading -> what it shows of a subset, and its decimals.
MEASURES = {
    "(pupil)": ("nme_interpupil", 2),
    "(box)": ("nme_box", 2),
    "FR10": ("fr10", 2),
    "FR8": ("fr08", 2),
    "AUC10": ("auc10", 3),
    "AUC8": ("auc08", 3),
}
SHORT = {"interocular": "ocular", "interpupil": "pupil", "box": "box"}
EXTRA_DIGITS = {"seconds": 0, "MB": 1, "validation NME": 3}
TEXT_COLUMNS = (PROTOCOL, "network", "start")
LEGEND = (
    "protocol: data set, split and faces; normaliser; crop; thresholds of FR and AUC; mirror test; occluded points; "
    "faces without prediction; hash of the checkpoint"
)


@dataclass(frozen=True)
class Result:
    """One measured model, for `results_table`.

    Args:
        label: its name in the table.
        metrics: what `evaluate_points` returned.
        kind: ``measured``, ``baseline`` or ``reference``.
        extra: heading -> value of further columns (ms, MB, network, start, ...).
        caveats: what a reader must know before comparing, one sentence each.
    """

    label: str
    metrics: dict
    kind: str = "measured"
    extra: dict = field(default_factory=dict)
    caveats: tuple[str, ...] = ()


def results_table(results, *, published=True, columns=None, title=None):
    """The main table: NME of each subset, the other normalisers, FR, AUC, and the protocol of every row.

    Args:
        results: `Result`\\ s of one data set and split.
        published: the `PublishedResult`\\ s to put beside them; True: all of the data set, and the peers measured on
            its real faces (time for a face and size with them); False: none.
        columns: headings: a subset (its NME by the row's normaliser), a subset and one of `MEASURES` ("common (box)",
            "common FR10"; without a subset of the full set), or a heading of ``extra``. None: all.
        title: None: data set, split, and whether the faces are real.

    Returns:
        A `Table`. A value of a partial set is marked ``*``; notes say what is absent, partial or rendered.

    Raises:
        DataError: a column that no row knows.
    """
    first = results[0].metrics
    spec, protocol = dataset_spec(first["dataset"]), first["protocol"]
    results, papers = list(results), published or []
    if published is True:
        real_test = protocol["split"] == "test" and not protocol["synthetic"]
        results += _peers(spec.name, results) if real_test else []
        papers = published_results(spec.name) if protocol["split"] == "test" else []
    names = [name for name in columns or _default_columns(results) if name != PROTOCOL]
    shown = [_column(name, results) for name in (*names, PROTOCOL)]
    rows = [_measured_row(result, shown) for result in results]
    rows += [_published_row(paper, spec, shown) for paper in papers]
    faces = "SYNTHETIC faces" if protocol["synthetic"] else "real faces"
    return Table(
        title or f"{spec.title}, {protocol['split']} split, {faces}: NME by subset, FR and AUC",
        tuple(shown),
        tuple(rows),
        tuple(_notes(results, rows, papers)),
    )


def published_table(papers, title=None):
    """What papers report on one data set.

    Args:
        papers: `PublishedResult`\\ s.
        title: None: the data set's.

    Returns:
        A `Table`: NME of the subsets, FR, and what is known of the protocol.
    """
    spec = dataset_spec(papers[0].dataset)
    seen = {name for paper in papers for name in (*paper.nme_interocular, *paper.nme_interpupil)}
    subsets = [name for name in (*spec.subsets, "full") if name in seen]
    names = [*subsets, *(f"{name} (pupil)" for name in subsets), "FR10", PROTOCOL]
    columns = tuple(Column(name, name, words=name in TEXT_COLUMNS) for name in names)
    rows = tuple(_published_row(paper, spec, columns) for paper in papers)
    columns = tuple(column for column in columns if any(row.cells[column.key] is not None for row in rows))
    return Table(title or f"{spec.title}, test split, as published", columns, rows, tuple(_published_notes(papers)))


def parts_table(results):
    """NME of each facial part, and of visible and occluded points where that is known; percent of the normaliser."""
    protocol = results[0].metrics["protocol"]
    visibility = [result.metrics.get("visibility") or {} for result in results]
    names = [*results[0].metrics["parts"], *dict.fromkeys(name for values in visibility for name in values)]
    rows = tuple(
        Row(result.label, result.metrics["parts"] | seen | {PROTOCOL: protocol_text(result.metrics)}, result.kind)
        for result, seen in zip(results, visibility, strict=True)
    )
    columns = (*(Column(name, name) for name in names), Column(PROTOCOL, PROTOCOL, words=True))
    title = f"NME by part, {protocol['split']} split, normalised by {protocol['normaliser']}"
    return Table(title, columns, rows, (LEGEND,))


def points_table(results, limit=None):
    """NME of each point, in percent of the normaliser, the worst of the first result on top.

    Args:
        results: `Result`\\ s of one landmark scheme, a column each.
        limit: show so many points; None: all.
    """
    protocol, worst = results[0].metrics["protocol"], results[0].metrics["points"]
    names = sorted(worst, key=worst.get, reverse=True)[:limit]
    columns = tuple(Column(str(number), result.label) for number, result in enumerate(results))
    rows = tuple(
        Row(name, {column.key: result.metrics["points"][name] for column, result in zip(columns, results, strict=True)})
        for name in names
    )
    shown = f"the worst {len(names)} of {len(worst)}" if len(names) < len(worst) else "worst first"
    title = f"NME by point, {shown}, {protocol['split']} split, normalised by {protocol['normaliser']}"
    notes = (*(f"{result.label}: {protocol_text(result.metrics)}" for result in results), LEGEND)
    return Table(title, columns, rows, notes, heading="point")


def protocol_text(metrics):
    """The protocol of a measurement in one line; its parts in the order of the tables' legend."""
    protocol = metrics["protocol"]
    faces, missing = str(protocol["n"]), protocol.get("missing") or {"n": 0}
    if protocol["complete"] is False and not protocol["synthetic"]:
        faces = f"{faces}/{protocol['official_n']}{PARTIAL}"
    rendered = "SYNTHETIC " if protocol["synthetic"] else ""
    checkpoint = protocol["checkpoint"]
    sha256 = "no checkpoint" if checkpoint is None else (checkpoint["sha256"] or "hash not recorded")
    parts = [
        f"{rendered}{dataset_spec(metrics['dataset']).title} {protocol['split']} {faces}",
        SHORT[protocol["normaliser"]],
        "crop not stated" if protocol["box"] == "not stated" else protocol["box"],
        "at " + "/".join(f"{threshold:.2f}" for threshold in protocol["thresholds"]),
        {True: "flip", False: "no flip", None: "flip not stated"}[protocol["flip_test"]],
        f"occl. {protocol['occluded_points']}",
        f"{missing['n']} missing {missing['counted']}" if missing["n"] else "none missing",
        sha256 if checkpoint is None or not checkpoint["sha256"] else sha256[:8],
    ]
    return ", ".join(parts)


def recorded_result(entry):
    """The `Result` of a `MeasuredResult`; ``extra`` holds what is known of network, training, size and speed."""
    checkpoint, training = entry.checkpoint or {}, entry.training
    extra = {
        "network": checkpoint.get("arch"),
        "px": checkpoint.get("image_size"),
        "start": training.get("start"),
        "epochs": training.get("epochs"),
        "training faces": training.get("faces"),
        "seconds": training.get("seconds"),
        "validation NME": training.get("val_nme"),
        "ms": entry.ms and entry.ms["value"],
        "MB": entry.megabytes,
        "parameters": entry.parameters,
        "date": str(entry.date),
    }
    timing = (f"ms: {entry.ms['what']}, {entry.ms['machine']}",) if entry.ms else ()
    caveats = (*entry.caveats, *timing, *((entry.note,) if entry.note else ()))
    return Result(entry.label, recorded_metrics(entry), entry.kind, extra, caveats)


def _peers(dataset, results):
    """The recorded peers that are not among the results, with time and size alone beside their numbers."""
    measured, there = results[0].metrics["protocol"], {result.label for result in results}
    for entry in reference_results(dataset):
        peer = recorded_result(entry)
        if peer.label not in there:
            others = peer.metrics["protocol"]["content"] != measured["content"]
            caveats = (*peer.caveats, "recorded on other prepared faces than those above") if others else peer.caveats
            yield Result(peer.label, peer.metrics, peer.kind, {key: peer.extra[key] for key in ("ms", "MB")}, caveats)


def _default_columns(results):
    names = list(dict.fromkeys(name for result in results for name in result.metrics["subsets"]))
    if results[0].metrics["protocol"]["normaliser"] != "box":
        names += ["full (pupil)", "full (box)"]
    extra = dict.fromkeys(key for result in results for key in result.extra)
    return [*names, "FR10", "FR8", "AUC10", "AUC8", *extra]


def _column(name, results):
    subset, word = _subset_and_word(name)
    known = {subset for result in results for subset in result.metrics["subsets"]}
    if subset in known:
        return Column(name, name, MEASURES[word][1] if word else 2)
    extra = dict.fromkeys(key for result in results for key in result.extra)
    if name not in extra and name != PROTOCOL:
        raise DataError(
            f"column {name}: expected a subset ({', '.join(sorted(known))}), with or without a measure behind it "
            f"({', '.join(MEASURES)}), or one of {', '.join([*extra, PROTOCOL])}"
        )
    return Column(name, name, EXTRA_DIGITS.get(name, 2), words=name in TEXT_COLUMNS)


def _subset_and_word(name):
    """Subset and measure that a heading names; the measure is "" for NME by the row's normaliser."""
    subset, _, word = name.rpartition(" ")
    return (subset or "full", word) if word in MEASURES else (name, "")


def _measured_row(result, columns):
    subsets, protocol = result.metrics["subsets"], result.metrics["protocol"]
    cells, marks = result.extra | {PROTOCOL: protocol_text(result.metrics)}, {}
    for column in columns:
        subset, word = _subset_and_word(column.key)
        if subset in subsets:
            values = subsets[subset]
            cells[column.key] = values[MEASURES[word][0] if word else f"nme_{protocol['normaliser']}"]
            if values["complete"] is False and values["n"] and not protocol["synthetic"]:
                marks[column.key] = PARTIAL
    return Row(result.label, cells, result.kind, marks)


def _published_row(paper, spec, columns):
    of_full = {"(pupil)": paper.nme_interpupil, "FR10": {"full": paper.fr10}, "": paper.nme_interocular}
    cells = {}
    for column in columns:
        subset, word = _subset_and_word(column.key)
        cells[column.key] = of_full.get(word, {}).get(subset)
    kinds = [SHORT[kind] for kind in ("interocular", "interpupil") if getattr(paper, f"nme_{kind}")]
    crop = "crop not stated" if paper.box == "not stated" else paper.box
    threshold = "" if paper.fr10 is None else "at 0.10, "
    cells[PROTOCOL] = (
        f"{spec.title} test {spec.official('test')}, {' and '.join(kinds)}, {crop}, {threshold}"
        f"rest not stated ({paper.date}, {paper.certainty})"
    )
    return Row(paper.method, cells, "published")


def _notes(results, rows, papers):
    here = [result for result in results if result.kind != "reference"]  # peers say of their faces what their row says
    notes = _owned({result.label: result.metrics["notes"] for result in here}, alone=len(here) == 1)
    if any(row.marks for row in rows):
        notes.append(f"{PARTIAL} of a partial set, not comparable with numbers of the whole one")
    normaliser = results[0].metrics["protocol"]["normaliser"]
    notes.append(
        f"NME and FR in percent; NME by {normaliser} distance unless the column says otherwise; FR and AUC of the full "
        "set unless the column says otherwise"
        if normaliser != "box"
        else "NME and FR in percent; NME by the size of the landmarks' box; FR and AUC of the full set"
    )
    notes.append(LEGEND)
    notes += _owned({result.label: result.caveats for result in results})
    return notes + _published_notes(papers)


def _owned(sentences, alone=False):
    """Sentences by label -> each once, with whom it concerns, unless that is all; ``alone``: there is only one."""
    notes = []
    for sentence in dict.fromkeys(sentence for own in sentences.values() for sentence in own):
        labels = [label for label, own in sentences.items() if sentence in own]
        others = [label for label in sentences if label not in labels]
        of = f"all but {'; '.join(others)}" if 0 < len(others) < len(labels) else "; ".join(labels)
        notes.append(sentence if alone or (not others and len(labels) > 1) else f"{of}: {sentence}")
    return notes


def _published_notes(papers):
    notes, sources = [f"{paper.method}: {paper.note}" for paper in papers if paper.note], {}
    for paper in papers:
        sources.setdefault(f"{paper.certainty} ({paper.meaning})", {})[paper.source] = None
    return notes + [f"published, {certainty}: {'; '.join(cited)}" for certainty, cited in sources.items()]
