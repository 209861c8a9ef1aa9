"""``kdloss.benchmark training``: images a second of this project's training, beside the published recipe."""

import functools
import tempfile
from pathlib import Path

from kdloss.benchmarking.flags import add_data, add_rounds
from kdloss.benchmarking.training_process import write_files
from kdloss.benchmarking.training_tables import training_tables
from kdloss.benchmarking.training_turns import BEST, measure_training
from kdloss.benchmarking.training_variants import BACKENDS, OPTIONS, WAYS, Work, installed_backends
from kdloss.data_location import find_prepared
from kdloss.errors import ConfigError
from kdloss.runs import machine

_print = functools.partial(print, flush=True)


def add_command(commands):
    """Adds the command to those of ``kdloss.benchmark``."""
    parser = commands.add_parser("training", help="images a second of training, beside the published recipe")
    least = {"rounds": 5, "steps": 1, "seconds": 0, "batch_size": 1, "faces": 1, "teacher_views": 1}
    parser.set_defaults(run=training, least=least, tables=training_tables, machine=machine)
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, help="of Keras (default: those that are installed)")
    parser.add_argument("--way", nargs="+", choices=list(WAYS), default=list(WAYS), help="to train (default: all)")
    options = [*OPTIONS, BEST]
    parser.add_argument(
        "--option",
        nargs="*",
        choices=options,
        default=options,
        help=f"of this project's ways, one by one; {BEST}: all that helped together (default: all)",
    )
    add_data(parser, "whose training faces are drawn", required=True)
    parser.add_argument("--faces", type=int, default=512, help="how many of them (default: %(default)s)")
    parser.add_argument("--student", default="mobilenetv2", help="architecture (default: %(default)s)")
    parser.add_argument("--teacher", default="efficientnetb3", help="of both teachers (default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=112, help="of the views, pixels (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    parser.add_argument(
        "--teacher-views", type=int, default=1, help="stored drawings of each face, of cached teachers (%(default)s)"
    )
    add_rounds(parser, 5)
    parser.add_argument("--steps", type=int, default=4, help="of a round, at least (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round, at least (default: %(default)s)")


def training(args):
    """The record of ways to train."""
    prepared, installed = find_prepared(args.dataset, args.data), installed_backends()
    backends = list(dict.fromkeys(args.backend or installed))
    for backend in backends:
        if backend not in installed:
            raise ConfigError(f"--backend {backend}: not installed, expected one of {', '.join(installed)}")
    faces = min(args.faces, len(prepared.indices("train")))
    settings = {name: getattr(args, name) for name in ("student", "teacher", "image_size", "batch_size")}
    settings |= {"faces": faces, "teacher_views": args.teacher_views}
    rounds = {name: getattr(args, name) for name in ("rounds", "steps", "seconds")}
    with tempfile.TemporaryDirectory() as folder:
        work = Work(prepared.path.absolute(), Path(folder), **settings)
        _print("writing teachers and crops")
        write_files(work, backends[0])
        rows = measure_training(work, backends, args.way, args.option, **rounds, announce=_print)
    facts = {"dataset": prepared.dataset, "synthetic": bool(prepared.synthetic)}
    return {
        "faces": facts | {"content": prepared.manifest["content"]},
        "settings": settings | rounds,
        "rows": rows,
    }
