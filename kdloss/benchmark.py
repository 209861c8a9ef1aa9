"""Measures what networks cost, and how fast faces are read.

    python -m kdloss.benchmark inference
    python -m kdloss.benchmark inference --arch all --runtime keras litert onnx --json inference.json
    python -m kdloss.benchmark inference --arch mobilenetv2 efficientfan-b0 --image-size 64 256 --threads 1 2
    python -m kdloss.benchmark inference --checkpoint mobilenetv2-300w runs/student --runtime litert litert-int8 onnx \\
        --dataset 300w --plot accuracy.png
    python -m kdloss.benchmark predict --dataset 300w
    python -m kdloss.benchmark predict --dataset 300w --checkpoint runs/student --faces 100 --json predict.json

``inference`` prints parameters, multiply-accumulates, file size, peak memory, latency and throughput of networks in
Keras, LiteRT and ONNX Runtime, measured in turns in one run; with ``--dataset`` also the accuracy of trained networks
in every file, and with ``--plot`` accuracy against latency. ``predict`` writes the faces of a data set as photographs,
and prints how many of them ``kdloss.predict`` reads in a second, beside a loop over ``model.predict``.
"""

import argparse
import dataclasses
import functools
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
from kdloss.models.architectures import require_side
from kdloss.models.locate import EXPORTED, checkpoint_path

ARCHITECTURES = ("mobilenetv2", "efficientnetb3", "efficientfan-b0")
MODEL = "mobilenetv2-300w"
_LEAST = {"threads": 1, "rounds": 5, "images": 1, "batch_size": 1, "processes": 0, "faces": 1, "points": 1}
_print = functools.partial(print, flush=True)


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    args.threads = _thread_counts(args.threads)
    return answered(lambda: (0, _benchmark(args, typed)), args.json is True)


def _benchmark(args, typed):
    """Measures, prints and writes; returns the record."""
    _check(args)
    command, date = f"python -m kdloss.benchmark {shlex.join(typed)}", time.strftime("%Y-%m-%d")
    record = args.run(args) | {"command": command, "date": date, "machine": environment()}
    from kdloss.deploy.timing_report import accuracy_figure, record_tables
    from kdloss.evaluation.plots import figure_bytes

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
        values = getattr(args, name, None)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and value < least:
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
            _print(f"left out: {RUNTIMES[name].title}: {missing[name]}")
    args.runtime = list(dict.fromkeys(args.runtime))
    for name in args.runtime:
        if missing[name]:
            raise ConfigError(f"{missing[name]}, or leave it out of --runtime")
    # Networks are exported, and TensorFlow's number of threads can be set.
    if (backend := keras_backend()) != "tensorflow":
        raise ConfigError(f"KERAS_BACKEND={backend}: kdloss.benchmark needs tensorflow: unset it")
    for path in args.checkpoint if isinstance(args.checkpoint, list) else [args.checkpoint]:
        check_checkpoint(path)
    for arch in getattr(args, "arch", None) or ():
        if arch != "all":
            for size in args.image_size:
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


def _inference(args):
    """The record of networks in runtimes."""
    prepared = find_prepared(args.dataset, args.data) if args.dataset else None
    from kdloss.deploy.networks import find_networks, measure_networks

    archs = args.arch or ([] if args.checkpoint else ARCHITECTURES)
    networks = find_networks(archs, args.points, args.image_size, args.checkpoint, prepared and prepared.scheme)
    names = ("split", "threads", "rounds", "images", "batch_size", "processes")
    settings = {name: getattr(args, name) for name in names}
    return measure_networks(networks, args.runtime, prepared, **settings, announce=_print)


def _predict(args):
    """The record of faces read from a folder."""
    if (given := checkpoint_path(args.checkpoint)).suffix in EXPORTED:
        raise ConfigError(f"--checkpoint {given}: is an exported file: give the Keras model that it is made from")
    prepared = find_prepared(args.dataset, args.data)
    from kdloss.deploy.photographs import measure_photographs

    settings = {name: getattr(args, name) for name in ("split", "threads", "rounds", "faces")}
    return measure_photographs(args.checkpoint, prepared, **settings, announce=_print)


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.benchmark", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="WHAT")

    costs = commands.add_parser("inference", help="parameters, MACs, file size, memory, latency, throughput, accuracy")
    costs.set_defaults(run=_inference)
    costs.add_argument("--arch", nargs="+", help=f"untrained networks, or all (default: {' '.join(ARCHITECTURES)})")
    costs.add_argument("--points", type=int, default=68, help="points of --arch (default: 68)")
    costs.add_argument(
        "--image-size", type=int, nargs="+", default=[224], help="sides of --arch, pixels (default: 224)"
    )
    add_checkpoint_flag(costs, "trained networks", default=[], several=True)
    usual = f"default: those of {', '.join(USUAL)} that are installed"
    costs.add_argument("--runtime", nargs="+", choices=list(RUNTIMES), help=usual)
    costs.add_argument("--images", type=int, default=10, help="images of a round, one at a time (default: 10)")
    costs.add_argument("--batch-size", type=int, default=16, help="images at once, for the throughput (default: 16)")
    costs.add_argument(
        "--processes", type=int, default=3, help="to find the peak memory of a file (default: 3; 0: none)"
    )
    costs.add_argument("--plot", type=Path, metavar="FILE.png", help="also draw accuracy against latency there")
    add_data_flags(costs, about="data set to measure the accuracy of --checkpoint on")

    folder = commands.add_parser("predict", help="faces a second over a folder, beside a loop over model.predict")
    folder.set_defaults(run=_predict, runtime=["keras", "litert", "litert-int8"], plot=None)
    add_checkpoint_flag(folder, "network that reads the faces", default=MODEL)
    folder.add_argument("--faces", type=int, help="how many faces (default: all of the split)")
    add_data_flags(folder, about="data set whose faces are written as photographs", required=True)

    for one in (costs, folder):
        one.add_argument("--split", choices=("val", "test"), default="test", help="faces of --dataset (default: test)")
        one.add_argument("--threads", nargs="+", default=["1", "all"], help="numbers, or all (default: 1 all)")
        one.add_argument("--rounds", type=int, default=7, help="rounds to measure, 5 at least (default: 7)")
        text = "also write all numbers there; without FILE, print one JSON object, and all else on standard error"
        one.add_argument("--json", type=Path, nargs="?", const=True, metavar="FILE", help=text)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
