"""Measures checkpoints, or files of any model's predictions, by the protocol of the field.

    python -m kdloss.evaluate --dataset cofw
    python -m kdloss.evaluate --dataset 300w --checkpoint runs/student --flip-test --robustness --report
    python -m kdloss.evaluate --dataset 300w --predictions mine.csv --box gt:1.25 --missing fail
    python -m kdloss.evaluate --dataset 300w --compare student=runs/kd-both teacher=runs/tough trees.npz

Prints the table beside the papers', and writes ``metrics.json``, ``predictions.npz`` and ``ced.png``; with ``--report``
one HTML page that holds everything.
"""

import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from data_prep.find import check_data, find_prepared
from kdloss import pretrained
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError, DataError, UserError, exits_on_user_error
from kdloss.evaluation.comparison import compare, comparison_lines, comparison_tables, distinct_labels
from kdloss.evaluation.detector_boxes import detect_faces, detector_line, detector_record, evaluate_beside
from kdloss.evaluation.evaluation import (
    MEAN_SHAPE,
    check_checkpoint,
    evaluate_loaded,
    evaluate_mean_shape,
    evaluate_predicted,
    load_checkpoint,
)
from kdloss.evaluation.predictions import SUFFIXES, holds_predictions, load_predictions, mean_offset
from kdloss.evaluation.protocol import MISSING
from kdloss.evaluation.tables import Result, parts_table, results_table, text_table
from kdloss.experiments.flags import add_checkpoint_flag, add_data_flags, add_out_flag
from kdloss.files import require_place, write_whole
from kdloss.inference.detectors import DETECTORS, detector
from kdloss.inference.prediction import predict_crops
from kdloss.machine import environment, machine
from kdloss.training.runs import find_checkpoint, runs_root

DEFAULT_BOX = "gt:1.25"
DETECTOR = "lbp"


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    args.typed = sys.argv[1:] if argv is None else argv
    args.box = None if args.box is None else BoxPolicy.parse(args.box)
    _check(args)
    prepared = check_data(args.dataset, args.data)
    entries = [_labelled(entry) for entry in _entries(args)]
    for _, path in entries:
        _check_model(args, prepared, path)
    require_place(args.out or runs_root())
    args.finder = detector(args.detector, model=args.detector_model) if args.detector else None
    prepared = prepared or find_prepared(args.dataset, args.data)
    measured = [_measure(args, prepared, *entry) for entry in entries]
    # The mean shape has its name already.
    labels = distinct_labels([MEAN_SHAPE, *(evaluation.label for evaluation, _, _ in measured)])[1:]
    evaluations = [replace(evaluation, label=label) for label, (evaluation, _, _) in zip(labels, measured, strict=True)]
    models = [loaded for _, loaded, _ in measured]
    configuration = _configurations(labels, models) if args.report else {}
    baseline = _baseline(args, prepared, evaluations, models)
    beside, found = [], None
    if args.detector and not args.compare:
        (evaluation,), (_, loaded, faces) = evaluations, measured[0]
        beside = evaluate_beside(prepared, loaded, faces, evaluation, **_how(args))
        found = detector_record(faces, evaluation, beside)
    tables = _tables([*evaluations, *beside], baseline)
    print("\n\n".join(map(text_table, tables)))
    # Matplotlib, which neither --help nor a mistake in the command should wait for.
    from kdloss.evaluation.plots import figure_bytes
    from kdloss.evaluation.report import overlaid_ced, write_evaluation

    out = args.out or _place(args, models[0])
    made = {
        "command": f"python -m kdloss.evaluate {shlex.join(args.typed)}",
        "environment": environment() if any(models) else machine(),
    }
    if args.compare:
        comparison = _compare(evaluations)
        tables += comparison_tables(comparison)
        write_whole(out / "comparison.json", json.dumps(comparison | made, indent=1, allow_nan=False))
        write_whole(out / "ced.png", figure_bytes(overlaid_ced(evaluations, baseline)))
        written, more = "comparison.json and ced.png", {"comparison": comparison, "lines": comparison_lines(comparison)}
    else:
        more = {"robustness": _robustness(args, prepared, models[0])} if args.robustness else {}
        write_evaluation(out, evaluations[0], baseline, **more, **({"detector": found} if found else {}), **made)
        if found:
            more["lines"] = [detector_line(found)]
            print("\n" + more["lines"][0])
        written = "metrics.json, predictions.npz and ced.png"
    if args.report:
        from kdloss.evaluation.report import write_evaluation_report

        more |= {"tables": tables, "baseline": baseline, "configuration": configuration}
        write_evaluation_report(out / "report.html", evaluations, **more, **made)
        written = f"report.html, {written}"
    print(f"wrote {written} to {out}")
    return 0


def _check(args):
    for name in ("predictions", "checkpoint"):
        if getattr(args, name) == "":
            raise ConfigError(f"--{name}: empty: give a path")
    if args.batch_size < 1:
        raise ConfigError(f"--batch-size {args.batch_size}: expected 1 at least")
    if args.compare and len(args.compare) < 2:
        raise ConfigError("--compare: found one model, expected two or more")
    if args.checkpoint and holds_predictions(args.checkpoint):
        raise ConfigError(f"--checkpoint {args.checkpoint}: holds points, no network: give it as --predictions")
    if args.robustness is not None and args.robustness < 1:
        raise ConfigError(f"--robustness {args.robustness}: expected 1 face at least")
    if args.robustness and (args.compare or args.predictions):
        raise ConfigError("--robustness: needs the model itself, and one: give --checkpoint")
    files = [holds_predictions(_labelled(entry)[1]) for entry in args.compare or ()] or [bool(args.predictions)]
    if args.detector and any(files):
        raise ConfigError("--detector: needs the models themselves, not files of points: give checkpoints alone")
    if args.detector_model and not args.detector:
        raise ConfigError(f"--detector-model {args.detector_model}: of which detector? Give --detector as well")
    if args.readout and any(files):
        raise ConfigError("--readout: needs heatmap networks, not files of points: leave it out")
    if args.missing and not (any(files) or args.detector):
        raise ConfigError("--missing: a network predicts every face: leave it out, or give --predictions or --detector")


def _check_model(args, prepared, path):
    """Checks what is to be measured, as far as it shows without Keras; ``prepared``: None before faces are prepared."""
    if args.predictions or holds_predictions(path):
        if prepared:
            load_predictions(path, prepared, prepared.indices(args.split), args.missing or "error")
        elif not path.is_file():
            raise DataError(f"{path}: no such file: give predictions in {' or '.join(SUFFIXES)}")
        return
    box = check_checkpoint(path, prepared and prepared.scheme, args.readout)
    if prepared:
        prepared.indices(args.split)
        prepared.boxes(args.box or box)
        predict_crops(None, prepared, [], [], flip=args.flip_test)  # of no faces, for its checks


def _entries(args):
    if args.compare:
        return args.compare
    return [next((path for path in (args.predictions, args.checkpoint) if path), None) or find_checkpoint(args.dataset)]


def _labelled(entry):
    """``LABEL=PATH`` or ``PATH`` as (label or None, path)."""
    label, sign, path = str(entry).partition("=")
    return (label, Path(path)) if sign and not Path(entry).exists() else (None, Path(entry))


def _measure(args, prepared, label, path):
    """The `Evaluation` of a checkpoint or predictions file; of the former also its `LoadedModel` and, with a detector,
    the `DetectedFaces`."""
    if args.predictions or holds_predictions(path):
        missing = args.missing or "error"
        points, unused = load_predictions(path, prepared, prepared.indices(args.split), missing)
        if offset := mean_offset(points, prepared.source_points[prepared.indices(args.split)]):
            print(f"{path}: {offset}")
        if unused:
            print(f"{path}: {unused} of its faces are not in the {args.split} split and not counted")
        stated = {"box": args.box, "flip": args.flip_test}
        label = label or path.name
        evaluation = evaluate_predicted(prepared, points, split=args.split, label=label, missing=missing, **stated)
        return evaluation, None, None
    loaded = load_checkpoint(path, prepared.scheme, args.readout)
    how, faces = _how(args) | {"box": args.box, "label": label}, None
    if args.finder:
        faces = detect_faces(prepared, args.finder, args.box or loaded.box, split=args.split)
        how |= {"boxes": faces.calibrated, "detector": args.detector, "missing": args.missing or "skip"}
    return evaluate_loaded(prepared, loaded, **how), loaded, faces


def _how(args):
    return {"split": args.split, "batch_size": args.batch_size, "flip": bool(args.flip_test)}


def _tables(evaluations, baseline):
    results = [Result(evaluation.label, evaluation.metrics, extra=_size(evaluation)) for evaluation in evaluations]
    if baseline is not None:
        results.append(Result(baseline.label, baseline.metrics, "baseline"))
    return [results_table(results), parts_table(results)]


def _size(evaluation):
    checkpoint = evaluation.metrics["protocol"]["checkpoint"]
    if not checkpoint:
        return {}
    from kdloss.models.checkpoint import checkpoint_path

    return {"MB": checkpoint_path(checkpoint["path"]).stat().st_size / 1e6}


def _robustness(args, prepared, loaded):
    """The dict of `measure_robustness`, with that of `measure_detector` (or None) as its ``detector``."""
    from kdloss.evaluation.robustness import measure_detector, measure_robustness, robustness_lines

    rows = prepared.indices(args.split)
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(args.robustness, len(rows))).round().astype(int))]
    what = (loaded.model, prepared, rows, args.box or loaded.box)
    how = {"batch_size": args.batch_size, "flip": bool(args.flip_test), "announce": print}
    found = measure_robustness(*what, **how) | {"detector": None}
    try:
        found["detector"] = measure_detector(*what, args.finder or detector(DETECTOR), **how)
    except UserError as error:  # not installed, or blind to these faces: the rest stands without it
        print(f"without a detector's boxes: {error}")
    print("\n".join(robustness_lines(found)))
    return found


def _compare(evaluations):
    comparison = compare(evaluations)
    print("\n" + "\n\n".join([*map(text_table, comparison_tables(comparison)), *comparison_lines(comparison)]))
    return comparison


def _baseline(args, prepared, evaluations, models):
    """The `Evaluation` of the mean shape in the same boxes, of one model on the same faces, or None."""
    if args.detector:
        print("the mean shape is no baseline here: it would stand in other boxes than the detector's")
        return None
    box = args.box or next((loaded.box for loaded in models if loaded), BoxPolicy.parse(DEFAULT_BOX))
    alone = {} if args.compare else {"like": evaluations[0], "missing": args.missing or "error"}
    baseline = evaluate_mean_shape(prepared, box, split=args.split, **alone)
    if baseline is None:
        print(f"{prepared.path}: holds no training faces, so there is no mean-shape baseline")
    return baseline


def _configurations(labels, models):
    """label -> what the run of a model was started with, of those that lie in run folders."""
    found = {}
    for label, loaded in zip(labels, models, strict=True):
        if loaded and loaded.run:
            try:
                found[label] = json.loads((loaded.run / "config.json").read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"{loaded.run / 'config.json'}: damaged ({error}): bring a whole copy") from error
    return found


def _place(args, loaded):
    """Default folder: in the run of the checkpoint if it lies in one, else below ``runs/evaluation``.

    What changes the numbers is part of the name, so that no measurement replaces another.
    """
    words = [args.dataset, "compared" if args.compare else "", Path(args.predictions or "").stem]
    words += [args.split if args.split != "test" else "", "flip" if args.flip_test else "", args.detector or ""]
    words.append(args.readout or "")
    # Shipped models and exported files lie in no run; the folder of the former is not to be written to.
    if loaded and not args.compare and not loaded.run:
        path = loaded.record["path"]
        words.append(path.replace("/", "-") if path.split("/")[0] in pretrained.names() else Path(path).name)
    if loaded and args.box not in (None, loaded.box):
        words.append(str(args.box).replace(":", "-"))
    name = "-".join(word for word in words if word)
    run = loaded.run if loaded and not args.compare else None
    return run / f"evaluation-{name}" if run else runs_root() / "evaluation" / name


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.evaluate", description=__doc__.split("\n")[0])
    add_data_flags(parser, about="whose faces are measured", required=True)
    source = parser.add_mutually_exclusive_group()
    add_checkpoint_flag(source, "network to measure (default: the newest finished student; a published .h5 works too)")
    source.add_argument("--predictions", help=".npz or .csv of any model's points, see docs/predictions.md")
    source.add_argument(
        "--compare",
        nargs="+",
        metavar="[LABEL=]PATH",
        help="checkpoints and predictions files, measured on the same faces; the first is the reference",
    )
    parser.add_argument(
        "--box",
        help="gt:SCALE, dataset:SCALE or paper (default: as the checkpoint was trained; of predictions it only states "
        "the box they were made with)",
    )
    parser.add_argument(
        "--detector",
        choices=list(DETECTORS),
        help="a detector's boxes, calibrated on training faces to stand for --box",
    )
    parser.add_argument("--detector-model", metavar="FILE", help="of a detector that needs one (yunet)")
    parser.add_argument("--split", choices=["test", "val"], default="test")
    parser.add_argument(
        "--flip-test",
        action=argparse.BooleanOptionalAction,
        help="mean of the face and its mirror image (default: no); of predictions it only states how they were made",
    )
    parser.add_argument(
        "--readout",
        choices=["integral", "argmax"],
        help="how heatmap networks read their points (default: integral, as they are trained)",
    )
    parser.add_argument(
        "--missing",
        choices=list(MISSING),
        help="faces without prediction: refuse the file (default), leave them out (default with --detector), or count "
        "them as failures in FR and AUC",
    )
    parser.add_argument(
        "--robustness",
        type=int,
        nargs="?",
        const=200,
        metavar="FACES",
        help="also NME as the box is shifted, scaled and turned, and in a detector's boxes, on that many evenly spaced "
        "faces (200; each costs 78 predictions)",
    )
    parser.add_argument("--report", action="store_true", help="also report.html: tables, curves, faces, in one file")
    parser.add_argument("--batch-size", type=int, default=64)
    add_out_flag(parser, "folder of the results (default: in the run folder, else below runs/evaluation/)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
