"""``kdloss.benchmark suite``: a short form of every benchmark, beside figures that were stored before."""

import functools
from pathlib import Path

from kdloss.benchmarking.suite_parts import PARTS
from kdloss.benchmarking.suite_tables import suite_tables
from kdloss.data_location import find_prepared

_print = functools.partial(print, flush=True)


def add_command(commands):
    """Adds the command to those of ``kdloss.benchmark``."""
    parser = commands.add_parser("suite", help="a short form of every benchmark, beside stored figures")
    parser.set_defaults(run=suite, least={})
    parser.add_argument("--part", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: all")
    parser.add_argument("--dataset", choices=["300w"], help="whose faces are read (default: rendered ones)")
    parser.add_argument("--data", metavar="FOLDER", help="prepared or official folder of --dataset")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="figures that --json wrote before, if they are there: the ratios to them are printed too",
    )


def suite(args):
    """The record of all benchmarks; the tables will hold the ratios to those in ``--against``."""
    from kdloss.benchmarking.suite import run_suite, stored_suite

    # Before all else: it may be the file that is written in the end.
    stored = stored_suite(args.against) if args.against else None
    if args.against and not stored:
        _print(f"{args.against}: not there yet, so there is nothing to compare with")
    args.tables = functools.partial(suite_tables, stored=stored)
    prepared = find_prepared(args.dataset, args.data) if args.dataset else None
    return run_suite(list(dict.fromkeys(args.part)), prepared, _print)
