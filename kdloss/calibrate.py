"""Calibrates a network's confidence in its points, or a detector's face boxes, on prepared faces.

    python -m kdloss.calibrate confidence --checkpoint runs/student --dataset 300w
    python -m kdloss.calibrate confidence --checkpoint mobilenetv2-300w --dataset 300w --plot confidence.png
    python -m kdloss.calibrate detector --dataset 300w --detector lbp
    python -m kdloss.calibrate detector --dataset 300w --detector yunet --detector-model FILE --out yunet-68.json

``confidence`` fits the confidence of a checkpoint on validation faces and stores it beside the checkpoint; shipped
models and exported files carry theirs. Then it sorts the points of another split by confidence: higher confidence has
to mean smaller errors. ``detector`` measures on training faces how a detector's boxes differ from landmark boxes.
``kdloss.predict --detector-calibration`` reads the file that it writes.
"""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from data_prep.find import check_data, find_prepared
from kdloss import pretrained
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation.evaluation import learned_validation, name_of
from kdloss.evaluation.tables import json_table, reliability_table, terminal_width, text_table
from kdloss.experiments.flags import add_checkpoint_flag, add_data_flags, add_out_flag
from kdloss.files import require_place, write_whole
from kdloss.inference.box_calibration import LANDMARK_BOX, calibrate, write_calibration
from kdloss.inference.confidence import Confidence, store_confidence
from kdloss.inference.confidence_fit import measure_confidence, reliability
from kdloss.inference.detectors import DETECTORS, detector
from kdloss.inference.readers import find_model, load_reader
from kdloss.machine import environment
from kdloss.models.checkpoint import require_scheme
from kdloss.training.runs import require_twins


@exits_on_user_error
def main(argv=None):
    words = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(words, argparse.Namespace(words=words))
    return args.run(args)


def calibrate_confidence(args):
    """Shows how good a network's confidence is; measures and stores it first where the file carries none."""
    prepared = check_data(args.dataset, args.data)
    model = find_model(args.checkpoint)
    file, card = model.path, model.card
    carries = file.suffix != ".keras" or file.parent.parent == pretrained.ROOT  # its confidence, which stays as it is
    if args.plot and args.plot.suffix != ".png":
        raise ConfigError(f"--plot {args.plot}: expected a name that ends in .png")
    for flag in ("json", "plot"):
        if getattr(args, flag):
            require_place(getattr(args, flag), f"--{flag}", folder=False)
    if not carries:
        require_place(file.parent, "--checkpoint")
    prepared = prepared or find_prepared(args.dataset, args.data)
    require_scheme(card, prepared.scheme, args.checkpoint)
    policy = BoxPolicy.parse(card["box"])
    prepared.boxes(policy)
    _require_unseen(args)
    for split in (args.split,) if carries else (args.split, "val"):
        prepared.indices(split)
    if carries and not card.get("confidence"):
        raise ConfigError(
            f"{args.checkpoint}: holds no confidence: calibrate the checkpoint it was made from, then export it again"
        )
    reader = model.load()
    if carries:
        confidence = Confidence.from_json(card["confidence"], prepared.scheme.num_points)
    else:
        unseeing = load_reader(args.twin) if args.twin else reader
        confidence = measure_confidence(unseeing, prepared, policy)
        print(f"wrote {store_confidence(file, confidence)}, measured on {confidence.faces} validation faces")
    record = reliability(reader, confidence, prepared, policy, args.split)
    record |= {"kind": "confidence", "checkpoint": args.checkpoint, "machine": environment()}
    command = f"python -m kdloss.calibrate {shlex.join(args.words)}"
    record |= {"command": command, "date": time.strftime("%Y-%m-%d")}
    # Matplotlib takes long to import.
    from kdloss.evaluation.plots import figure_bytes, reliability_figure

    table = reliability_table(record)
    print(text_table(table, terminal_width()))
    if args.json:
        shown = json_table(table)
        shown["notes"].append(f"`{command}`, {record['date']}")
        write_whole(args.json, json.dumps(record | {"tables": {"confidence": shown}}, indent=1, allow_nan=False) + "\n")
        print(f"wrote {args.json}")
    if args.plot:
        write_whole(args.plot, figure_bytes(reliability_figure(record)))
        print(f"wrote {args.plot}")
    return 0


def _require_unseen(args):
    """Checks that the network to measure, or its twin where there has to be one, has not learned validation faces."""
    run = name_of(args.checkpoint)[1]
    if not learned_validation(run):
        if args.twin:
            raise ConfigError(
                f"--twin: {args.checkpoint} is no run with --keep last, which needs one: leave --twin out"
            )
        return
    if not args.twin:
        raise ConfigError(
            f"{args.checkpoint}: learned the validation faces too (--keep last), on which confidence is measured: "
            "name a run of the same settings without --keep last with --twin"
        )
    twin = name_of(args.twin)[1]
    if twin is None:
        raise ConfigError(f"--twin {args.twin}: expected a run folder")
    require_twins(run, twin)


def calibrate_detector(args):
    """Measures how a detector's boxes differ from landmark boxes, prints it, and writes it with ``--out``."""
    check_data(args.dataset, args.data)
    if args.out:
        require_place(args.out, folder=False)
    finder = detector(args.detector, model=args.detector_model)
    prepared = find_prepared(args.dataset, args.data)
    found = calibrate(prepared, prepared.indices("train"), finder, LANDMARK_BOX, announce=print)
    dx, dy, log_scale = found.scatter
    print(
        f"detector {finder.name} to landmark boxes of scheme {prepared.scheme.name}, {found.faces} faces (median, "
        f"interquartile range): dx {found.dx:.4f} ({dx:.4f}) and dy {found.dy:.4f} ({dy:.4f}) sides of its box, scale "
        f"{found.scale:.4f} (its logarithm {log_scale:.4f})"
    )
    if args.out:
        write_calibration(args.out, found, finder, prepared.scheme)
        print(f"wrote {args.out}")
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.calibrate", description=__doc__.split("\n")[0])
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    confidence = verbs.add_parser("confidence", help="calibrate the confidence of a network in its points")
    confidence.set_defaults(run=calibrate_confidence)
    add_data_flags(confidence, about="data set to measure on", required=True)
    add_checkpoint_flag(confidence, "network to measure", required=True)
    text = "run of the same settings that spared the validation faces, to measure in place of one with --keep last"
    confidence.add_argument("--twin", metavar="RUN", help=text)
    text = "faces that show whether confidence agrees with error (default: test)"
    confidence.add_argument("--split", choices=("test", "val"), default="test", help=text)
    confidence.add_argument("--json", type=Path, metavar="FILE", help="also write all numbers there")
    confidence.add_argument("--plot", type=Path, metavar="PNG", help="also draw confidence and error there")

    boxes = verbs.add_parser("detector", help="calibrate the boxes of a detector to landmark boxes")
    boxes.set_defaults(run=calibrate_detector)
    boxes.add_argument("--detector", required=True, choices=list(DETECTORS), help="detector to calibrate")
    boxes.add_argument("--detector-model", metavar="FILE", help="model file of a detector that needs one (yunet)")
    add_data_flags(boxes, about="data set whose training faces are measured", required=True)
    add_out_flag(boxes, "JSON file for the calibration")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
