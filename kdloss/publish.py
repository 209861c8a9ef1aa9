"""Makes a model to ship of a trained network.

    python -m kdloss.publish --checkpoint runs/student --name mobilenetv2-300w --dataset 300w

Writes a folder with the network in 16 bits for Keras, in 16 and in 8 bits for LiteRT, and a card with what each of
these files measures on the validation and on the test split.
"""

import argparse
import shlex
import sys
from pathlib import Path

from kdloss.data_location import find_prepared
from kdloss.datasets import DATASETS
from kdloss.errors import exits_on_user_error


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    # Not before here: the network's libraries take seconds to load.
    from kdloss.deploy.model_card import numbers_table
    from kdloss.deploy.origin import portable_command
    from kdloss.deploy.publishing import publish
    from kdloss.evaluation.table import text_table

    typed = portable_command(sys.argv[1:] if argv is None else argv)
    command = f"python -m kdloss.publish {shlex.join(typed)}"
    out = args.out or Path("kdloss") / "pretrained" / args.name
    prepared = find_prepared(args.dataset, args.data)
    card = publish(args.checkpoint, args.name, prepared, out, command=command, announce=print)
    print(text_table(numbers_table(card, "test", "full")))
    print(f"wrote {', '.join(card['files'])}, card.json and README.md to {out}")
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.publish", description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", required=True, metavar="RUN", help="run folder, or the .keras file in one")
    parser.add_argument("--name", required=True, help="of the model, such as mobilenetv2-300w")
    parser.add_argument("--dataset", required=True, choices=list(DATASETS))
    parser.add_argument("--data", help="prepared or official folder (default: KDLOSS_DATA/DATASET, data/DATASET)")
    parser.add_argument("--out", type=Path, help="folder to make (default: kdloss/pretrained/NAME)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
