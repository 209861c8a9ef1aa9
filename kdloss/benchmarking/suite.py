"""A short form of every benchmark, one after the other, each in a process of its own."""

import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kdloss.benchmarking.inference import spread
from kdloss.benchmarking.suite_parts import PARTS
from kdloss.benchmarking.suite_tables import suite_tables
from kdloss.data_location import find_prepared
from kdloss.errors import ConfigError, DataError
from kdloss.evaluation.provenance import read_json

KIND = "suite"
# Faces that are rendered where none are given.
_TRAIN, _TEST = 320, 16


def run_suite(names, prepared=None, announce=lambda line: None):
    """Runs parts and collects their figures.

    Args:
        names: of `PARTS`.
        prepared: the `PreparedDataset`, or None: faces are rendered, where a part needs some.
        announce: takes a line of progress now and then.

    Returns:
        For JSON: ``parts``, each with ``words`` of its command and ``seconds`` that it took; ``faces``, or None where
        no part needs any; ``figures``: ``benchmark``, ``name``, ``unit``, ``better`` (``more`` or ``less``),
        ``median``, ``low``, ``high``, ``n`` and the ``values`` themselves, one a round.

    Raises:
        ConfigError: a part fails.
    """
    parts, figures = [], []
    with tempfile.TemporaryDirectory(prefix="kdloss-") as work:
        work, data = Path(work), []
        if any(PARTS[name].faces for name in names):
            prepared = prepared or _rendered(work, announce)
            data = ["--dataset", prepared.dataset, "--data", str(prepared.path)]
        for name in names:
            announce(f"{name}: python -m kdloss.benchmark {PARTS[name].words}")
            started = time.perf_counter()
            words = shlex.split(PARTS[name].words)
            _run("kdloss.benchmark", *words, *(data if PARTS[name].faces else []), "--json", work / "record.json")
            parts.append({"benchmark": name, "words": PARTS[name].words, "seconds": time.perf_counter() - started})
            record = json.loads((work / "record.json").read_text(encoding="utf-8"))
            figures += [_figure(name, figure) for figure in PARTS[name].figures(record)]
    return {"parts": parts, "faces": _facts(prepared) if data else None, "figures": figures}


def stored_suite(path):
    """What `run_suite` found before, with its machine, date and command.

    Args:
        path: of the JSON file.

    Returns:
        The record, or None where there is no such file.

    Raises:
        DataError: it is something else.
    """
    if not path.exists():
        return None
    remedy = "write it anew with python -m kdloss.benchmark suite --json"
    record = read_json(path, f"a record of kdloss.benchmark suite: {remedy}")
    if not isinstance(record, dict) or record.get("kind") != KIND:
        raise DataError(f"{path}: not a record of kdloss.benchmark suite: {remedy}")
    try:
        suite_tables(record, record)
    except (KeyError, TypeError, AttributeError, ValueError, ZeroDivisionError) as error:
        raise DataError(f"{path}: damaged ({error!r}): {remedy}") from error
    return record


def _figure(benchmark, figure):
    described = {"benchmark": benchmark, "name": figure.name, "unit": figure.unit, "better": figure.better}
    return described | spread(figure.values) | {"n": len(figure.values), "values": figure.values}


def _rendered(work, announce):
    announce(f"rendering {_TRAIN} + {_TEST} faces")
    raw, folder = work / "raw", work / "300w"
    counts = ["--count", _TRAIN, "--test-count", _TEST, "--seed", 0]
    _run("data_prep", "synthetic", "--layout", "300w", *counts, "--out", raw)
    _run("data_prep", "300w", "--source", raw, "--out", folder)
    return find_prepared("300w", folder)


def _run(module, *words):
    command = [sys.executable, "-m", module, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.splitlines() or ["it said nothing"])[-1]
        raise ConfigError(f"python -m {module} {words[0]}: ended with {done.returncode} ({last}): try it alone")


def _facts(prepared):
    facts = {"dataset": prepared.dataset, "train": len(prepared.indices("train")), "side": prepared.size}
    return facts | {"synthetic": bool(prepared.synthetic), "content": prepared.manifest["content"]}
