"""``kdloss.benchmark pipeline``: views a second, stage by stage and in batches, beside what training takes."""

import functools
import tempfile
from pathlib import Path

from kdloss.augment import AUGMENTATIONS
from kdloss.benchmarking.flags import add_data, add_rounds, add_threads
from kdloss.benchmarking.pipeline_tables import pipeline_tables
from kdloss.data_location import find_prepared

_print = functools.partial(print, flush=True)


def add_command(commands):
    """Adds the command to those of ``kdloss.benchmark``."""
    parser = commands.add_parser("pipeline", help="views a second of the input pipeline, beside what training takes")
    least = {"threads": 1, "rounds": 5, "views": 1, "batch_size": 1, "image_size": 8, "steps": 0, "times": 1}
    parser.set_defaults(run=pipeline, least=least, tables=pipeline_tables)
    add_data(parser, "whose training faces are drawn", required=True)
    parser.add_argument("--image-size", type=int, default=112, help="of the views, pixels (default: %(default)s)")
    parser.add_argument("--augment", choices=list(AUGMENTATIONS), default="strong", help="default: %(default)s")
    parser.add_argument("--batch-size", type=int, default=32, help="default: %(default)s")
    add_threads(parser)
    parser.add_argument("--views", type=int, default=3200, help="that each way draws in a round (default: %(default)s)")
    parser.add_argument("--arch", default="mobilenetv2", help="network whose training takes them (%(default)s)")
    parser.add_argument(
        "--steps", type=int, default=8, help="of its training in a round (default: %(default)s); 0: none"
    )
    parser.add_argument("--times", type=int, default=1, help="also measures a set of so many times the faces")
    parser.add_argument(
        "--work", type=Path, default=tempfile.gettempdir(), help="folder for that set, removed after use (%(default)s)"
    )
    add_rounds(parser)


def pipeline(args):
    """The record of the input pipeline."""
    import cv2
    import keras
    import numpy as np

    from kdloss.benchmarking.pipeline_turns import measure_pipeline

    prepared = find_prepared(args.dataset, args.data)
    names = ("image_size", "augment", "batch_size", "threads", "views", "rounds", "arch", "steps", "times")
    settings = {name: getattr(args, name) for name in names}
    rows = measure_pipeline(prepared, **settings, work=args.work, announce=_print)
    facts = {"dataset": prepared.dataset, "n": len(prepared.indices("train")), "side": prepared.size}
    return {
        "faces": facts | {"synthetic": bool(prepared.synthetic), "content": prepared.manifest["content"]},
        "settings": settings,
        "backend": keras.backend.backend(),
        "runtimes": {"OpenCV": cv2.__version__, "numpy": np.__version__, "Keras": keras.__version__},
        "rows": rows,
    }
