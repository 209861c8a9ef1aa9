"""The record of every measured and every published number, and the tables in Markdown files that come from it.

    python -m kdloss.results show --dataset 300w
    python -m kdloss.results add runs/student/evaluation-300w --id student-2 --label "student, second seed"
    python -m kdloss.results add-chain runs/reproduce-300w-gpu/results.json --prefix 300w-gpu
    python -m kdloss.results add-robustness runs/student/evaluation-300w --of student-2 --prefix student-2
    python -m kdloss.results add-detector evaluation/300w-student --of student-2 --prefix student-2-lbp
    python -m kdloss.results add-throughput throughput.json --of student-2 --prefix student-2
    python -m kdloss.results write
    python -m kdloss.results check

The record is ``docs/results/results.yml``.
"""

import argparse
import sys
from pathlib import Path

from kdloss.datasets import DATASETS
from kdloss.errors import ConfigError, DataError, exits_on_user_error
from kdloss.evaluation.generated import block_names, check_blocks, dataset_tables, write_blocks
from kdloss.evaluation.recorded import FILE, load_recorded
from kdloss.evaluation.recorded_fields import KINDS
from kdloss.evaluation.recording import add_entries, chain_entries, evaluation_entry, model_file_facts
from kdloss.evaluation.recording_quantities import detector_entries, robustness_entries, throughput_entries
from kdloss.evaluation.tables import text_table

HERE = Path("docs/results/results.yml")


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    # Away from a checkout there is still what the package carries, to be shown.
    args.results = args.results or (FILE if args.run is show and not HERE.is_file() else HERE)
    return args.run(args)


def show(args):
    recorded = load_recorded(args.results)
    tables = [table for name in DATASETS if args.dataset in (None, name) for table in dataset_tables(recorded, name)]
    print("\n\n".join(map(text_table, tables)) or f"{args.results}: nothing recorded of {args.dataset}")
    return 0


def add(args):
    if args.network and not args.model_file:
        raise ConfigError(f"--network {args.network}: names what --model-file holds: give both")
    if (args.ms is None) != (args.ms_what is None):
        raise ConfigError("--ms, --ms-what: found one of them, expected the time for one face and what it is of")
    names = ("id", "label", "kind", "command", "machine", "accelerator", "date", "megabytes", "parameters", "note")
    stated = {name: getattr(args, name) for name in names} | {"caveats": args.caveat}
    if args.model_file:
        stated |= model_file_facts(args.model_file, args.network)
    if args.ms is not None:
        stated["ms"] = {"value": args.ms, "what": args.ms_what}
    stated["training"] = {
        "faces": args.training_faces,
        "validation_faces": args.validation_faces,
        "seed": args.seed,
        "seconds": args.seconds,
    }
    add_entries(args.results, measured=[evaluation_entry(args.folder, **stated)])
    print(f"{args.results}: added {args.id}")
    return 0


def add_chain(args):
    measured, differences = chain_entries(args.file, args.prefix, args.command, args.caveat or ())
    add_entries(args.results, measured=measured, differences=differences)
    print(f"{args.results}: added {', '.join(entry['id'] for entry in (*measured, *differences))}")
    return 0


def add_quantities(args):
    recorded = load_recorded(args.results)
    by_id = {entry.id: entry for entry in recorded.measured}
    if args.of not in by_id:
        raise ConfigError(f"--of {args.of}: not the id of a measured result of {args.results}: add that first")
    stated = {name: getattr(args, name) for name in ("command", "machine", "accelerator", "date")}
    entries = args.entries(args.source, by_id[args.of], args.prefix, **stated)
    add_entries(args.results, quantities=entries)
    print(f"{args.results}: added {', '.join(entry['id'] for entry in entries)}")
    return 0


def write(args):
    recorded = load_recorded(args.results)
    for path in _files(args.files):
        changed = write_blocks(path, recorded)
        print(f"{path}: {'wrote ' + ', '.join(changed) if changed else 'up to date'}")
    return 0


def check(args):
    recorded, stale, files = load_recorded(args.results), [], _files(args.files)
    if not any(block_names(path) for path in files):
        raise DataError(
            f"{', '.join(map(str, files))}: no block of results: expected <!-- results: NAME --> in one of them"
        )
    for path in files:
        stale += [f"{path}: block {name}" for name in check_blocks(path, recorded)]
    if stale:
        print(
            f"error: not what {args.results} says now: {'; '.join(stale)}: run python -m kdloss.results write",
            file=sys.stderr,
        )
    return 1 if stale else 0


def _files(named):
    """The files that were named, or those of this project that hold blocks."""
    return named or [Path("README.md"), *sorted(Path("docs").rglob("*.md"))]


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.results", description=__doc__.split("\n")[0])
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--results", type=Path, metavar="YML", help=f"the record (default: {HERE})")
    commands = parser.add_subparsers(dest="command_name", required=True)
    one = commands.add_parser("show", parents=[shared], help="print what is recorded")
    one.add_argument("--dataset", choices=list(DATASETS))
    one.set_defaults(run=show)
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--command", help="that leads to the numbers (default: as the measurement says)")
    where.add_argument("--machine", help="processor and cores (default: as the measurement says, or its run)")
    where.add_argument("--accelerator")
    where.add_argument("--date", help="of the measurement (default: as it says, or of metrics.json)")
    one = commands.add_parser("add", parents=[shared, where], help="append what an evaluation folder holds")
    one.add_argument("folder", type=Path, help="holds metrics.json; its run folder tells training and machine")
    one.add_argument("--id", required=True, help="lower case, digits and -")
    one.add_argument("--label", required=True, help="of its row")
    one.add_argument("--kind", choices=KINDS, help="reference: stands beside every measurement")
    one.add_argument("--seed", type=int)
    one.add_argument("--seconds", type=float, help="of training")
    one.add_argument("--training-faces", type=int)
    one.add_argument("--validation-faces", type=int)
    file = one.add_mutually_exclusive_group()
    file.add_argument(
        "--model-file", type=Path, help="of a model that is no checkpoint: its hash and size are recorded"
    )
    file.add_argument("--megabytes", type=float, help="of the model's file (default: of best.keras)")
    one.add_argument("--network", help="what the model file holds")
    one.add_argument("--ms", type=float, help="time for one face, in milliseconds")
    one.add_argument("--ms-what", help="what that time is of")
    one.add_argument("--parameters", type=int)
    one.add_argument("--note", help="one sentence on the model")
    one.add_argument("--caveat", action="append", help="what to know before comparing; may be repeated")
    one.set_defaults(run=add)
    one = commands.add_parser("add-chain", parents=[shared], help="append the rows of a reproduced chain")
    one.add_argument("file", type=Path, help="results.json of python -m kdloss.reproduce")
    one.add_argument("--prefix", required=True, help="of the ids")
    one.add_argument("--command", help="default: as results.json says")
    one.add_argument("--caveat", action="append", help="what to know before comparing; may be repeated")
    one.set_defaults(run=add_chain)
    for name, source, entries, about in (
        ("add-robustness", "folder", robustness_entries, "append the box robustness of an evaluation folder"),
        ("add-detector", "folder", detector_entries, "append what a detector's boxes cost, from an evaluation folder"),
        ("add-throughput", "file", throughput_entries, "append the --json of benchmarks/evaluation_throughput.py"),
    ):
        one = commands.add_parser(name, parents=[shared, where], help=about)
        one.add_argument("source", type=Path, metavar=source)
        one.add_argument("--of", required=True, metavar="ID", help="measured result of the same checkpoint and faces")
        one.add_argument("--prefix", required=True, help="of the ids")
        one.set_defaults(run=add_quantities, entries=entries)
    for name, run, about in (
        ("write", write, "write the tables anew"),
        ("check", check, "fail where a table is stale"),
    ):
        one = commands.add_parser(name, parents=[shared], help=about)
        one.add_argument("files", nargs="*", type=Path, help="default: README.md and those below docs/")
        one.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
