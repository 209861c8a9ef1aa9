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
import functools
import json
import os
import shlex
import sys
import tempfile
import time
from pathlib import Path

from asm.atomic import write_whole
from kdloss.benchmarking.inference import measure, write_files
from kdloss.benchmarking.memory import measure_memory
from kdloss.benchmarking.runtimes import RUNTIMES, USUAL, usual_runtimes
from kdloss.benchmarking.tables import folder_table, inference_tables
from kdloss.data_location import find_prepared
from kdloss.datasets import DATASETS
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.comparison import distinct_labels
from kdloss.evaluation.table import text_table
from kdloss.runs import environment

ARCHITECTURES = ("mobilenetv2", "efficientnetb3", "efficientfan-b0")
MODEL = "mobilenetv2-300w"
_print = functools.partial(print, flush=True)


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    if args.data and not args.dataset:
        raise ConfigError(f"--data {args.data}: of which data set? give --dataset too")
    args.threads = [_threads(text) for text in args.threads]
    for name, least in args.least.items():
        values = getattr(args, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and value < least:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: expected {least} at least")
    args.threads = list(dict.fromkeys(args.threads))
    record = args.run(args) | {
        "kind": args.run.__name__,
        "command": f"python -m kdloss.benchmark {shlex.join(typed)}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": environment(),
    }
    print("\n\n".join(map(text_table, args.tables(record))))
    if args.json:
        write_whole(args.json, json.dumps(record, indent=1, allow_nan=False) + "\n")
        print(f"wrote {args.json}")
    if getattr(args, "plot", None):
        from kdloss.benchmarking.accuracy_plot import accuracy_figure
        from kdloss.evaluation.plots import figure_bytes

        write_whole(args.plot, figure_bytes(accuracy_figure(record), dpi=150))
        print(f"wrote {args.plot}")
    return 0


def inference(args):
    """The record of networks in runtimes."""
    if args.plot and not (args.dataset and args.checkpoint):
        raise ConfigError("--plot: accuracy needs trained networks and faces: give --checkpoint and --dataset")
    if args.plot and args.plot.suffix != ".png":
        raise ConfigError(f"--plot {args.plot}: expected a name that ends in .png")
    runtimes, absent = (list(dict.fromkeys(args.runtime)), []) if args.runtime else usual_runtimes()
    for line in absent:
        _print(line)
    versions = {}
    for runtime in runtimes:
        versions |= RUNTIMES[runtime].check()
    prepared = find_prepared(args.dataset, args.data) if args.dataset else None
    plans = _plans(args, prepared)
    for plan in plans:
        versions |= RUNTIMES[plan.runtime].check() if plan.runtime else {}
    settings = {name: getattr(args, name) for name in ("threads", "rounds", "images", "batch_size")}
    files = []

    def prepared_jobs(folder):
        for number, plan in enumerate(plans):
            network = plan.network()
            if not network.file:
                _print(f"{network.label}: writing {', '.join(RUNTIMES[runtime].title for runtime in runtimes)}")
            place = Path(folder) / str(number)
            place.mkdir()
            jobs = write_files(network, runtimes, place, prepared)
            files.extend(_files(args, network, jobs, prepared))
            yield jobs

    _print(f"{len(plans)} networks in turns: 1 round to warm up, {args.rounds} that count")
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(prepared_jobs(folder), **settings, announce=_print)
    settings |= {"processes": args.processes, "dataset": args.dataset, "split": args.split if args.dataset else None}
    return {
        "models": [plan.described for plan in plans],
        "files": files,
        "rows": rows,
        "settings": settings,
        "runtimes": versions,
    }


def _files(args, network, jobs, prepared):
    """What there is to say of a network's files, one after the other: size, memory, accuracy."""
    memory = [measure_memory(job, args.processes) if args.processes else None for job in jobs]
    accuracy = [None] * len(jobs)
    if prepared and network.loaded:
        from kdloss.benchmarking.accuracy import measure_accuracy

        _print(f"{network.label}: evaluating its files")
        accuracy = measure_accuracy(network, jobs, prepared, args.split, max(args.threads))
    return [
        {
            "model": job.label,
            "runtime": job.runtime,
            "megabytes": job.file.stat().st_size / 1e6,
            "memory": taken,
            "accuracy": found,
        }
        for job, taken, found in zip(jobs, memory, accuracy, strict=True)
    ]


def _plans(args, prepared):
    """What is measured, by distinct labels: fresh networks at every size, then trained ones at their own."""
    # Keras, which a process that runs LiteRT alone can spare.
    from kdloss.benchmarking.networks import Plan, fresh, trained
    from kdloss.models import architectures

    archs = args.arch or ([] if args.checkpoint else ARCHITECTURES)
    archs = architectures() if "all" in archs else archs
    makers = [functools.partial(fresh, arch, args.points, size) for arch in archs for size in args.image_size]
    makers += [functools.partial(trained, path, prepared and prepared.scheme) for path in args.checkpoint]
    plans = [Plan.of(make) for make in makers]
    labels = distinct_labels([plan.described["label"] for plan in plans])
    return [plan.labelled(label) for plan, label in zip(plans, labels, strict=True)]


def predict(args):
    """The record of faces read from a folder."""
    from kdloss.benchmarking.folder_throughput import measure_folder

    prepared = find_prepared(args.dataset, args.data)
    settings = {name: getattr(args, name) for name in ("split", "threads", "rounds", "faces")}
    return measure_folder(args.checkpoint, prepared, **settings, announce=_print)


def _threads(text):
    """A number of threads; ``all``: as many as cores that this process may use."""
    if text == "all":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        return int(text)
    except ValueError:
        raise ConfigError(f"--threads {text}: expected numbers, or all") from None


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.benchmark", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    one = commands.add_parser("inference", help="parameters, MACs, file size, memory, latency, throughput, accuracy")
    least = {"threads": 1, "rounds": 5, "images": 1, "batch_size": 1, "processes": 0}
    one.set_defaults(run=inference, least=least, tables=inference_tables)
    one.add_argument(
        "--arch", nargs="+", help=f"architectures with random weights, or all (default: {' '.join(ARCHITECTURES)})"
    )
    one.add_argument("--points", type=int, default=68, help="of --arch")
    one.add_argument("--image-size", type=int, nargs="+", default=[224], help="of --arch: sides in pixels")
    one.add_argument(
        "--checkpoint",
        nargs="+",
        default=[],
        help="trained networks: run folders, shipped names, .keras, .tflite and .onnx files",
    )
    one.add_argument(
        "--runtime", nargs="+", choices=list(RUNTIMES), help=f"default: those of {', '.join(USUAL)} that are installed"
    )
    one.add_argument("--images", type=int, default=10, help="run at batch 1, in a round")
    one.add_argument("--batch-size", type=int, default=16, help="of the throughput")
    one.add_argument("--processes", type=int, default=3, help="for the peak memory of each file; 0: it is not measured")
    one.add_argument("--dataset", choices=DATASETS, help="measures the accuracy of --checkpoint on its faces")
    one.add_argument("--plot", type=Path, metavar="FILE.png", help="accuracy against latency")
    two = commands.add_parser("predict", help="faces a second over a folder, beside a loop over model.predict")
    least = {"threads": 1, "rounds": 5, "faces": 1}
    two.set_defaults(run=predict, least=least, tables=lambda record: [folder_table(record)])
    two.add_argument("--checkpoint", default=MODEL, help="run folder, .keras file, shipped name (default: %(default)s)")
    two.add_argument("--dataset", choices=DATASETS, required=True, help="whose faces are written as photographs")
    two.add_argument("--faces", type=int, help="how many (default: all of the split)")
    for command in (one, two):
        command.add_argument("--data", metavar="FOLDER", help="prepared or official folder of --dataset")
        command.add_argument("--split", choices=("val", "test"), default="test", help="of --dataset")
        command.add_argument("--threads", nargs="+", default=["1", "all"], help="numbers, or all (default: 1 all)")
        command.add_argument("--rounds", type=int, default=7, help="5 at least, to see the spread")
        command.add_argument("--json", type=Path, help="file for all numbers")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
