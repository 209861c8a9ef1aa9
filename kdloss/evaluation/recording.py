"""New entries for ``results.yml``: from folders that `kdloss.evaluate` and `kdloss.reproduce` wrote."""

import datetime
import hashlib
import json
import textwrap
from dataclasses import dataclass
from pathlib import Path

import yaml

from asm.atomic import write_whole
from kdloss.errors import ConfigError, DataError
from kdloss.evaluation.recorded import load_recorded, parse_recorded
from kdloss.evaluation.recorded_fields import MEASURED

PROTOCOL = ("normaliser", "box", "thresholds", "flip_test", "occluded_points", "missing", "content")
# What metrics.json did not yet say when every face had to have a prediction.
NONE_MISSING = {"n": 0, "counted": "none missing"}
BOOTSTRAP = "paired bootstrap over the test faces, 95 %"


class _Dumper(yaml.SafeDumper):
    """Writes a value that several entries share into each of them, instead of a reference to the first."""

    def ignore_aliases(self, data):
        return True


@dataclass(frozen=True)
class Run:
    """What a finished run folder says of a measurement: parts of its entry."""

    training: dict
    machine: dict
    megabytes: float


def evaluation_entry(folder, **stated):
    """The entry of an evaluation folder.

    Seed, faces, epochs and machine come from the run folder around it (or from that of the checkpoint), if its
    ``best.keras`` is the file that was measured.

    Args:
        folder: holds ``metrics.json``.
        stated: fields of the entry, `id` and `label` at least; they replace what the folders say, None does not.
            ``training`` adds to what they say; ``ms`` was measured on the same machine.

    Raises:
        DataError: no measurement there.
        ConfigError: a field that neither the folders nor ``stated`` tell.
    """
    folder = Path(folder)
    metrics = _json(folder / "metrics.json", "the folder of an evaluation: run python -m kdloss.evaluate first")
    try:
        entry = _entry(metrics, metrics["protocol"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / 'metrics.json'}: holds no {error}: expected what kdloss.evaluate writes") from error
    checkpoint = metrics["protocol"]["checkpoint"]
    run = None if checkpoint is None else _run(folder.resolve().parent, Path(checkpoint["path"]).parent, checkpoint)
    written = datetime.date.fromtimestamp((folder / "metrics.json").stat().st_mtime)
    entry |= {"date": written}
    if run:
        flip = " --flip-test" if metrics["protocol"]["flip_test"] else ""
        command = (
            f"--dataset {entry['dataset']} --checkpoint {checkpoint['path']} --box {entry['protocol']['box']}{flip}"
        )
        entry |= run.machine | {"training": run.training, "megabytes": run.megabytes}
        entry["command"] = f"python -m kdloss.evaluate {command}"
    training = entry.get("training", {}) | _told(stated.pop("training", {}))
    entry |= _told(stated) | {"training": training}
    if isinstance(entry["date"], str):
        entry["date"] = _date(entry["date"])
    for name in ("machine", "command"):
        if name not in entry:
            raise ConfigError(f"--{name}: {folder} lies in no run folder that tells it: give --{name}")
    if "ms" in entry:
        entry["ms"] = entry["ms"] | {"machine": entry["machine"]}
    return _ordered(entry)


def chain_entries(path, prefix, command=None, caveats=()):
    """The entries of a chain's ``results.json``: the mean shape, its runs, and their differences.

    The hash of each checkpoint and the size of its file are taken from the run folders beside the file, where they are.

    Args:
        path: of ``results.json``.
        prefix: the ids are ``PREFIX-RUN``, and ``PREFIX-mean-shape``.
        command: replaces the recorded one.
        caveats: sentences for all of them.

    Returns:
        Two lists: entries of measured results, and of differences.
    """
    path = Path(path)
    chain = _json(path, "the results.json of python -m kdloss.reproduce")
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
        entries = [_ordered(mean)]
        for name, run in runs.items():
            stated = _chain_protocol(path.parent / name, name, run, protocol)
            entry = _entry(base | {"subsets": run["subsets"]}, stated) | shared
            entry |= {
                "id": f"{prefix}-{name}",
                "label": run["title"],
                "training": _training(run["config"], run["training"]),
            }
            best = path.parent / name / "best.keras"
            if entry["checkpoint"]["sha256"] and best.is_file():
                entry["megabytes"] = _megabytes(best)
            entries.append(_ordered(entry))
        ids = {run["title"]: f"{prefix}-{name}" for name, run in runs.items()}
        differences = [_difference(row, ids, shared["date"]) for row in chain["differences"]]
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise DataError(f"{path}: not the results.json of a chain ({type(error).__name__}: {error})") from error
    return entries, differences


def add_entries(path, **parts):
    """Appends entries to ``results.yml``: the text that is there stays as it is, comments too. Whole or not at all.

    Args:
        path: of the file.
        parts: ``measured`` and ``differences``: lists of entries.

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
    checkpoint = {"sha256": _sha256(path), "arch": network or path.suffix.strip(".") or path.name}
    return {"checkpoint": checkpoint, "megabytes": _megabytes(path)}


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
        "subsets": {name: _rounded(values) for name, values in metrics["subsets"].items()},
        "checkpoint": checkpoint
        and {key: checkpoint[key] for key in ("sha256", "arch", "image_size") if key in checkpoint},
    }


def _told(fields):
    return {name: value for name, value in fields.items() if value is not None}


def _date(text):
    try:
        return datetime.date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--date {text}: expected a date such as 2026-11-22") from error


def _ordered(entry):
    return {name: entry[name] for name in MEASURED if name in entry and entry[name] not in ([], {}, None)}


def _rounded(values):
    """Six decimals of a percent: more than any table shows, and stable over rewriting."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def _run(around, named, checkpoint):
    """The `Run` of the first folder whose ``best.keras`` is the checkpoint, or None."""
    for folder in (around, named):
        best, config = folder / "best.keras", folder / "config.json"
        if best.is_file() and config.is_file() and _sha256(best) == checkpoint["sha256"]:
            expected = "a finished run of this project"
            environment = _json(folder / "environment.json", expected)
            machine = {"machine": f"{environment['processor']}, {environment['cores']} cores"}
            machine["accelerator"] = ", ".join(environment["accelerators"]) or "none"
            training = _training(_json(config, expected), _json(folder / "finished.json", expected))
            return Run(training, machine, _megabytes(best))
    return None


def _training(config, results):
    """The ``training`` of an entry from a run's configuration and results."""
    weights = Path(config["weights"])
    start = "scratch" if config["weights"] == "none" else f"from {weights.parent.name or weights}"
    found = {
        "faces": results.get("train_faces"),
        "validation_faces": results.get("val_faces"),
        "epochs": results.get("epochs"),
        "seed": config["seed"],
        "start": start,
        "seconds": results.get("seconds"),
        "val_nme": results.get("val_nme"),
    }
    return _rounded(_told(found))


def _chain_protocol(folder, name, run, protocol):
    """The protocol of one run of a chain; ``results.json`` holds the checkpoint of the last run alone."""
    metrics = folder / f"evaluation-{protocol['dataset']}" / "metrics.json"
    if metrics.is_file():
        found = _json(metrics, "an evaluation")
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
        | _rounded({name: row[name] for name in ("difference", "low", "high")})
        | {"method": BOOTSTRAP, "date": date}
    )


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _megabytes(path):
    return round(path.stat().st_size / 1e6, 2)


def _json(path, expected):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        raise DataError(f"{path}: cannot be read ({reason}): expected {expected}") from error
