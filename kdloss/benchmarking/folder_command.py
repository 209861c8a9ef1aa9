"""``kdloss.benchmark predict``: faces a second over a folder, beside a loop over ``model.predict``."""

import functools

from kdloss.benchmarking.flags import add_data, add_rounds, add_threads
from kdloss.benchmarking.tables import folder_table
from kdloss.data_location import find_prepared

MODEL = "mobilenetv2-300w"
_print = functools.partial(print, flush=True)


def add_command(commands):
    """Adds the command to those of ``kdloss.benchmark``."""
    parser = commands.add_parser("predict", help="faces a second over a folder, beside a loop over model.predict")
    least = {"threads": 1, "rounds": 5, "faces": 1}
    parser.set_defaults(run=predict, least=least, tables=lambda record: [folder_table(record)])
    parser.add_argument(
        "--checkpoint", default=MODEL, help="run folder, .keras file, shipped name (default: %(default)s)"
    )
    add_data(parser, "whose faces are written as photographs", split="test", required=True)
    parser.add_argument("--faces", type=int, help="how many (default: all of the split)")
    add_threads(parser)
    add_rounds(parser)


def predict(args):
    """The record of faces read from a folder."""
    from kdloss.benchmarking.folder_throughput import measure_folder

    prepared = find_prepared(args.dataset, args.data)
    settings = {name: getattr(args, name) for name in ("split", "threads", "rounds", "faces")}
    return measure_folder(args.checkpoint, prepared, **settings, announce=_print)
