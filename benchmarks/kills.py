"""Kills commands at random moments, runs them again, and compares what they leave with what an undisturbed run left.

    python benchmarks/kills.py --tries 20 --json kills.json
    python benchmarks/kills.py --stages training --tries 5 --work runs/kills --seed 1

Renders faces, then runs each command once undisturbed: prepare, a training, another that stores its teachers' points,
an evaluation, an export. Each try is the same command in a folder of its own with the same input; SIGKILL ends it and
all its children at a random moment of the last two thirds of the time that the undisturbed run took (before that
Python still imports), every second time twice, and then it is run to its end. Files that say the same whenever they
are made must be equal to the byte, arrays to within 1e-6; nothing else may lie beside them.

Exit status 1 if a try ended otherwise.
"""

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from asm.atomic import write_whole
from kdloss.benchmarking.reliability_tables import kills_table
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.table import text_table
from kdloss.runs import machine

TOLERANCE = 1e-6
FACES, TEST_FACES = 60, 16
PREPARED = 1200  # faces that prepare is killed over
IMPORTS = 1 / 3  # of a command's time, in which nothing is killed
_NETWORK = ["--recipe", "cpu", "--arch", "mobilenetv2-0.35", "--weights", "none", "--heatmap-loss", "none"]
_NETWORK += ["--image-size", "32", "--batch-size", "6", "--ema", "0.9", "--seed", "7"]
# What no two runs can have in common: times, and versions of what they ran on.
_OF_THE_RUN = ("environment.json", "tensorboard", "history.csv", "finished.json")


@dataclass(frozen=True)
class Stage:
    """A command that is killed.

    Args:
        name: of the stage.
        words: of the command, run in the folder of the try.
        makes: what it makes there.
        needs: what it finds there, made by the stages before.
    """

    name: str
    words: list[str]
    makes: list[str]
    needs: list[str]


def _teacher(kind, epochs):
    return ["-m", "kdloss.train_teacher", "--kind", kind, *_NETWORK, "--epochs", str(epochs), "--out", f"runs/{kind}"]


def _render(count, test_count, out):
    counts = ["--count", str(count), "--test-count", str(test_count), "--seed", "0"]
    return ["-m", "data_prep", "synthetic", "--layout", "300w", *counts, "--out", out]


def _prepare(source, out):
    return ["-m", "data_prep", "300w", "--source", source, "--out", out]


# What the stages begin with, made in the folder that holds all.
GIVEN = [
    Stage("render", _render(FACES, TEST_FACES, "raw"), [], []),
    Stage("render many", _render(PREPARED, 0, "many"), [], []),
    Stage("prepare few", _prepare("raw", "reference/data/300w"), [], []),
]
_STUDENT = ["-m", "kdloss.train_student", "--method", "kd-loss", "--tough", "runs/tough", "--tolerant", "runs/tough"]
_STUDENT += [*_NETWORK, "--epochs", "2", "--teacher-views", "12", "--out", "runs/student"]
_EXPORT = ["-m", "kdloss.export", "--checkpoint", "runs/tough", "--format", "litert", "--out", "tough.tflite"]
STAGES = [
    Stage("prepare", _prepare("../many", "many"), ["many"], []),
    Stage("training", _teacher("tough", 6), ["runs/tough"], ["data"]),
    Stage("teacher cache", _STUDENT, ["runs/teacher-views", "runs/student"], ["data", "runs/tough"]),
    Stage(
        "evaluate", ["-m", "kdloss.evaluate", "--dataset", "300w", "--checkpoint", "runs/tough", "--out", "evaluation"],
        ["evaluation"], ["data", "runs/tough"],
    ),
    Stage("export", _EXPORT, ["tough.tflite"], ["data", "runs/tough"]),
]  # fmt: skip


def run(stage, folder, kill_after=None):
    """Runs a stage's command; with ``kill_after`` (seconds) it is killed then, if it still runs.

    Returns:
        (exit status, seconds, what it wrote to standard error).
    """
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "KDLOSS_DATA": "data", "KDLOSS_RUNS": "runs",
        "TF_CPP_MIN_LOG_LEVEL": "3", "TF_DETERMINISTIC_OPS": "1",
    }  # fmt: skip
    started = time.monotonic()
    # A file, not a pipe: a child that outlived the kill would keep a pipe open.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, *stage.words], cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors,
            start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        errors.seek(0)
        return process.returncode, time.monotonic() - started, errors.read()


def place_for(folder, reference, stage):
    """An empty folder that holds what a stage needs."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in stage.needs:
        shutil.copytree(reference / name, folder / name, copy_function=os.link)


def difference(found, expected):
    """How two files or folders differ: the largest difference of numbers, or a text that says what else does."""
    if expected.is_dir():
        ours, theirs = (
            {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()} for top in (found, expected)
        )
        ours, theirs = ({name for name in names if not name.startswith("tensorboard")} for names in (ours, theirs))
        if ours != theirs:
            return f"other files: {', '.join(sorted(ours ^ theirs))}"
        return worst([difference(found / name, expected / name) for name in sorted(theirs)])
    if not found.is_file():
        return f"{expected.name} is missing"
    if expected.name in _OF_THE_RUN or found.read_bytes() == expected.read_bytes():
        return 0.0
    read = {".npz": _arrays_of_npz, ".keras": _arrays_of_keras, ".json": _facts, ".jsonl": _facts}
    if expected.suffix not in read:
        return f"{expected.name} differs"
    ours, theirs = read[expected.suffix](found), read[expected.suffix](expected)
    if ours.keys() != theirs.keys():
        return f"{expected.name} holds other entries"
    largest = 0.0
    for name, array in theirs.items():
        if array.shape != ours[name].shape or array.dtype.kind != ours[name].dtype.kind:
            return f"{expected.name}: {name} is of another kind"
        if array.dtype.kind in "fiu":
            if not np.array_equal(np.isnan(array), np.isnan(ours[name])):
                return f"{expected.name}: {name} is no number elsewhere"
            apart = np.nan_to_num(np.abs(array.astype(np.float64) - ours[name].astype(np.float64)))
            largest = max(largest, float(apart.max(initial=0.0)))
        elif not np.array_equal(array, ours[name]):
            return f"{expected.name}: {name} differs"
    return largest


def worst(found):
    """Of several differences the first text, else the largest number."""
    texts = [one for one in found if isinstance(one, str)]
    return texts[0] if texts else max(found, default=0.0)


def _arrays_of_npz(path):
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if "progress" in arrays:
        arrays["progress"] = np.array(json.dumps(_timeless(json.loads(str(arrays["progress"])))))
    return arrays


def _arrays_of_keras(path):
    found = {}
    with zipfile.ZipFile(path) as archive, archive.open("model.weights.h5") as inner, h5py.File(inner) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def _facts(path):
    text = path.read_text(encoding="utf-8")
    record = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else json.loads(text)
    return {"content": np.array(json.dumps(_timeless(record), sort_keys=True))}


def _timeless(value):
    """Without what tells when, how fast and where a file was made."""
    if isinstance(value, dict):
        own = ("seconds", "environment", "command", "date")
        return {name: _timeless(inner) for name, inner in value.items() if name not in own}
    return [_timeless(inner) for inner in value] if isinstance(value, list) else value


def attempt(stage, number, folder, reference, seconds, rng):
    """One try: (how often it was killed, the `difference` or why there is none)."""
    place_for(folder, reference, stage)
    killed = 0
    for _ in range(1 + number % 2):
        status, _, _ = run(stage, folder, kill_after=rng.uniform(IMPORTS, 1.0) * seconds)
        if status != -signal.SIGKILL:
            break
        killed += 1
    if status == -signal.SIGKILL:
        status, _, errors = run(stage, folder)
        if status != 0:
            return killed, f"exit status {status}: {(errors.strip().splitlines() or ['nothing said'])[-1]}"
    hidden = [str(path.relative_to(folder)) for path in folder.rglob(".*")]
    if hidden:
        return killed, f"left behind: {', '.join(hidden)}"
    return killed, worst([difference(folder / name, reference / name) for name in stage.makes])


def measure(stages, tries, seed, work, say=print):
    """The rows of the record: one a stage that is asked for."""
    rng, reference, rows = random.Random(seed), work / "reference", []
    shutil.rmtree(work, ignore_errors=True)
    reference.mkdir(parents=True)
    for stage in [*GIVEN, *STAGES]:
        status, seconds, errors = run(stage, work if stage in GIVEN else reference)
        if status:
            raise ConfigError(f"{stage.name}: ended with {status} though nobody killed it: {errors.strip()[-500:]}")
        if stage.name not in stages:
            continue
        found = []
        for number in range(tries):
            killed, apart = attempt(stage, number, work / "try", reference, seconds, rng)
            found.append((killed, apart))
            say(f"{stage.name} {number + 1}/{tries}: killed {killed} times, {_said(apart)}")
        hit = [apart for killed, apart in found if killed]
        rows.append({
            "stage": stage.name, "seconds": round(seconds, 2), "tries": tries, "killed": len(hit),
            "kills": sum(killed for killed, _ in found),
            "survived": sum(not isinstance(apart, str) and apart <= TOLERANCE for apart in hit),
            "largest": max((apart for _, apart in found if not isinstance(apart, str)), default=None),
            "failures": sorted({_said(apart) for _, apart in found if isinstance(apart, str) or apart > TOLERANCE}),
        })  # fmt: skip
    return rows


def _said(apart):
    return apart if isinstance(apart, str) else f"largest difference {apart:g}"


@exits_on_user_error
def main(argv=None):
    names = [stage.name.replace(" ", "-") for stage in STAGES]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stages", nargs="+", choices=names, default=names, help="default: all")
    parser.add_argument("--tries", type=int, default=20, help="of each stage (20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--work", type=Path, help="folder to work in; is emptied (default: a temporary one)")
    parser.add_argument("--json", type=Path, help="file for the record")
    args = parser.parse_args(argv)
    if args.tries < 1:
        raise ConfigError(f"--tries {args.tries}: expected 1 at least")
    if args.work and args.work.exists() and not (args.work / "reference").is_dir():
        raise ConfigError(f"--work {args.work}: exists and is none of an earlier call, so it is not emptied")
    with tempfile.TemporaryDirectory() as temporary:
        work = (args.work or Path(temporary) / "work").resolve()
        stages = [name.replace("-", " ") for name in args.stages]
        record = {
            "kind": "kills",
            "command": f"python benchmarks/kills.py {shlex.join(sys.argv[1:] if argv is None else argv)}".rstrip(),
            "date": time.strftime("%Y-%m-%d"),
            "machine": machine(),
            "settings": {
                "faces": FACES,
                "test_faces": TEST_FACES,
                "prepared": PREPARED,
                "seed": args.seed,
                "tolerance": TOLERANCE,
            },
            "rows": measure(stages, args.tries, args.seed, work),
        }
    print(text_table(kills_table(record)))
    if args.json:
        write_whole(args.json, json.dumps(record, indent=1, allow_nan=False) + "\n")
    return int(any(row["failures"] for row in record["rows"]))


if __name__ == "__main__":
    raise SystemExit(main())
