"""The record of ``kdloss.benchmark suite`` as tables: its figures, and their ratios to stored ones."""

from kdloss.evaluation.provenance import machine_facts
from kdloss.evaluation.table import Column, Row, Table


def suite_tables(record, stored=None):
    """The tables of a record: its figures and, where there is another record, the ratios to that one's."""
    return [_figures_table(record)] + ([_ratios_table(record, stored)] if stored else [])


def _figures_table(record):
    columns = (
        Column("name", "figure", words=True),
        Column("unit", "unit", words=True),
        Column("better", "better", words=True),
        Column("median", "median"),
        Column("low", "least"),
        Column("high", "most"),
        Column("n", "n"),
    )
    keys = [column.key for column in columns]
    rows = [_row(figure, {key: figure[key] for key in keys}) for figure in record["figures"]]
    notes = [
        "short forms, each in a process of its own, one after the other; median, least and most of n rounds",
        *(
            f"{part['benchmark']} ({part['seconds']:.0f} s): `python -m kdloss.benchmark {part['words']}`"
            for part in record["parts"]
        ),
    ]
    if record["faces"]:
        notes.append(_faces(record))
    return Table("Benchmarks in short", columns, tuple(rows), (*notes, _machine(record)), "benchmark")


def _ratios_table(record, stored):
    columns = (
        Column("name", "figure", words=True),
        Column("unit", "unit, better", words=True),
        Column("ratio", "x stored"),
        Column("now", "now", words=True),
        Column("stored", "stored", words=True),
    )
    before = {_key(figure): figure for figure in stored["figures"]}
    words, others = ({part["benchmark"]: part["words"] for part in one["parts"]} for one in (record, stored))
    rows, changed = [], set()
    for figure in record["figures"]:
        other = before.get(_key(figure))
        if words[figure["benchmark"]] != others.get(figure["benchmark"], words[figure["benchmark"]]):
            changed.add(figure["benchmark"])
            other = None
        unit = f"{figure['unit']}, {figure['better']}"
        cells = {"name": figure["name"], "unit": unit, "now": _spread(figure)}
        if other:
            cells |= {"stored": _spread(other), "ratio": figure["median"] / other["median"]}
        rows.append(_row(figure, cells))
    notes = [
        "x stored: of the medians; beside them least and most of the rounds, within which a ratio tells little",
        f"now: {record['date']}, {_machine(record)}",
        f"stored: {stored['date']}, {_machine(stored)}",
    ]
    if machine_facts(record["machine"]) != machine_facts(stored["machine"]):
        notes.append("THE MACHINES DIFFER: the ratios tell as much of them as of the code")
    if record["faces"] and stored["faces"] and record["faces"]["content"] != stored["faces"]["content"]:
        notes.append(f"the faces differ: now {_faces(record)}; stored {_faces(stored)}")
    if changed:
        notes.append(f"not compared, for their short forms were others: {', '.join(sorted(changed))}")
    return Table("Ratios to the stored figures", columns, tuple(rows), tuple(notes), "benchmark")


def _row(figure, cells):
    return Row(figure["benchmark"], cells)


def _key(figure):
    return figure["benchmark"], figure["name"], figure["unit"]


def _spread(figure):
    return f"{figure['median']:.3g} ({figure['low']:.3g} to {figure['high']:.3g})"


def _machine(record):
    facts = machine_facts(record["machine"])
    versions = ", ".join(f"{name} {record['machine']['packages'].get(name)}" for name in ("tensorflow", "numpy"))
    return f"{facts['machine']}, accelerator: {facts['accelerator']}, Python {record['machine']['python']}, {versions}"


def _faces(record):
    faces = record["faces"]
    return f"{faces['train']} {'SYNTHETIC' if faces['synthetic'] else 'real'} training faces of {faces['dataset']}"
