"""What the folders of a measurement tell of it: command, date, machine, and the training of its checkpoint."""

import datetime
import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from kdloss.errors import DataError
from kdloss.evaluation.protocol import MISSING

# What metrics.json did not yet say when every face had to have a prediction.
NONE_MISSING = {"n": 0, "counted": MISSING["error"]}


@dataclass(frozen=True)
class Run:
    """What a finished run folder says of a measurement: parts of its entry."""

    training: dict
    machine: dict
    megabytes: float


def read_evaluation(path):
    """What a ``metrics.json`` holds, and the `Run` of its checkpoint or None."""
    metrics = read_json(path, "the folder of an evaluation: run python -m kdloss.evaluate first")
    try:
        checkpoint = metrics["protocol"]["checkpoint"]
        folders = () if checkpoint is None else (path.resolve().parents[1], Path(checkpoint["path"]).parent)
        return metrics, next(filter(None, (_run(folder, checkpoint["sha256"]) for folder in folders)), None)
    except (KeyError, TypeError) as error:
        raise DataError(f"{path}: holds no {error}: expected what kdloss.evaluate writes") from error


def circumstances(path, metrics, run):
    """Date, command, machine and accelerator of an evaluation, as far as it or its `Run` tells them."""
    found = {"date": datetime.date.fromtimestamp(path.stat().st_mtime)}
    if run:
        found |= run.machine | {"command": _evaluate_command(metrics)}
    if "environment" in metrics:
        found |= machine_facts(metrics["environment"])
    return found | told({"command": metrics.get("command")})


def machine_facts(environment):
    """``machine`` and ``accelerator`` of an entry, from `kdloss.runs.machine` or `kdloss.runs.environment`."""
    processor, accelerators = environment["processor"], environment.get("accelerators") or []
    return {
        "machine": f"{processor or 'unknown processor'}, {environment['cores']} cores",
        "accelerator": ", ".join(accelerators) or "none",
    }


def training_facts(config, results):
    """The ``training`` of an entry from a run's configuration and results."""
    return _result_facts(results) | _setting_facts(config)


def _result_facts(results):
    names = {"faces": "train_faces", "validation_faces": "val_faces"}
    names |= {name: name for name in ("epochs", "seconds", "val_nme")}
    return rounded(told({name: results.get(key) for name, key in names.items()}))


def _setting_facts(config):
    weights = Path(config["weights"])
    start = "scratch" if config["weights"] == "none" else f"from {weights.parent.name or weights}"
    return {"seed": config["seed"], "start": start}


def _run(folder, sha256):
    """The `Run` of a folder if its ``best.keras`` is the checkpoint of that hash, or None."""
    best, config = folder / "best.keras", folder / "config.json"
    if not best.is_file() or not config.is_file() or file_hash(best) != sha256:
        return None
    training = _facts(folder / "finished.json", _result_facts) | _facts(config, _setting_facts)
    return Run(training, _facts(folder / "environment.json", machine_facts), megabytes(best))


def _facts(path, read):
    """What ``read`` makes of a JSON file of a run folder."""
    expected = "that of a finished run of this project"
    try:
        return read(read_json(path, expected))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: damaged ({type(error).__name__}: {error}): expected {expected}") from error


def _evaluate_command(metrics):
    """The command that leads to a ``metrics.json`` that does not name its own."""
    protocol = {"missing": NONE_MISSING} | metrics["protocol"]
    words = ["--dataset", metrics["dataset"], "--checkpoint", protocol["checkpoint"]["path"]]
    detector, _, box = protocol["box"].rpartition(" as ")
    words += [] if box == "not stated" else ["--box", box]
    words += ["--detector", detector] if detector else []
    words += [] if protocol["split"] == "test" else ["--split", protocol["split"]]
    words += ["--flip-test"] if protocol["flip_test"] else []
    words += ["--readout", readout] if (readout := (protocol["checkpoint"] or {}).get("readout")) else []
    if protocol["missing"]["n"]:
        counted = protocol["missing"]["counted"]
        words += ["--missing", {said: option for option, said in MISSING.items()}[counted]]
    words += ["--robustness", str(metrics["robustness"]["n"])] if metrics.get("robustness") else []
    return f"python -m kdloss.evaluate {shlex.join(words)}"


def told(fields):
    """The fields without those that are None."""
    return {name: value for name, value in fields.items() if value is not None}


def rounded(values):
    """Six decimals of a percent: more than any table shows, and stable over rewriting."""
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}


def read_json(path, expected):
    """What a JSON file holds.

    Raises:
        DataError: it cannot be read; the message says what was ``expected``.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        raise DataError(f"{path}: cannot be read ({reason}): expected {expected}") from error


def file_hash(path):
    """The first 16 digits of a file's SHA-256, as `metrics.json` names checkpoints."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def megabytes(path):
    """Size of a file in MB, 10^6 bytes."""
    return round(path.stat().st_size / 1e6, 2)
