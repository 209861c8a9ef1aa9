"""``kdloss.benchmark shapes``: time and memory of shape models, beside the bare matrix products."""

import functools

import numpy as np

from kdloss.benchmarking.flags import add_rounds
from kdloss.benchmarking.shapes_tables import shapes_table
from kdloss.runs import machine

COUNTS = (25_000, 50_000, 100_000)
_print = functools.partial(print, flush=True)


def add_command(commands):
    """Adds the command to those of ``kdloss.benchmark``."""
    parser = commands.add_parser("shapes", help="fitting and softening shapes, beside the bare matrix products")
    least = {"shapes": 2, "points": 2, "rounds": 5}
    parser.set_defaults(run=shapes, least=least, tables=lambda record: [shapes_table(record)], machine=machine)
    parser.add_argument(
        "--shapes",
        type=int,
        nargs="+",
        default=list(COUNTS),
        metavar="N",
        help=f"how many, drawn from a random model (default: {' '.join(map(str, COUNTS))})",
    )
    parser.add_argument("--points", type=int, default=98, help="of a shape (default: %(default)s)")
    add_rounds(parser, default=5)


def shapes(args):
    """The record of shape models."""
    from kdloss.benchmarking.shape_products import VARIANCE, measure_shapes

    counts = sorted(set(args.shapes))
    return {
        "rows": measure_shapes(counts, args.points, args.rounds, _print),
        "settings": {"shapes": counts, "points": args.points, "rounds": args.rounds, "variance": VARIANCE},
        "runtimes": {"numpy": np.__version__},
    }
