"""The flags that commands share, each with one meaning and one form. Imports no network library."""

import argparse
import contextlib
import json
import sys
from pathlib import Path

from kdloss.data.datasets import DATASETS


def add_data_flags(parser, *, about="data set to train on", default=None, required=False, choices=tuple(DATASETS)):
    """Adds ``--dataset NAME`` and ``--data FOLDER``, which `data_prep.find.find_prepared` takes.

    ``about`` says what the command does with the faces; ``default``, ``required`` and ``choices`` are of ``--dataset``.
    """
    usual = f" (default: {default})" if default else ""
    parser.add_argument("--dataset", default=default, required=required, choices=choices, help=f"{about}{usual}")
    text = "prepared or official folder of --dataset (default: KDLOSS_DATA/DATASET, else data/DATASET)"
    parser.add_argument("--data", metavar="FOLDER", help=text)


def add_checkpoint_flag(parser, about, *, default=None, required=False, several=False):
    """Adds ``--checkpoint``, which `kdloss.models.locate.checkpoint_path` takes.

    ``about`` says what the command takes, such as "network to export". With ``several`` it takes a list, as
    ``--checkpoint A B`` or ``--checkpoint A --checkpoint B``.
    """
    usual = f" (default: {default})" if isinstance(default, str) else ""
    form = {"action": "extend", "nargs": "+"} if several else {}
    text = f"{about}: run folder, file, or name of a shipped model{usual}"
    parser.add_argument("--checkpoint", metavar="CHECKPOINT", default=default, required=required, help=text, **form)


def add_out_flag(parser, about, *, default=None, required=False):
    """Adds ``--out PATH``, where the result goes; ``about`` says what that is, and where it goes by itself."""
    parser.add_argument("--out", type=Path, metavar="PATH", default=default, required=required, help=about)


def add_json_flag(parser):
    """Adds ``--json``, for machines; `answered` does what it says."""
    text = "print one JSON object on standard output, and all else on standard error"
    parser.add_argument("--json", action="store_true", help=text)


def answered(run, as_json):
    """Runs a command, ``run() -> (exit status, record)``, and returns its status.

    ``as_json``: the record is printed as one JSON object, and what the command prints goes to standard error.
    """
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():
        status, record = run()
    if as_json:
        print(json.dumps(record, allow_nan=False))
    return status


def add_old_name(parser, flag, old):
    """Keeps an old name of a flag for one release: hidden, and with a line on standard error that names the new one.

    ``flag`` is what ``parser.add_argument`` returned.
    """
    parser.add_argument(old, action=_OldName, flag=flag)


class _OldName(argparse.Action):
    def __init__(self, option_strings, dest, flag):
        form = {name: getattr(flag, name) for name in ("nargs", "type", "choices", "metavar")}
        super().__init__(option_strings, dest, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **form)
        self.flag = flag

    def __call__(self, parser, namespace, values, option_string=None):
        print(f"{option_string} is now {self.flag.option_strings[0]}", file=sys.stderr)
        self.flag(parser, namespace, values, option_string)
