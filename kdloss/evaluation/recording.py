"""New entries for ``results.yml``: from folders that `kdloss.evaluate` and `kdloss.reproduce` wrote."""

import datetime
import textwrap
from pathlib import Path

import yaml

from asm.atomic import write_whole
from kdloss.errors import ConfigError, DataError
from kdloss.evaluation.provenance import (
    NONE_MISSING,
    circumstances,
    file_hash,
    megabytes,
    read_evaluation,
    read_json,
    rounded,
    told,
    training_facts,
)
from kdloss.evaluation.recorded import load_recorded, parse_recorded
from kdloss.evaluation.recorded_fields import MEASURED

PROTOCOL = ("normaliser", "box", "thresholds", "flip_test", "occluded_points", "missing", "content")
BOOTSTRAP = "paired bootstrap over the test faces, 95 %"


class _Dumper(yaml.SafeDumper):
    """Writes a value that several entries share into each of them, instead of a reference to the first."""

    def ignore_aliases(self, data):
        return True


def evaluation_entry(folder, **stated):
    """The entry of an evaluation folder.

    Seed, faces and epochs come from the run folder around it (or from that of the checkpoint), if its ``best.keras`` is
    the file that was measured. Command and machine are those that ``metrics.json`` names; where it names none, the
    machine is that of the run, and the command what leads to these numbers.

    Args:
        folder: holds ``metrics.json``.
        stated: fields of the entry, `id` and `label` at least; they replace what the folders say, None does not.
            ``training`` and ``caveats`` add to what they say; ``ms`` was measured on the same machine.

    Raises:
        DataError: no measurement there.
        ConfigError: a field that neither the folders nor ``stated`` tell.
    """
    path = Path(folder) / "metrics.json"
    metrics, run = read_evaluation(path)
    try:
        entry = _entry(metrics, metrics["protocol"]) | circumstances(path, metrics, run)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: holds no {error}: expected what kdloss.evaluate writes") from error
    caveats = []
    if run:
        entry |= {"training": run.training, "megabytes": run.megabytes}
        if _on(entry) != _on(run.machine):
            caveats = [f"trained on {_on(run.machine)}"]
    training = entry.get("training", {}) | told(stated.pop("training", {}))
    caveats += stated.pop("caveats", None) or []
    entry |= told(stated) | {"training": training, "caveats": caveats}
    if "ms" in entry and "machine" in entry:
        entry["ms"] = entry["ms"] | {"machine": entry["machine"]}
    return completed(entry, MEASURED, path)


def chain_entries(path, prefix, command=None, caveats=()):
    """The entries of a chain's ``results.json``: the mean shape, its runs, and their differences.

    The hash of each checkpoint and the size of its file are taken from the run folders beside the file, where they are.

    Args:
        path: of ``results.json``.
        prefix: the ids are ``PREFIX-RUN`` (with - for each +), and ``PREFIX-mean-shape``.
        command: replaces the recorded one.
        caveats: sentences for all of them.

    Returns:
        Two lists: entries of measured results, and of differences.
    """
    path = Path(path)
    chain = read_json(path, "the results.json of python -m kdloss.reproduce")
    try:
        facts, protocol, runs = chain["facts"], chain["protocol"], chain["runs"]
        shared = {
            "machine": facts["machine"],
            "accelerator": facts["accelerators"],
            "command": command or facts["command"],
        }
        shared |= {"date": datetime.date.fromisoformat(facts["date"]), "caveats": list(caveats)}
        base = {"dataset": protocol["dataset"], "subsets": chain["mean_shape"]}
        first = next(iter(runs.values()))
        faces = {"faces": first["training"]["train_faces"], "validation_faces": first["training"]["val_faces"]}
        names = {"id": f"{prefix}-mean-shape", "label": "mean training shape", "kind": "baseline"}
        mean = _entry(base, protocol | {"checkpoint": None}) | names | shared | {"training": faces}
        entries = [_ordered(mean, MEASURED)]
        ids = {run["title"]: f"{prefix}-{name.replace('+', '-')}" for name, run in runs.items()}
        for name, run in runs.items():
            stated = _chain_protocol(path.parent / name, name, run, protocol)
            entry = _entry(base | {"subsets": run["subsets"]}, stated) | shared
            entry |= {
                "id": ids[run["title"]],
                "label": run["title"],
                "training": training_facts(run["config"], run["training"]),
            }
            best = path.parent / name / "best.keras"
            if entry["checkpoint"]["sha256"] and best.is_file():
                entry["megabytes"] = megabytes(best)
            entries.append(_ordered(entry, MEASURED))
        differences = [_difference(row, ids, shared["date"]) for row in chain["differences"]]
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        raise DataError(f"{path}: not the results.json of a chain ({type(error).__name__}: {error})") from error
    return entries, differences


def add_entries(path, **parts):
    """Appends entries to ``results.yml``: the text that is there stays as it is, comments too. Whole or not at all.

    Args:
        path: of the file.
        parts: ``measured``, ``differences`` and ``quantities``: lists of entries.

    Raises:
        DataError: an id that is taken, or an entry that breaks the rules of the file; it is left alone.
    """
    path = Path(path).resolve()
    load_recorded(path)
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    for part, entries in parts.items():
        if entries:
            lines = _appended(lines, part, entries)
    text = "\n".join(lines) + "\n"
    parse_recorded(text, path)
    write_whole(path, text)


def model_file_facts(path, network=None):
    """``checkpoint`` and ``megabytes`` of an entry whose model is no checkpoint of this project.

    Args:
        path: of the model's file.
        network: what it holds; None: its suffix.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"--model-file {path}: no such file: expected the model's own")
    checkpoint = {"sha256": file_hash(path), "arch": network or path.suffix.strip(".") or path.name}
    return {"checkpoint": checkpoint, "megabytes": megabytes(path)}


def completed(entry, fields, path):
    """The entry as the file holds it: in order, its date as such, its own numbers rounded, nothing empty.

    Args:
        entry: name -> value.
        fields: of its part, in order.
        path: what the entry was read from, for errors.

    Raises:
        ConfigError: a field that must be there is not.
    """
    for name in ("machine", "command"):
        if name not in entry:
            raise ConfigError(f"--{name}: neither {path} nor a run folder around it tells it: give --{name}")
    date = _date(entry["date"]) if isinstance(entry["date"], str) else entry["date"]
    return _ordered(rounded(entry) | {"date": date}, fields)


def _appended(lines, part, entries):
    """The lines with entries behind the last one of a part."""
    how = {"sort_keys": False, "allow_unicode": True, "width": 112, "default_flow_style": None}
    texts = [yaml.dump([entry], Dumper=_Dumper, **how) for entry in entries]
    new = textwrap.indent("\n".join(texts), "  ").rstrip("\n").split("\n")
    heads = [number for number, line in enumerate(lines) if line.rstrip() in (f"{part}:", f"{part}: []")]
    if not heads:
        return [*lines, "", f"{part}:", *new]
    last = head = heads[0]
    for number in range(head + 1, len(lines)):
        if lines[number].startswith((" ", "-")):
            last = number
        elif lines[number].strip() and not lines[number].startswith("#"):
            break
    return [*lines[:head], f"{part}:", *lines[head + 1 : last + 1], *new, *lines[last + 1 :]]


def _entry(metrics, protocol):
    """Data set, protocol, numbers and checkpoint of a ``metrics.json``."""
    checkpoint, protocol = protocol["checkpoint"], {"missing": NONE_MISSING} | protocol
    return {
        "dataset": metrics["dataset"],
        "split": protocol["split"],
        "synthetic": protocol["synthetic"],
        "protocol": {name: protocol[name] for name in PROTOCOL},
        "subsets": {name: rounded(values) for name, values in metrics["subsets"].items()},
        "checkpoint": checkpoint
        and {key: checkpoint[key] for key in ("sha256", "arch", "image_size", "readout") if key in checkpoint},
    }


def _on(entry):
    return f"{entry.get('machine')}, accelerator {entry.get('accelerator')}"


def _date(text):
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--date {text}: expected a date such as 2026-11-22") from error


def _ordered(entry, fields):
    return {name: entry[name] for name in fields if name in entry and entry[name] not in ([], {}, None)}


def _chain_protocol(folder, name, run, protocol):
    """The protocol of one run of a chain; older ``results.json`` hold the checkpoint of the last run alone."""
    if "protocol" in run:
        return run["protocol"]
    metrics = folder / f"evaluation-{protocol['dataset']}" / "metrics.json"
    if metrics.is_file():
        found = read_json(metrics, "an evaluation")
        if found["subsets"] == run["subsets"]:
            return found["protocol"]
    if Path(protocol["checkpoint"]["path"]).parent.name == name:
        return protocol
    config = run["config"]
    return protocol | {"checkpoint": {"sha256": None, "arch": config["arch"], "image_size": config["image_size"]}}


def _difference(row, ids, date):
    entry = {"id": f"{ids[row['title']]}-difference", "model": ids[row["title"]], "against": ids[row["against"]]}
    return (
        entry
        | rounded({name: row[name] for name in ("difference", "low", "high")})
        | {"method": BOOTSTRAP, "date": date}
    )
