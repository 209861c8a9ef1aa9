"""Recorded results: every measured and every published number, read from ``results.yml`` and checked.

The file has six parts. ``certainty`` says what the letters of the published rows mean; ``published`` holds what papers
report; ``measured`` what this project measured, each with protocol, machine and date; ``differences`` paired
comparisons of measured results; ``quantities`` measured numbers that are no row of NMEs, such as times; ``tables``
which of them stand in which generated table.
"""

import datetime
import functools
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from kdloss.datasets import DATASETS
from kdloss.errors import DataError
from kdloss.evaluation.protocol import DETECTED
from kdloss.evaluation.recorded_fields import DIFFERENCE, MEASURED, PUBLISHED, QUANTITY, RESULTS_FILE, check_mapping

FILE = Path(__file__).with_name("results.yml")
ENTRIES = {"published": PUBLISHED, "measured": MEASURED, "differences": DIFFERENCE, "quantities": QUANTITY}

# The parser in C where libyaml is there; both read plain data only.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class PublishedResult:
    """One row of a paper.

    Args:
        id: unique in the file.
        method: as the row is called.
        dataset: key of `DATASETS`; numbers are of its whole test set.
        source: citation.
        date: year of the source.
        certainty, meaning: a letter of the file's ``certainty`` and what it says.
        nme_interocular: subset -> NME in percent over the distance of the outer eye corners.
        nme_interpupil: subset -> NME in percent over the distance of the pupils.
        fr10: percent of failures at 0.10 on the full set, or None.
        box: what is known of the crops.
        note: what a reader must know before comparing, or "".
    """

    id: str
    method: str
    dataset: str
    source: str
    date: int
    certainty: str
    meaning: str
    nme_interocular: dict[str, float] = field(default_factory=dict)
    nme_interpupil: dict[str, float] = field(default_factory=dict)
    fr10: float | None = None
    box: str = "not stated"
    note: str = ""


@dataclass(frozen=True)
class MeasuredResult:
    """One measurement of this project.

    Args:
        id: unique in the file.
        label: name of its row.
        dataset, split: what it was measured on.
        synthetic: whether the faces are rendered.
        protocol: ``normaliser, box, thresholds, flip_test, occluded_points, missing, content``, as in ``metrics.json``.
        subsets: name -> numbers, as in ``metrics.json``.
        machine: processor and cores.
        date: of the measurement (`datetime.date`).
        command: that leads to it.
        kind: ``measured``, ``baseline``, or ``reference``: the peer of another method that stands beside each
            measurement on the same real faces.
        accelerator: its name, or "none".
        checkpoint: ``sha256, arch, image_size`` of the model's file, or None.
        training: ``faces, validation_faces, epochs, seed, start, seconds, val_nme``, as far as they apply.
        ms: ``value, what, machine``: time for one face, or None.
        megabytes, parameters: of the model's file, of the model; or None.
        note: one sentence on the model, or "".
        caveats: what a reader must know before comparing, one sentence each.
    """

    id: str
    label: str
    dataset: str
    split: str
    synthetic: bool
    protocol: dict
    subsets: dict
    machine: str
    date: datetime.date
    command: str
    kind: str = "measured"
    accelerator: str = "none"
    checkpoint: dict | None = None
    training: dict = field(default_factory=dict)
    ms: dict | None = None
    megabytes: float | None = None
    parameters: int | None = None
    note: str = ""
    caveats: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class MeasuredDifference:
    """NME of one measured result less that of another on the same faces, in points of a percent.

    Args:
        id: unique in the file.
        model, against: ids of measured results.
        difference, low, high: the mean and its interval.
        method: how the interval was found.
        date: of the comparison.
    """

    id: str
    model: str
    against: str
    difference: float
    low: float
    high: float
    method: str
    date: datetime.date


@dataclass(frozen=True)
class MeasuredQuantity:
    """A measured number that is no row of NMEs: a time, a rate, a share, an NME in boxes that are not the model's own.

    Args:
        id: unique in the file.
        what: what was measured, in words.
        unit: of the numbers: ``%``, ``faces/s``, ``s``, ``times`` ...
        value: the number.
        command, machine, date: see `MeasuredResult`.
        of: id of the measured result that it belongs to, or None.
        low, high: the least and the most of the repetitions, or None.
        n: how many faces or repetitions, as ``what`` says, or None.
        accelerator: its name, or "none".
        note: what a reader must know, or "".
    """

    id: str
    what: str
    unit: str
    value: float
    command: str
    machine: str
    date: datetime.date
    of: str | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    accelerator: str = "none"
    note: str = ""


@dataclass(frozen=True)
class TableSpec:
    """What a generated table shows.

    Args:
        title: the line above it.
        rows: ids, of results, of differences or of quantities.
        columns: see `kdloss.evaluation.tables.results_table`; none for a table of differences or of quantities.
        dataset: key of `DATASETS`, that of all rows.
    """

    title: str
    rows: list[str]
    dataset: str
    columns: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Recorded:
    """The whole file; ``tables`` by name."""

    path: Path
    published: tuple[PublishedResult, ...]
    measured: tuple[MeasuredResult, ...]
    differences: tuple[MeasuredDifference, ...]
    quantities: tuple[MeasuredQuantity, ...]
    tables: dict[str, TableSpec]


def load_recorded(path=FILE):
    """Reads and checks the file as `Recorded`.

    Raises:
        DataError: no such file, not YAML, or an entry that breaks the rules; one line that names the entry.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise DataError(f"{path}: cannot be read ({reason}): expected recorded results") from error
    return parse_recorded(text, path)


def parse_recorded(text, path):
    """`load_recorded` of a text; ``path`` is named in errors."""
    try:
        record = yaml.load(text, Loader=_LOADER)  # noqa: S506  it is a safe one
    except (yaml.YAMLError, ValueError) as error:  # a date such as 2026-13-45 is a ValueError
        raise DataError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    check_mapping(record, RESULTS_FILE, str(path))
    parts = {name: record.get(name) or [] for name in ENTRIES}
    seen = set()
    for part, entries in parts.items():
        for number, entry in enumerate(entries, start=1):
            where = f"{path}: {part} entry {number}"
            if isinstance(entry, dict) and isinstance(entry.get("id"), str):
                where += f" ({entry['id']})"
            check_mapping(entry, ENTRIES[part], where)
            if entry["id"] in seen:
                raise DataError(f"{where}: the id {entry['id']} is taken: every id stands once in the file")
            seen.add(entry["id"])
            if part == "published":
                _check_published(entry, record["certainty"], where)
            elif part == "measured" and "full" not in entry["subsets"]:
                raise DataError(f"{where}: subsets: found no full, expected the numbers of all faces")
            elif part == "quantities":
                _check_spread(entry, where)
    measured = {entry["id"] for entry in parts["measured"]}
    for entry in parts["differences"]:
        for unknown in {entry["model"], entry["against"]} - measured:
            raise DataError(f"{path}: differences: {entry['id']}: {unknown} is not the id of a measured result")
    for entry in parts["quantities"]:
        if "of" in entry and entry["of"] not in measured:
            raise DataError(f"{path}: quantities: {entry['id']}: {entry['of']} is not the id of a measured result")
    return Recorded(
        path=path,
        published=tuple(
            PublishedResult(meaning=record["certainty"][entry["certainty"]], **entry) for entry in parts["published"]
        ),
        measured=tuple(MeasuredResult(**entry) for entry in parts["measured"]),
        differences=tuple(MeasuredDifference(**entry) for entry in parts["differences"]),
        quantities=tuple(MeasuredQuantity(**entry) for entry in parts["quantities"]),
        tables={name: TableSpec(**table) for name, table in (record.get("tables") or {}).items()},
    )


@functools.cache
def packaged():
    """The `Recorded` that the package carries."""
    return load_recorded()


def published_results(dataset):
    """The published rows of a data set, in the order of the file; empty where there are none."""
    return [result for result in packaged().published if result.dataset == dataset]


def reference_results(dataset):
    """The peers measured on the real test faces of a data set."""
    return [
        result
        for result in packaged().measured
        if result.kind == "reference" and result.dataset == dataset and result.split == "test" and not result.synthetic
    ]


def recorded_metrics(entry):
    """The dict of `kdloss.evaluation.protocol.evaluate_points`, as far as a `MeasuredResult` records it."""
    full = entry.subsets["full"]
    protocol = entry.protocol | {key: full[key] for key in ("n", "official_n", "complete")}
    protocol |= {"split": entry.split, "synthetic": entry.synthetic, "checkpoint": entry.checkpoint}
    notes = [
        f"{name}: no faces"
        if values["official_n"] is None
        else f"{name}: 0 of {values['official_n']} official faces, absent"
        for name, values in entry.subsets.items()
        if not values["n"]
    ]
    if entry.synthetic:
        notes.append("the faces are SYNTHETIC (rendered); published numbers are of real faces and not comparable")
    if " as " in entry.protocol["box"]:
        notes.append(DETECTED)
    return {"dataset": entry.dataset, "protocol": protocol, "subsets": entry.subsets, "notes": notes}


def _check_spread(entry, where):
    if ("low" in entry) != ("high" in entry):
        raise DataError(f"{where}: low, high: found one of them, expected both or none")
    if "low" in entry and not entry["low"] <= entry["value"] <= entry["high"]:
        raise DataError(
            f"{where}: value is {entry['value']}, expected one from low {entry['low']} to high {entry['high']}"
        )


def _check_published(entry, certainty, where):
    if entry["certainty"] not in certainty:
        raise DataError(f"{where}: certainty: found {entry['certainty']}, expected one of {', '.join(certainty)}")
    subsets = {*entry.get("nme_interocular", ()), *entry.get("nme_interpupil", ())}
    known = {*DATASETS[entry["dataset"]].subsets, "full"}
    if not subsets or not subsets <= known:
        raise DataError(
            f"{where}: NME of {', '.join(sorted(subsets)) or 'no subset'}: expected of {', '.join(sorted(known))}"
        )
