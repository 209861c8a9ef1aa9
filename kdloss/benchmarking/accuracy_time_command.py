"""``kdloss.benchmark time-to-accuracy``: minutes until a training reaches an NME, recipe by recipe."""

import functools
from pathlib import Path

from kdloss.benchmarking.accuracy_time_tables import accuracy_time_table
from kdloss.benchmarking.flags import add_data
from kdloss.data_location import find_prepared
from kdloss.errors import ConfigError

_print = functools.partial(print, flush=True)


def add_command(commands):
    """Adds the command to those of ``kdloss.benchmark``."""
    parser = commands.add_parser("time-to-accuracy", help="minutes until a training reaches an NME, recipe by recipe")
    parser.set_defaults(
        run=accuracy_time,
        least={"seeds": 0, "epochs": 1},
        tables=lambda record: [accuracy_time_table(record)],
        figure=_figure,
    )
    add_data(parser, "whose faces are trained, validated and tested", required=True)
    parser.add_argument("--recipe", nargs="+", metavar="NAME", help="such as cpu (default: all, one after the other)")
    parser.add_argument("--target", type=float, default=6.0, help="validation NME in percent (default: %(default)g)")
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0, 1, 2, 3, 4],
        help="slow recipes have the first of them (default: 0 1 2 3 4)",
    )
    parser.add_argument(
        "--minutes", type=float, default=3.0, help="a run begins no epoch after so many (default: %(default)g)"
    )
    parser.add_argument("--epochs", type=int, help="at most this many a run, to see that it works")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="NME against minutes")


def accuracy_time(args):
    """The record of minutes to an accuracy."""
    from kdloss.benchmarking.accuracy_time import measure_accuracy_time
    from kdloss.benchmarking.accuracy_time_recipes import RECIPES

    names = args.recipe or list(RECIPES)
    if unknown := [name for name in names if name not in RECIPES]:
        raise ConfigError(f"--recipe {' '.join(unknown)}: expected some of {', '.join(RECIPES)}")
    for name in ("target", "minutes"):
        if not getattr(args, name) > 0:
            raise ConfigError(f"--{name} {getattr(args, name)}: expected a number above 0")
    if args.plot and args.plot.suffix != ".png":
        raise ConfigError(f"--plot {args.plot}: expected a name that ends in .png")
    prepared = find_prepared(args.dataset, args.data)
    settings = {name: getattr(args, name) for name in ("target", "seeds", "minutes", "epochs")}
    return measure_accuracy_time(names, prepared, **settings, announce=_print)


def _figure(record):
    from kdloss.benchmarking.accuracy_time_plot import accuracy_time_figure

    return accuracy_time_figure(record)
