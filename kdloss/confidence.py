"""Measures what a network's confidence in its points is worth.

    python -m kdloss.confidence --checkpoint runs/student --dataset 300w
    python -m kdloss.confidence --checkpoint mobilenetv2-300w --dataset 300w --plot confidence.png

A checkpoint's confidence is fitted on validation faces and stored beside it; shipped models and exported files carry
theirs. Then the points of another split are sorted by confidence: larger has to mean less error.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from data_prep.find import check_data, find_prepared
from kdloss import pretrained
from kdloss.data.datasets import DATASETS
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.tables import json_table, text_table
from kdloss.files import require_place, write_whole
from kdloss.inference.confidence import Confidence, store_confidence
from kdloss.inference.confidence_fit import measure_confidence, reliability
from kdloss.inference.readers import find_model
from kdloss.machine import environment
from kdloss.models.checkpoint import require_scheme


@exits_on_user_error
def main(argv=None):
    typed = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(argv)
    prepared = check_data(args.dataset, args.data)
    model = find_model(args.checkpoint)
    file, card = model.path, model.card
    if args.plot and args.plot.suffix != ".png":
        raise ConfigError(f"--plot {args.plot}: expected a name that ends in .png")
    for flag in ("json", "plot"):
        if getattr(args, flag):
            require_place(getattr(args, flag), f"--{flag}", folder=False)
    if not _carries(file):
        require_place(file.parent, "--checkpoint")
    prepared = prepared or find_prepared(args.dataset, args.data)
    require_scheme(card, prepared.scheme, args.checkpoint)
    policy, confidence = BoxPolicy.parse(card["box"]), None
    prepared.boxes(policy)
    prepared.indices(args.split)
    if _carries(file):
        if not card.get("confidence"):
            raise ConfigError(
                f"{args.checkpoint}: holds no confidence: measure that of the checkpoint it was made from, then export "
                "it again"
            )
        confidence = Confidence.from_json(card["confidence"], prepared.scheme.num_points)
    else:
        prepared.indices("val")
    reader = model.load()
    if confidence is None:
        confidence = measure_confidence(reader, prepared, policy)
        print(f"wrote {store_confidence(file, confidence)}, measured on {confidence.faces} validation faces")
    found = reliability(reader, confidence, prepared, policy, args.split)
    found |= {"kind": "confidence", "checkpoint": args.checkpoint, "machine": environment()}
    found |= {"command": f"python -m kdloss.confidence {shlex.join(typed)}", "date": time.strftime("%Y-%m-%d")}
    # Matplotlib takes long to import.
    from kdloss.evaluation.plots import figure_bytes, reliability_figure, reliability_table

    table = reliability_table(found)
    print(text_table(table))
    if args.json:
        found["tables"] = {"confidence": json_table(table)}
        found["tables"]["confidence"]["notes"].append(f"`{found['command']}`, {found['date']}")
        write_whole(args.json, json.dumps(found, indent=1, allow_nan=False) + "\n")
        print(f"wrote {args.json}")
    if args.plot:
        write_whole(args.plot, figure_bytes(reliability_figure(found)))
        print(f"wrote {args.plot}")
    return 0


def _carries(file):
    """Whether a file is one that carries its confidence, and beside which none is written."""
    return file.suffix != ".keras" or file.parent.parent == pretrained.ROOT


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.confidence", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--checkpoint", required=True, metavar="PATH_OR_NAME", help="run folder, .keras, .tflite, .onnx, shipped name"
    )
    parser.add_argument("--dataset", required=True, choices=list(DATASETS))
    parser.add_argument("--data", help="prepared or official folder (default: KDLOSS_DATA/DATASET, data/DATASET)")
    parser.add_argument("--split", choices=("test", "val"), default="test", help="on which it is shown")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="file for the picture")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
