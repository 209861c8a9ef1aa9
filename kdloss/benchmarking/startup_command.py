"""``kdloss.benchmark startup``: how long each command takes to say what it does."""

import functools

from kdloss.benchmarking.flags import add_rounds
from kdloss.benchmarking.startup_tables import startup_table
from kdloss.runs import machine

_print = functools.partial(print, flush=True)


def add_command(commands):
    """Adds the command to those of ``kdloss.benchmark``."""
    parser = commands.add_parser("startup", help="how long each command takes to start")
    tables = {"tables": lambda record: [startup_table(record)]}
    parser.set_defaults(run=startup, least={"rounds": 5}, machine=machine, **tables)
    add_rounds(parser, default=5)


def startup(args):
    """The record of commands that start."""
    from kdloss.benchmarking.startup import measure_startup

    return {
        "rows": measure_startup(args.rounds, _print),
        "settings": {"rounds": args.rounds},
        "runtimes": {"Python": machine()["python"]},
    }
