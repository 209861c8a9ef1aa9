"""Tables of what the commands found that try the project's reliability: from a record, a `Table`."""

from kdloss.evaluation.table import Column, Row, Table


def kills_table(record):
    """The table of a record of ``benchmarks/kills.py``."""
    columns = (
        Column("seconds", "s undisturbed", 1),
        Column("tries", "tries", 0),
        Column("killed", "killed in time", 0),
        Column("kills", "kills", 0),
        Column("survived", "survived", 0),
        Column("largest", "largest difference", words=True),
    )
    rows = [
        Row(row["stage"], row | {"largest": "none" if row["largest"] is None else f"{row['largest']:g}"})
        for row in record["rows"]
    ]
    settings = record["settings"]
    notes = [
        f"{settings['faces']} training and {settings['test_faces']} test faces, rendered; prepare: "
        f"{settings['prepared']}; seed {settings['seed']}",
        "killed in time: tries in which SIGKILL came before the command was done, in every second try twice",
        "survived: those in which the same command, run again, left files equal to an undisturbed run's (arrays "
        f"within {settings['tolerance']:g}) and nothing else",
        *(f"{row['stage']}: {failure}" for row in record["rows"] for failure in row["failures"]),
        _machine_note(record),
    ]
    return Table("Commands killed at random moments, and run again", columns, tuple(rows), tuple(notes), "command")


def fuzz_table(record):
    """The table of a record of ``benchmarks/fuzz_readers.py``."""
    columns = (
        Column("inputs", "inputs", 0),
        Column("accepted", "read", 0),
        Column("refused", "refused in order", 0),
        Column("crashes", "crashes", 0),
        Column("seconds", "s", 1),
    )
    keys = [column.key for column in columns]
    total = {key: sum(row[key] for row in record["readers"]) for key in keys}
    rows = [Row(row["reader"], {key: row[key] for key in keys}) for row in record["readers"]]
    notes = [
        "four of five inputs are damaged files, the others are made to be nearly right",
        "refused in order: by the project's own error, in one line",
        "crashes: any other exception, a warning, more than 5 s or 1 GB for one input, the end of the process",
        f"seed {record['seed']}; {record['processes']} processes, {record['seconds']:.0f} s; s: making inputs included",
        _machine_note(record),
    ]
    return Table("Inputs that readers met", columns, (*rows, Row("together", total)), tuple(notes), "reader")


def memory_table(record):
    """The table of a record of ``benchmarks/larger_than_memory.py``."""
    columns = (
        Column("faces", "faces"),
        Column("size", "pictures (GB)"),
        Column("open", "opening (s)"),
        Column("first", "first batch (s)", 1),
        Column("rate", "faces/s", 0),
        Column("peak", "peak memory (MB)", 0),
        Column("anonymous", "of it anonymous", 0),
        Column("limit", "limit (MB)", 0),
    )
    first, rows, growth = record["rows"][0], [], []
    for row in record["rows"]:
        cells = {
            "faces": row["faces"],
            "size": row["bytes"] / 1e9,
            "open": row["open_seconds"],
            "first": row["first_batch_seconds"],
            "rate": row["faces"] / row["seconds"],
            "peak": row["peak"] / 1e6,
            "anonymous": row["anonymous"] / 1e6,
            "limit": row["limit"] / 1e6 if row["limit"] else None,
        }
        rows.append(Row(f"{row['times']} x", cells))
        if row is not first:
            added = (row["peak"] - first["peak"]) / (row["faces"] - first["faces"])
            growth.append(f"{row['times']} x: {added:+.0f} bytes")
    targets = record["targets"]
    notes = [
        f"one epoch over every face: {record['network']}; a process each, no picture in the system's cache at first",
        "first batch: from the call of `kdloss.training.fit.train`, the making of the network included",
        f"growth of the peak a face: {', '.join(growth)}; allowed: {targets['bytes_a_face']} bytes, and "
        f"{100 * targets['share']:.0f} % of the first peak",
        "limit: of private memory, reserved or used (RLIMIT_DATA): what the first process reserved, and as much more",
        _machine_note(record),
    ]
    return Table("Memory of a training by the size of its set", columns, tuple(rows), tuple(notes), "set")


def prepare_table(record):
    """The table of a record of ``benchmarks/prepare_processes.py``."""
    columns = (
        Column("median", "median (s)"),
        Column("least", "least"),
        Column("most", "most"),
        Column("rate", "faces/s", 0),
        Column("speedup", "speed-up"),
    )
    rows = [
        Row(
            str(row["processes"]),
            row | {"rate": record["faces"] / row["median"], "speedup": row["speedup"]},
        )
        for row in record["rows"]
    ]
    same = "equal to the byte" if record["equal"] else "NOT EQUAL"
    notes = [
        f"{record['faces']} faces of {record['dataset']}; seconds of the command, {record['rounds']} rounds in turns",
        "speed-up: median of the ratios within a round",
        f"the prepared sets are {same}",
        _machine_note(record),
    ]
    return Table("Preparing in several processes", columns, tuple(rows), tuple(notes), "processes")


def workers_table(record):
    """The table of a record of ``benchmarks/two_workers.py``."""
    columns = (
        Column("seconds_a_step", "s a step", 3),
        Column("difference", "difference from one", words=True),
        Column("held_to", "allowed", words=True),
    )
    settings, death = record["settings"], record["death"]
    shown = [*record["rows"], {"run": "JAX, one process after the death of two", "difference": death["difference"]}]
    shown[-1] |= {"seconds_a_step": None, "held_to": settings["tolerance"]}
    rows = []
    for row in shown:
        numbers = {key: None if row[key] is None else f"{row[key]:.2g}" for key in ("difference", "held_to")}
        rows.append(Row(row["run"], numbers | {"seconds_a_step": row["seconds_a_step"]}))
    epoch, step = death["killed_at"]
    notes = [
        f"{settings['arch']} at {settings['image_size']} px, float32, batches of {settings['batch_size']}, "
        f"learning rate {settings['learning_rate']:g}, {settings['steps']} steps in {settings['epochs']} epochs on "
        f"{settings['faces']} rendered faces",
        "difference: the largest of weights, moving statistics, averaged weights and the optimizer's moments, in each "
        "array relative to its largest number where that is above 1",
        "in reverse: one device, the faces of each batch in reverse order: what the order of float32 sums does alone",
        f"SIGKILL of process 1 in step {step} of epoch {epoch}: process 0 ended {death['seconds']:.1f} s later with "
        f"status {death['status']} and this line: {death['line']}",
        "the two processes or devices share the cores that one has to itself, so no speed-up is to be seen here",
        _machine_note(record),
    ]
    return Table("Two workers beside one", columns, tuple(rows), tuple(notes), "run")


def _machine_note(record):
    machine = record["machine"]
    return f"{machine['cores']} cores of {machine['processor']}, Python {machine['python']}, shared with other work"
