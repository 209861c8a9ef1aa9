"""Measures what networks cost.

    python -m kdloss.benchmark inference
    python -m kdloss.benchmark inference --arch mobilenetv2 efficientfan-b0 --image-size 64 256 --threads 1 2
    python -m kdloss.benchmark inference --checkpoint runs/student runs/tough --json inference.json

``inference`` prints parameters, multiply-accumulates, file size, latency and throughput of networks in Keras and in
LiteRT, all measured in turns in one run.
"""

import argparse
import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path

from asm.atomic import write_whole
from kdloss.benchmarking.inference import measure
from kdloss.benchmarking.runtimes import RUNTIMES
from kdloss.benchmarking.tables import inference_tables
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.comparison import distinct_labels
from kdloss.evaluation.table import text_table
from kdloss.runs import environment

ARCHITECTURES = ("mobilenetv2", "efficientnetb3", "efficientfan-b0")


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    return args.run(args, f"python -m kdloss.benchmark {shlex.join(typed)}")


def inference(args, command):
    for name, least in (("threads", 1), ("rounds", 5), ("images", 1), ("batch_size", 1)):
        values = getattr(args, name)
        for value in values if isinstance(values, list) else [values]:
            if value < least:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: expected {least} at least")
    versions = {runtime: RUNTIMES[runtime].check() for runtime in dict.fromkeys(args.runtime)}
    threads = list(dict.fromkeys(args.threads))
    networks = _networks(args)
    settings = {"threads": threads, "rounds": args.rounds, "images": args.images, "batch_size": args.batch_size}
    print(f"measuring {len(networks)} networks in turns: 1 round to warm up, {args.rounds} that count", flush=True)
    record = {
        "models": [network.describe() for network in networks],
        "rows": measure(networks, list(versions), **settings),
        "settings": settings,
        "runtimes": {RUNTIMES[name].package: version for name, version in versions.items()},
        "command": command,
        "date": time.strftime("%Y-%m-%d"),
        "machine": environment(),
    }
    print("\n\n".join(map(text_table, inference_tables(record))))
    if args.json:
        write_whole(args.json, json.dumps(record, indent=1, allow_nan=False))
        print(f"wrote {args.json}")
    return 0


def _networks(args):
    """What is measured, by distinct labels: fresh networks at every size, then trained ones at their own."""
    from kdloss.benchmarking.networks import fresh, trained  # Keras, which a process that runs LiteRT alone can spare

    archs = args.arch or ([] if args.checkpoint else ARCHITECTURES)
    networks = [fresh(arch, args.points, size) for arch in archs for size in args.image_size]
    networks += [trained(path) for path in args.checkpoint]
    labels = distinct_labels([network.label for network in networks])
    return [replace(network, label=label) for network, label in zip(networks, labels, strict=True)]


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.benchmark", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    one = commands.add_parser("inference", help="parameters, MACs, file size, latency and throughput")
    one.set_defaults(run=inference)
    one.add_argument(
        "--arch", nargs="+", help=f"architectures with random weights (default: {' '.join(ARCHITECTURES)})"
    )
    one.add_argument("--points", type=int, default=68, help="of --arch")
    one.add_argument("--image-size", type=int, nargs="+", default=[224], help="of --arch: sides in pixels")
    one.add_argument("--checkpoint", nargs="+", default=[], help="trained networks: run folders, .keras files")
    one.add_argument("--runtime", nargs="+", choices=list(RUNTIMES), default=list(RUNTIMES))
    one.add_argument("--threads", type=int, nargs="+", default=[1], help="numbers of threads, each measured")
    one.add_argument("--rounds", type=int, default=7, help="5 at least, to see the spread")
    one.add_argument("--images", type=int, default=10, help="run at batch 1, in a round")
    one.add_argument("--batch-size", type=int, default=16, help="of the throughput")
    one.add_argument("--json", type=Path, help="file for all numbers")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
