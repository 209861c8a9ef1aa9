"""The table of ``kdloss.benchmark time-to-accuracy``: from a record, a `Table`."""

from kdloss.evaluation.table import Column, Row, Table


def accuracy_time_table(record):
    """How many minutes each recipe took to the target, and what its networks are worth."""
    target = f"{record['target']:g} %"
    columns = (
        Column("network", "network", words=True),
        Column("sides", "px", words=True),
        Column("batch", "batch"),
        Column("to_validation", f"min to val {target}"),
        Column("to_test", f"min to {record['subset']} {target}"),
        Column("cpu", "CPU min"),
        Column("val_nme", "val NME"),
        Column("test_nme", f"{record['subset']} NME"),
        Column("images", "images"),
        Column("seeds", "seeds"),
    )
    rows = []
    for row in record["rows"]:
        student = row["student"]
        cells = {
            "network": student["arch"],
            "sides": _sides(student),
            "batch": student["batch_size"],
            "to_validation": _minutes(row, "minutes_to_validation"),
            "to_test": _minutes(row, "minutes_to_test"),
            "cpu": _spread(row["cpu_minutes"], 2),
            "val_nme": _spread(row["val_nme"], 2),
            "test_nme": _spread(row["test_nme"], 2),
            "images": f"{row['images']['median']:.0f}",
            "seeds": len(row["runs"]),
        }
        rows.append(Row(row["recipe"], cells))
    faces, kept = record["faces"], "rendered" if record["synthetic"] else "real"
    machine = record["machine"]
    notes = (
        *(f"{row['recipe']}: {row['about']}" for row in record["rows"]),
        f"{record['dataset']}: {faces['train']} {kept} faces to train, {faces['val']} to validate, {faces['test']} to "
        f"test; NME in percent by the {record['normaliser']} distance",
        "median (least to most) over the seeds, of which slow recipes have the first alone; seed by seed, all recipes "
        "one after the other, each run in a process of its own",
        "minutes: from the beginning of the training, networks, first weights, teachers, compilation, validation and "
        "files included; CPU min: of the whole run, all cores together",
        f"a run ends at validation {target}, with its schedule, or with the first epoch after {record['minutes']:g} "
        "minutes; validation alone decides, test faces were looked at when all runs were over",
        "NME: of the network that the run kept in the end",
        f"{machine['processor'].strip() or 'processor unknown'}, {machine['cores']} cores, "
        f"{'no accelerator' if not machine['accelerators'] else ', '.join(machine['accelerators'])}, "
        f"{machine['backend']}",
    )
    return Table(f"Minutes to an NME of {target}", columns, tuple(rows), notes, "recipe")


def _sides(student):
    return f"{student['stages']}, {student['image_size']}" if "stages" in student else str(student["image_size"])


def _minutes(row, name):
    if row[name] is None:
        return f"not in {row['minutes']['median']:.1f}"
    text = _spread(row[name], 2)
    return text if row[name]["n"] == row[name]["of"] else f"{text}, {row[name]['n']} of {row[name]['of']}"


def _spread(found, digits):
    if found is None:
        return None
    text = f"{found['median']:.{digits}f}"
    if found["low"] == found["high"]:
        return text
    return f"{text} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"
