"""Compares the speed of several ways to do the same work, in turns, each in a process of its own.

A script defines its ways and calls `main`. Machines are shared and noisy. So in a round, every way works once, one
after the other: other load then meets them alike, and ratios are taken within the round. The first round warms up and
does not count. With ``--against CHECKOUT`` each way also runs with the packages of another checkout of the project, and
the ratios are those of this checkout to the other.
"""

import argparse
import contextlib
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from kdloss.machine import machine

HERE = Path(__file__).resolve().parents[1]
# On a busy machine, processor time (of all threads) compares two checkouts better than wall time.
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


class Way(NamedTuple):
    """One way to work.

    Args:
        make: a function of the arguments that prepares everything. It returns a function that works for one round and
            returns how many units a second it did, by the clock ``args.now()``.
        beside: the name of the way that it is compared with.
    """

    make: object
    beside: str


def spread(values):
    """Median, least and largest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def main(parser, ways, unit, describe):
    """Runs a script: measures its ways, and prints and writes the table.

    Args:
        parser: an `argparse.ArgumentParser` with the script's own flags.
        ways: name -> `Way`.
        unit: what the ways count, such as ``images``.
        describe: a function of the arguments; returns a line for the notes of the table.
    """
    parser.add_argument("--way", nargs="+", choices=list(ways), default=list(ways), help="default: all")
    parser.add_argument("--rounds", type=int, default=7, help="that count (default: %(default)s)")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="folder of another checkout of the project")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="whose seconds (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument("--worker", choices=list(ways), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.now = CLOCKS[args.clock]
    if args.worker:
        _work(ways[args.worker].make(args))
        return
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: expected 1 at least")
    checkouts = {"this": HERE} | ({"other": args.against.resolve()} if args.against else {})
    if not all((folder / "kdloss").is_dir() for folder in checkouts.values()):
        parser.error(f"--against {args.against}: expected the folder of a checkout, which holds kdloss")
    rates = _measure([(name, title) for name in args.way for title in checkouts], checkouts, args.rounds, unit)
    here, script = machine(), Path(sys.argv[0])
    notes = [
        describe(args),
        f"median, least and most of {args.rounds} rounds in turns, {args.clock} time, after one; x: within a round",
        f"{here['processor'] or here['platform']}, {here['cores']} cores",
        f"`python tools/{script.name} {shlex.join(sys.argv[1:])}`, {time.strftime('%Y-%m-%d')}",
    ]
    columns = ["way", "checkout", f"{unit}/s", "least", "most", "beside", "x", "least", "most"]
    rows = [_row(name, title, rates, ways) for name, title in rates]
    print(tabulate(rows, columns, disable_numparse=True), *(f"  {note}" for note in notes), sep="\n")
    if args.json:
        table = {"title": parser.description, "columns": columns, "rows": rows, "notes": notes}
        rounds = [{"way": name, "checkout": title, "rates": found} for (name, title), found in rates.items()]
        record = {"rounds": rounds, "machine": here, "tables": {script.stem: table}}
        args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _row(name, title, rates, ways):
    beside = (name, "other") if title == "this" and (name, "other") in rates else (ways[name].beside, title)
    found = rates[name, title]
    cells = [name, title, *(f"{value:.4g}" for value in spread(found).values())]
    if beside not in rates or beside == (name, title):
        return [*cells, "-", "-", "-", "-"]
    label = "other checkout" if beside[1] != title else beside[0]
    ratios = [one / other for one, other in zip(found, rates[beside], strict=True)]
    return [*cells, label, *(f"{value:.3f}" for value in spread(ratios).values())]


def _measure(turns, checkouts, rounds, unit):
    """``(way, checkout)`` -> the rate of each round."""
    rates = {turn: [] for turn in turns}
    with contextlib.ExitStack() as stack:
        workers = {turn: stack.enter_context(_worker(turn[0], checkouts[turn[1]])) for turn in turns}
        for number in range(rounds + 1):
            for turn, worker in workers.items():
                rate = _ask(worker, turn)
                print(f"round {number} of {rounds}: {', '.join(turn)}: {rate:.4g} {unit}/s", file=sys.stderr)
                rates[turn] += [rate] if number else []
    return rates


@contextlib.contextmanager
def _worker(name, checkout):
    """A process of this script that works for one round for each line that it reads."""
    words = [sys.executable, *sys.argv, "--worker", name]
    environment = os.environ | {"PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3"}
    with subprocess.Popen(words, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if (packages := _ask(process, (name, str(checkout)))) != str(checkout):
            raise SystemExit(f"{name}: ran with the packages of {packages}, expected those of {checkout}")
        try:
            yield process
        finally:
            process.stdin.close()


def _ask(worker, turn):
    with contextlib.suppress(BrokenPipeError):
        print(file=worker.stdin, flush=True)
    answer = worker.stdout.readline()
    if not answer:
        raise SystemExit(f"{', '.join(turn)}: the worker ended, see above")
    return json.loads(answer)


def _work(work):
    import kdloss

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # other output must not mix with the answers
    for number, _ in enumerate(sys.stdin):
        answer = work() if number else str(Path(kdloss.__file__).parents[1])
        print(json.dumps(answer), file=answers, flush=True)
