"""Fuzzes the readers of everything that others may send: damaged files, and files that are nearly right.

    python benchmarks/fuzz_readers.py --inputs 100000 --seed 0 --json fuzz.json --keep fuzz-crashes

A reader must read an input or refuse it with the project's own error of one line. Anything else is a crash: another
exception, a warning, more than 5 seconds of the processor or 1 GB for one input, the end of the process. The inputs
depend on the seed alone. ``--keep`` is a folder for those that crash.

Exit status 1 if one does.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the generators are those of the tests

from asm.atomic import write_whole
from kdloss.benchmarking.reliability_tables import fuzz_table
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.table import text_table
from kdloss.runs import machine
from tests.fuzz.campaign import combined, plan, run_jobs
from tests.fuzz.readers import READERS


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    chosen = [reader for reader in READERS if not args.reader or reader.name in args.reader]
    if args.inputs < 1 or args.processes < 1:
        raise ConfigError(f"--inputs {args.inputs} --processes {args.processes}: expected 1 at least")
    jobs, started = plan(chosen, args.inputs, args.seed), time.monotonic()
    results = run_jobs("tests.fuzz.readers", jobs, args.processes, args.keep, report=_Progress(len(jobs)))
    record = {
        "kind": "fuzz",
        "command": f"python benchmarks/fuzz_readers.py {shlex.join(typed)}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "seed": args.seed,
        "processes": args.processes,
        "seconds": time.monotonic() - started,
        "readers": combined(chosen, results),
        "crashes": [crash for result in results for crash in result.crashes],
    }
    print(text_table(fuzz_table(record)))
    for crash in record["crashes"]:
        print(f"crash: {crash['reader']}: {crash['kind']} {crash['place']}: {crash['text'][:100]!r}", file=sys.stderr)
    if args.json:
        write_whole(args.json, json.dumps(record, indent=1))
    return 1 if record["crashes"] else 0


class _Progress:
    """Prints how many jobs are done, now and then."""

    def __init__(self, total):
        self._total, self._done, self._shown = total, 0, 0

    def __call__(self, result):
        self._done += 1
        if (tenth := 10 * self._done // self._total) > self._shown:
            self._shown = tenth
            print(f"{10 * tenth:3d} %", file=sys.stderr, flush=True)


def _parser():
    parser = argparse.ArgumentParser(prog="python benchmarks/fuzz_readers.py", description=__doc__.split("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="for all readers together (100000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="that read at a time (2)")
    names = [reader.name for reader in READERS]
    parser.add_argument(
        "--reader", action="append", choices=names, metavar="NAME", help=f"only this: {', '.join(names)}"
    )
    parser.add_argument("--keep", type=Path, help="folder for inputs that crashed a reader")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
