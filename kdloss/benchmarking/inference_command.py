"""``kdloss.benchmark inference``: what networks cost in every runtime, and how accurate their files are."""

import functools
import tempfile
from pathlib import Path

from kdloss.benchmarking.flags import add_data, add_rounds, add_threads
from kdloss.benchmarking.inference import measure, write_files
from kdloss.benchmarking.memory import measure_memory
from kdloss.benchmarking.runtimes import RUNTIMES, USUAL, usual_runtimes
from kdloss.benchmarking.tables import inference_tables
from kdloss.data_location import find_prepared
from kdloss.errors import ConfigError
from kdloss.evaluation.comparison import distinct_labels

ARCHITECTURES = ("mobilenetv2", "efficientnetb3", "efficientfan-b0")
_print = functools.partial(print, flush=True)


def add_command(commands):
    """Adds the command to those of ``kdloss.benchmark``."""
    parser = commands.add_parser("inference", help="parameters, MACs, file size, memory, latency, throughput, accuracy")
    least = {"threads": 1, "rounds": 5, "images": 1, "batch_size": 1, "processes": 0}
    parser.set_defaults(run=inference, least=least, tables=inference_tables, figure=_figure)
    parser.add_argument(
        "--arch", nargs="+", help=f"architectures with random weights, or all (default: {' '.join(ARCHITECTURES)})"
    )
    parser.add_argument("--points", type=int, default=68, help="of --arch")
    parser.add_argument("--image-size", type=int, nargs="+", default=[224], help="of --arch: sides in pixels")
    parser.add_argument(
        "--checkpoint",
        nargs="+",
        default=[],
        help="trained networks: run folders, shipped names, .keras, .tflite and .onnx files",
    )
    parser.add_argument(
        "--runtime", nargs="+", choices=list(RUNTIMES), help=f"default: those of {', '.join(USUAL)} that are installed"
    )
    parser.add_argument("--images", type=int, default=10, help="run at batch 1, in a round")
    parser.add_argument("--batch-size", type=int, default=16, help="of the throughput")
    parser.add_argument(
        "--processes", type=int, default=3, help="for the peak memory of each file; 0: it is not measured"
    )
    add_data(parser, "measures the accuracy of --checkpoint on its faces", split="test")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="accuracy against latency")
    add_threads(parser)
    add_rounds(parser)


def _figure(record):
    from kdloss.benchmarking.accuracy_plot import accuracy_figure

    return accuracy_figure(record)


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
