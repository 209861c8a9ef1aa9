"""Tables of training speed: from a record, a `Table` for each back end."""

from kdloss.benchmarking.training_variants import OPTIONS, WAYS
from kdloss.evaluation.table import Column, Row, Table

_WORDS = {
    "published": "published recipe: eager steps, files opened for every face, both teachers predict every batch",
    "online": "online teachers: this project's training, both teachers in every step, views drawn ahead",
    "cached": "cached teachers: the same, with the teachers' points stored before",
}


def training_tables(record):
    """The tables of a record of ``kdloss.benchmark training``."""
    backends = dict.fromkeys(row["backend"] for row in record["rows"])
    tables = [_table(backend, [row for row in record["rows"] if row["backend"] == backend]) for backend in backends]
    last = tables[-1]
    return [*tables[:-1], Table(last.title, last.columns, last.rows, last.notes + _notes(record), last.heading)]


def _table(backend, rows):
    columns = [
        Column("options", "option", words=True),
        Column("rate", "images/s", 1),
        Column("low", "least", 1),
        Column("high", "most", 1),
        Column("ratio", "x published", 1),
        Column("ratio_low", "least", 1),
        Column("ratio_high", "most", 1),
        Column("first_step", "first step (s)", 1),
        Column("megabytes", "memory (MB)", 0),
    ]
    if any(row.get("accelerator_megabytes") for row in rows):
        columns.append(Column("accelerator_megabytes", "on device (MB)", 0))
    versions = [_version(backend, row["environment"]) for row in rows if "environment" in row]
    notes = [*versions[:1], *_paid(rows), *(f"{_named(row)}: {row['fails']}" for row in rows if "fails" in row)]
    return Table(f"Training on {backend}", tuple(columns), tuple(map(_row, rows)), tuple(notes), "teachers")


def _version(backend, environment):
    devices = ", ".join(environment["accelerators"]) or f"{environment['cores']} cores of {environment['processor']}"
    packages = environment["packages"]
    return f"{backend} {packages[backend]}, Keras {packages['keras']}, {devices}"


def _paid(rows):
    """What storing the teachers' points took, and after how many epochs it has paid."""
    bases = {row["way"]: row for row in rows if not row["options"] and "fails" not in row}
    if not bases.get("cached", {}).get("stored"):
        return
    stored = bases["cached"]["stored"]
    each = stored["seconds"] / stored["views"]
    line = f"storing both teachers' points: {1000 * each:.1f} s for 1000 views, once"
    if "online" in bases:
        slow, fast = (bases[way]["images_per_second"]["median"] for way in ("online", "cached"))
        saved = 1 / slow - 1 / fast
        if saved > 0:
            line += f"; paid after {each / saved:.1f} epochs for each stored drawing of the faces"
    yield line


def _named(row):
    return ", ".join([WAYS[row["way"]], *_options(row)])


def _options(row):
    return [OPTIONS[name].title for name in row["options"]]


def _row(row):
    cells, label = {"options": ", ".join(_options(row))}, WAYS[row["way"]]
    if "fails" in row:
        return Row(label, cells | {"rate": "fails"})
    for name, key in (("", "images_per_second"), ("ratio", "ratio")):
        found = row[key] or {}
        cells |= {name or "rate": found.get("median")}
        cells |= {f"{name}_{end}".lstrip("_"): found.get(end) for end in ("low", "high")}
    return Row(label, cells | {key: row[key] for key in ("first_step", "megabytes", "accelerator_megabytes")})


def _notes(record):
    settings, faces = record["settings"], record["faces"]
    drawn = "rendered" if faces["synthetic"] else "real"
    return (
        f"{settings['student']} by KD-Loss of two {settings['teacher']}, {settings['image_size']} px, batches of "
        f"{settings['batch_size']}, {settings['faces']} {drawn} training faces of {faces['dataset']}",
        *(_WORDS[way] for way in WAYS if any(row["way"] == way for row in record["rows"])),
        f"median, least and most of {settings['rounds']} rounds in turns, each of {settings['steps']} steps and "
        f"{settings['seconds']:g} s at least; x published: within the round",
        "first step: to its end, with networks and compilation, without imports and the storing of points",
        "memory: the most that the process took in resident pages",
    )
