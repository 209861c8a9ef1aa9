"""How much faster several processes prepare a data set: seconds of the command, in turns, and whether bytes agree.

    python benchmarks/prepare_processes.py --source RAW --dataset 300w --processes 1 2 --rounds 3 --json prepare.json

Every round prepares the set once with each number of processes, one after the other, so that whatever else the machine
does meets all of them; the speed-up is taken within the round. A run before the first round reads the raw files into
the system's cache.

Exit status 1 if the prepared sets differ in a byte, or two processes are less than `SHARE` of twice as fast.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from asm.atomic import write_whole
from data_prep.prepare import READERS
from kdloss.benchmarking.reliability_tables import prepare_table
from kdloss.errors import ConfigError, DataError, exits_on_user_error
from kdloss.evaluation.table import text_table
from kdloss.manifest import file_hash, read_manifest
from kdloss.runs import machine

SHARE = 0.85


def prepare_once(dataset, source, out, processes):
    """Runs the command; returns its seconds, and the hashes of what it made, name -> SHA-256."""
    words = [sys.executable, "-m", "data_prep", dataset, "--source", str(source), "--out", str(out)]
    started = time.perf_counter()
    done = subprocess.run([*words, "--processes", str(processes)], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise DataError(f"preparing {source} failed: {' '.join(done.stderr.splitlines()[-1:])}")
    return seconds, {path.name: file_hash(path) for path in sorted(out.iterdir())}


def measure(dataset, source, counts, rounds, work):
    """All rounds: ``(seconds, equal, faces)``, seconds a list of dicts, number of processes -> seconds."""
    found, hashes, faces = [], [], 0
    for number in range(-1, rounds):
        taken = {}
        for processes in counts if number >= 0 else counts[:1]:
            with tempfile.TemporaryDirectory(prefix="prepare-", dir=work) as folder:
                out = Path(folder) / dataset
                os.sync()  # what the one before has written is not written to the disk at this one's cost
                taken[processes], made = prepare_once(dataset, source, out, processes)
                hashes.append(made)
                faces = read_manifest(out)["count"]
        if number >= 0:
            found.append(taken)
    return found, all(made == hashes[0] for made in hashes), faces


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    if min(args.processes) < 1 or args.rounds < 1:
        raise ConfigError(f"--processes {min(args.processes)} --rounds {args.rounds}: expected 1 at least")
    counts = sorted(set(args.processes))
    seconds, equal, faces = measure(args.dataset, args.source, counts, args.rounds, args.work)
    record = {
        "kind": "prepare",
        "command": f"python benchmarks/prepare_processes.py {shlex.join(typed)}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "dataset": args.dataset,
        "faces": faces,
        "rounds": args.rounds,
        "equal": equal,
        "rows": [
            {
                "processes": count,
                "median": statistics.median(taken[count] for taken in seconds),
                "least": min(taken[count] for taken in seconds),
                "most": max(taken[count] for taken in seconds),
                "speedup": statistics.median(taken[counts[0]] / taken[count] for taken in seconds),
            }
            for count in counts
        ],
        "seconds": [{str(count): value for count, value in taken.items()} for taken in seconds],
    }
    print(text_table(prepare_table(record)))
    if args.json:
        write_whole(args.json, json.dumps(record, indent=1))
    short = [] if equal else ["the prepared sets differ"]
    short += [
        f"{row['processes']} processes: {row['speedup']:.2f} times as fast, expected {SHARE * 2:.2f} at least"
        for row in record["rows"]
        if (counts[0], row["processes"]) == (1, 2) and row["speedup"] < SHARE * 2
    ]
    for line in short:
        print(f"missed: {line}", file=sys.stderr)
    return 1 if short else 0


def _parser():
    parser = argparse.ArgumentParser(prog="python benchmarks/prepare_processes.py", description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", default="300w", choices=list(READERS))
    parser.add_argument("--source", type=Path, required=True, help="raw data set")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="numbers of processes (1 2)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path(), help="folder for the sets, each removed after use (here)")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
