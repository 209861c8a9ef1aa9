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
import json
import shlex
import sys
import time
from pathlib import Path

from asm.atomic import write_whole
from kdloss.benchmarking import (
    folder_command,
    inference_command,
)
from kdloss.benchmarking.flags import thread_counts
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.table import text_table
from kdloss.runs import environment

_COMMANDS = (
    inference_command,
    folder_command,
)


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    if getattr(args, "data", None) and not args.dataset:
        raise ConfigError(f"--data {args.data}: of which data set? give --dataset too")
    if hasattr(args, "threads"):
        args.threads = thread_counts(args.threads)
    for name, least in args.least.items():
        values = getattr(args, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and value < least:
                raise ConfigError(f"--{name.replace('_', '-')} {value}: expected {least} at least")
    record = args.run(args) | {
        "kind": args.run.__name__,
        "command": f"python -m kdloss.benchmark {shlex.join(typed)}",
        "date": time.strftime("%Y-%m-%d"),
        "machine": args.machine(),
    }
    print("\n\n".join(map(text_table, args.tables(record))))
    if args.json:
        write_whole(args.json, json.dumps(record, indent=1, allow_nan=False) + "\n")
        print(f"wrote {args.json}")
    if getattr(args, "plot", None):
        from kdloss.evaluation.plots import figure_bytes

        write_whole(args.plot, figure_bytes(args.figure(record), dpi=150))
        print(f"wrote {args.plot}")
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.benchmark", description=__doc__.split("\n")[0])
    parser.set_defaults(machine=environment)
    commands = parser.add_subparsers(required=True, metavar="WHAT")
    for command in _COMMANDS:
        command.add_command(commands)
    for one in commands.choices.values():
        one.add_argument("--json", type=Path, help="file for all numbers")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
