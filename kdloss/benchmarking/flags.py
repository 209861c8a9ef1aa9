"""The flags that commands of ``kdloss.benchmark`` share."""

from asm.cores import usable_cores
from kdloss.datasets import DATASETS
from kdloss.errors import ConfigError


def add_data(parser, why, *, split=None, required=False):
    """Adds ``--dataset``, ``--data`` and, with a default, ``--split``.

    Args:
        parser: an `argparse` parser.
        why: what the data set is for, for ``--help``.
        split: the default of ``--split``, or None: the command has none.
        required: whether ``--dataset`` must be given.
    """
    parser.add_argument("--dataset", choices=DATASETS, required=required, help=why)
    parser.add_argument("--data", metavar="FOLDER", help="prepared or official folder of --dataset")
    if split:
        parser.add_argument("--split", choices=("val", "test"), default=split, help="of --dataset")


def add_threads(parser):
    """Adds ``--threads``; `thread_counts` reads it."""
    parser.add_argument("--threads", nargs="+", default=["1", "all"], help="numbers, or all (default: 1 all)")


def thread_counts(texts):
    """Numbers of threads without repetitions; ``all``: as many as cores that this process may use.

    Raises:
        ConfigError: not a number.
    """
    try:
        return list(dict.fromkeys(usable_cores() if text == "all" else int(text) for text in texts))
    except ValueError:
        raise ConfigError(f"--threads {' '.join(texts)}: expected numbers, or all") from None


def add_rounds(parser, default=7):
    """Adds ``--rounds``."""
    parser.add_argument(
        "--rounds", type=int, default=default, help="5 at least, to see the spread (default: %(default)s)"
    )
