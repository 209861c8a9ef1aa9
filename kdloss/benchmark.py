"""Measures what networks cost.

    python -m kdloss.benchmark inference
    python -m kdloss.benchmark inference --arch all --runtime keras litert onnx --json inference.json
    python -m kdloss.benchmark inference --checkpoint mobilenetv2-300w runs/student --runtime litert litert-int8 onnx \\
        --dataset 300w --plot accuracy.png

Prints parameters, multiply-accumulates, file size, peak memory and latency of networks in Keras, LiteRT and ONNX,
measured in turns in one run; with ``--dataset`` also the accuracy of trained networks in every file, and
with ``--plot`` accuracy against latency.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import shlex
import sys
import time
from pathlib import Path

from data_prep.find import find_prepared
from kdloss.deploy.runtimes import RUNTIMES, USUAL, not_installed
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.evaluation import check_checkpoint
from kdloss.evaluation.tables import json_table, terminal_width, text_table
from kdloss.experiments.flags import add_checkpoint_flag, add_data_flags, answered
from kdloss.files import require_place, write_whole
from kdloss.machine import environment, keras_backend, usable_cores
from kdloss.models.architectures import architecture_names, require_side

ARCHITECTURES = ("mobilenetv2", "efficientnetb3", "efficientfan-b0")
_LEAST = {"threads": 1, "rounds": 5, "images": 1, "processes": 0}
_SETTINGS = ("threads", "rounds", "images", "processes")  # of `measure_networks`


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    args.threads = _thread_counts(args.threads)
    return answered(lambda: (0, _benchmark(args, typed)), args.json is True)


def _benchmark(args, typed):
    """Measures, prints and writes; returns the record."""
    _check(args)
    prepared = find_prepared(args.dataset, args.data) if args.dataset else None
    scheme = prepared and prepared.scheme
    for path in args.checkpoint:
        check_checkpoint(path, scheme)
    from kdloss.deploy.networks import measure_networks, open_networks
    from kdloss.deploy.timing_report import accuracy_figure, record_tables
    from kdloss.evaluation.plots import figure_bytes

    networks = open_networks(args.arch, args.image_size, args.checkpoint, scheme)
    settings = {name: getattr(args, name) for name in _SETTINGS}
    record = measure_networks(
        networks, args.runtime, prepared, **settings, announce=functools.partial(print, flush=True)
    )
    command, date = f"python -m kdloss.benchmark {shlex.join(typed)}", time.strftime("%Y-%m-%d")
    record |= {"command": command, "date": date, "machine": environment()}
    tables = record_tables(record)
    print("\n\n".join(text_table(table, terminal_width()) for table in tables.values()))
    if isinstance(args.json, Path):
        name, last = list(tables.items())[-1]
        tables[name] = dataclasses.replace(last, notes=(*last.notes, f"`{command}`, {date}"))
        record["tables"] = {name: json_table(table) for name, table in tables.items()}
        write_whole(args.json, json.dumps(record, indent=1, allow_nan=False) + "\n")
        print(f"wrote {args.json}")
    if args.plot:
        write_whole(args.plot, figure_bytes(accuracy_figure(record), dpi=150))
        print(f"wrote {args.plot}")
    return record


def _check(args):
    """Refuses mistakes that show before a network library is imported."""
    for name, least in _LEAST.items():
        values = getattr(args, name)
        for value in values if isinstance(values, list) else [values]:
            if value < least:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: expected {least} at least")
    if args.data and not args.dataset:
        raise ConfigError(f"--data {args.data}: without --dataset: give its name too")
    if args.plot and not (args.dataset and args.checkpoint):
        raise ConfigError("--plot: accuracy needs trained networks and faces: give --checkpoint and --dataset")
    if args.plot and args.plot.suffix != ".png":
        raise ConfigError(f"--plot {args.plot}: expected a name that ends in .png")
    missing = {name: not_installed(runtime.form, runtime.precision) for name, runtime in RUNTIMES.items()}
    if args.runtime is None:
        args.runtime = [name for name in USUAL if not missing[name]]
        for name in set(USUAL).difference(args.runtime):
            print(f"left out: {RUNTIMES[name].title}: {missing[name]}", flush=True)
    args.runtime = list(dict.fromkeys(args.runtime))
    for name in args.runtime:
        if missing[name]:
            raise ConfigError(f"{missing[name]}, or leave it out of --runtime")
    # Networks are exported, and TensorFlow's number of threads can be set.
    if (backend := keras_backend()) != "tensorflow":
        raise ConfigError(f"KERAS_BACKEND={backend}: kdloss.benchmark needs tensorflow: unset it")
    for path in args.checkpoint:
        check_checkpoint(path)
    args.arch = architecture_names() if "all" in args.arch else args.arch or ([] if args.checkpoint else ARCHITECTURES)
    for arch, size in itertools.product(args.arch, args.image_size):
        require_side(arch, size)
    for flag, path in (("--json", args.json), ("--plot", args.plot)):
        if isinstance(path, Path):
            require_place(path, flag, folder=False)


def _thread_counts(texts):
    """Numbers of threads without repetitions; ``all``: as many as this process may use cores."""
    try:
        return list(dict.fromkeys(usable_cores() if text == "all" else int(text) for text in texts))
    except ValueError:
        raise ConfigError(f"--threads {' '.join(texts)}: expected numbers, or all") from None


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.benchmark", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    costs = commands.add_parser("inference", help="parameters, MACs, file size, memory, latency, accuracy")
    add = costs.add_argument
    add("--arch", nargs="+", default=[], help=f"untrained networks, or all (default: {' '.join(ARCHITECTURES)})")
    add("--image-size", type=int, nargs="+", default=[224], help="sides of --arch, pixels (default: 224)")
    add_checkpoint_flag(costs, "trained networks", default=[], several=True)
    usual = f"default: those of {', '.join(USUAL)} that are installed"
    add("--runtime", nargs="+", choices=list(RUNTIMES), help=usual)
    add("--images", type=int, default=10, help="images of a round, one at a time (default: 10)")
    add("--processes", type=int, default=3, help="to find the peak memory of a file (default: 3; 0: none)")
    add("--plot", type=Path, metavar="FILE.png", help="also draw accuracy against latency there")
    add_data_flags(costs, about="data set to measure the accuracy of --checkpoint on")
    add("--threads", nargs="+", default=["1", "all"], help="numbers, or all (default: 1 all)")
    add("--rounds", type=int, default=7, help="rounds to measure, 5 at least (default: 7)")
    text = "also write all numbers there; without FILE, print one JSON object, and all else on standard error"
    add("--json", type=Path, nargs="?", const=True, metavar="FILE", help=text)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
