"""Measures checkpoints, or files of any model's predictions, by the protocol of the field.

    python -m kdloss.evaluate --dataset cofw
    python -m kdloss.evaluate --dataset 300w --checkpoint runs/student --flip-test --robustness --report
    python -m kdloss.evaluate --dataset 300w --predictions mine.csv --box gt:1.25 --missing fail
    python -m kdloss.evaluate --dataset 300w --compare student=runs/kd-both teacher=runs/tough trees.npz

Prints the main numbers, with ``--full`` every table, and writes ``metrics.json``, ``predictions.npz`` and ``ced.png``;
with ``--report`` also one HTML page that holds everything.
"""

import argparse
import json
import re
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from data_prep.find import check_data, find_prepared
from kdloss import pretrained
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError, DataError, exits_on_user_error
from kdloss.evaluation import detector_boxes
from kdloss.evaluation.comparison import compare, comparison_lines, comparison_tables, distinct_labels
from kdloss.evaluation.evaluation import (
    MEAN_SHAPE,
    check_checkpoint,
    evaluate_loaded,
    evaluate_mean_shape,
    evaluate_predicted,
    load_checkpoint,
)
from kdloss.evaluation.metrics import available_normalisers
from kdloss.evaluation.predictions import SUFFIXES, holds_predictions, load_predictions, mean_offset
from kdloss.evaluation.protocol import MISSING, spread_rows
from kdloss.evaluation.robustness import measure_robustness, robustness_line
from kdloss.evaluation.tables import (
    MOST_WIDTH,
    Result,
    brief_table,
    parts_table,
    results_table,
    terminal_width,
    text_table,
    wrapped,
)
from kdloss.experiments.flags import add_checkpoint_flag, add_data_flags, add_json_flag, add_out_flag, answered
from kdloss.files import require_place, require_replaceable
from kdloss.inference.detectors import DETECTORS, detector
from kdloss.inference.prediction import predict_crops
from kdloss.machine import environment, machine
from kdloss.models.locate import checkpoint_path
from kdloss.training.runs import find_checkpoint, runs_root

DEFAULT_BOX = "gt:1.25"


@exits_on_user_error
def main(argv=None):
    words = sys.argv[1:] if argv is None else argv
    args = _parser().parse_args(words)
    return answered(lambda: (0, _evaluate(args, words)), args.json)


def _evaluate(args, words):
    """Measures, prints and writes; returns what the JSON file holds, and where the files are."""
    prepared, models, finder = _check(args)
    measured = [_measure(args, prepared, finder, *model) for model in models]
    _, *labels = distinct_labels([MEAN_SHAPE, *(one.label for one, _ in measured)])
    evaluations = [replace(one, label=label) for label, (one, _) in zip(labels, measured, strict=True)]
    first, faces = evaluations[0], measured[0][1]
    baseline = _baseline(args, prepared, evaluations)
    shown = {"baseline": baseline, "configuration": _configuration(evaluations) if args.report else None}
    beside = [] if args.compare or not args.detector else detector_boxes.evaluate_beside(first, faces, **_options(args))
    results = [Result(one.label, one.metrics, extra=_file_size(one)) for one in (*evaluations, *beside)]
    results += [] if baseline is None else [Result(baseline.label, baseline.metrics, "baseline")]
    # Matplotlib, which neither --help nor a mistake in the command should wait for.
    from kdloss.evaluation.report import write_comparison, write_evaluation, write_evaluation_report

    out = args.out or _default_folder(args, first.loaded)
    about = environment if any(one.loaded for one in evaluations) else machine
    made = {"command": f"python -m kdloss.evaluate {shlex.join(words)}", "environment": about()}
    width = None if args.full else terminal_width()
    brief, tables = brief_table(results, width or MOST_WIDTH), [results_table(results), parts_table(results)]
    lines, detected = [], []
    if args.compare:
        comparison = compare(evaluations)
        tables, lines = [*tables, *comparison_tables(comparison)], comparison_lines(comparison)
        record = write_comparison(out, comparison, evaluations, baseline, **made)
        shown["comparison"] = comparison
        written = "comparison.json and ced.png"
    else:
        record = {}
        if args.robustness:
            record["robustness"] = shown["robustness"] = _robustness(args, prepared, first.loaded)
            lines.append(robustness_line(record["robustness"]))
        if beside:
            record["detector"] = detector_boxes.detector_record(faces, first, beside)
            detected = [detector_boxes.detector_line(record["detector"])]
        record = write_evaluation(out, first, baseline, **record, **made)
        written = "metrics.json, predictions.npz and ced.png"
    if args.report:
        write_evaluation_report(
            out / "report.html", evaluations, made, tables=[brief, *tables], lines=detected, **shown
        )
        written = f"report.html, {written}"
    print("\n\n".join(text_table(table, width) for table in (tables if args.full else [brief])))
    print("\n".join(["", *(wrapped(line, width) for line in [*lines, *detected])]))
    print(wrapped(f"wrote {written} to {out}", width))
    if not args.full:
        print("--full prints every table, part of the face and published row")
    return record | {"out": str(out)}


def _check(args):
    """Finds mistakes before a network library is imported.

    Returns:
        The `PreparedDataset`, the models as (label or None, path), and the detector or None.
    """
    args.box = None if args.box is None else BoxPolicy.parse(args.box)
    models = [_label_and_path(entry) for entry in args.compare or [args.predictions or args.checkpoint] if entry]
    _check_flags(args, any(args.predictions or holds_predictions(path) for _, path in models))
    prepared = check_data(args.dataset, args.data)
    if prepared and args.normaliser:
        truth = prepared.source_points[prepared.indices(args.split)]
        available_normalisers(prepared.scheme, truth, args.normaliser)
    models = models or [(None, find_checkpoint(args.dataset))]
    for _, path in models:
        _check_model(args, prepared, path)
    require_place(args.out or runs_root())
    require_replaceable([args.out / "predictions.npz"] if args.out else [], [path for _, path in models])
    finder = detector(args.detector, model=args.detector_model) if args.detector else None
    return prepared or find_prepared(args.dataset, args.data), models, finder


def _label_and_path(entry):
    """``LABEL=PATH`` or ``PATH`` as (label or None, path)."""
    label, sign, path = entry.partition("=")
    return (label, Path(path)) if sign and not Path(entry).exists() else (None, Path(entry))


def _check_flags(args, files):
    """Checks the flags by themselves; ``files``: whether a predictions file is measured."""
    if "" in (args.predictions, args.checkpoint):
        raise ConfigError("--predictions or --checkpoint: empty: give a path")
    if args.batch_size < 1:
        raise ConfigError(f"--batch-size {args.batch_size}: expected 1 at least")
    if args.compare and len(args.compare) < 2:
        raise ConfigError("--compare: found one model, expected two or more")
    if args.checkpoint and files:
        raise ConfigError(f"--checkpoint {args.checkpoint}: holds points, no network: give it as --predictions")
    if args.robustness is not None and args.robustness < 1:
        raise ConfigError(f"--robustness {args.robustness}: expected 1 face at least")
    if args.robustness and (args.compare or args.predictions):
        raise ConfigError("--robustness: needs one network, no points and no comparison: give --checkpoint")
    if args.detector and files:
        raise ConfigError("--detector: needs the models themselves, not files of points: give checkpoints alone")
    if args.detector_model and not args.detector:
        raise ConfigError(f"--detector-model {args.detector_model}: no detector is named: give --detector too")
    if args.readout and files:
        raise ConfigError("--readout: needs heatmap networks, not files of points: leave it out")
    if args.missing and not (files or args.detector):
        raise ConfigError("--missing: a network predicts every face: leave it out, or give --predictions or --detector")


def _check_model(args, prepared, path):
    """Checks what needs no Keras; ``prepared`` is None where the faces are not prepared yet."""
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


def _measure(args, prepared, finder, label, path):
    """The `Evaluation` of a checkpoint or a predictions file; with a detector also the `DetectedFaces`, else None."""
    rows = prepared.indices(args.split)
    if args.predictions or holds_predictions(path):
        missing = args.missing or "error"
        points, unused = load_predictions(path, prepared, rows, missing)
        if offset := mean_offset(points, prepared.source_points[rows]):
            print(f"{path}: {offset}")
        if unused:
            print(f"{path}: {unused} of its faces are not in the {args.split} split and not counted")
        options = _options(args) | {"box": args.box, "flip": args.flip_test, "missing": missing}
        del options["batch_size"]
        return evaluate_predicted(prepared, points, label=label or path.name, **options), None
    loaded = load_checkpoint(path, prepared.scheme, args.readout)
    options, faces = _options(args) | {"box": args.box, "label": label}, None
    if finder:
        faces = detector_boxes.detect_faces(prepared, rows, finder, args.box or loaded.box)
        options |= {"boxes": faces.calibrated, "detector": args.detector, "missing": args.missing or "skip"}
    return evaluate_loaded(prepared, loaded, **options), faces


def _options(args):
    protocol = {"split": args.split, "flip": bool(args.flip_test), "normaliser": args.normaliser}
    return protocol | {"batch_size": args.batch_size}


def _baseline(args, prepared, evaluations):
    """The `Evaluation` of the mean shape in the same boxes, for one model also on the same faces, or None."""
    if args.detector:
        print("no mean-shape baseline: its boxes would not be those of the detector")
        return None
    box = args.box or next((one.loaded.box for one in evaluations if one.loaded), BoxPolicy.parse(DEFAULT_BOX))
    alone = {} if args.compare else {"like": evaluations[0], "missing": args.missing or "error"}
    baseline = evaluate_mean_shape(prepared, box, split=args.split, normaliser=args.normaliser, **alone)
    if baseline is None:
        print(f"{prepared.path}: holds no training faces, so there is no mean-shape baseline")
    return baseline


def _configuration(evaluations):
    """label -> the settings of the training, of models that lie in run folders."""
    found = {}
    for evaluation in evaluations:
        if evaluation.loaded and evaluation.loaded.run:
            file = evaluation.loaded.run / "config.json"
            try:
                found[evaluation.label] = json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"{file}: damaged ({error}): bring a whole copy") from error
    return found


def _file_size(evaluation):
    checkpoint = evaluation.metrics["protocol"]["checkpoint"]
    return {"MB": checkpoint_path(checkpoint["path"]).stat().st_size / 1e6} if checkpoint else {}


def _robustness(args, prepared, loaded):
    rows = spread_rows(prepared.indices(args.split), args.robustness)
    options = _options(args) | {"announce": print}
    del options["split"]
    return measure_robustness(loaded.model, prepared, rows, args.box or loaded.box, **options)


def _default_folder(args, loaded):
    """In the run folder of the checkpoint if it lies in one, else below ``runs/evaluation``.

    What changes the numbers is part of the name, so that no measurement replaces another.
    """
    words = [args.dataset, "compared" if args.compare else "", Path(args.predictions or "").stem]
    words += [re.sub(r"[^\w.-]", "-", args.normaliser or ""), "" if args.split == "test" else args.split]
    words += ["flip" if args.flip_test else "", args.detector, args.readout]
    # Shipped models and exported files lie in no run, and the package's own folder is not to be written to.
    if loaded and not args.compare and not loaded.run:
        path = loaded.record["path"]
        words.append(path.replace("/", "-") if path.split("/")[0] in pretrained.names() else Path(path).name)
    if loaded and args.box not in (None, loaded.box):
        words.append(str(args.box).replace(":", "-"))
    name = "-".join(filter(None, words))
    run = loaded.run if loaded and not args.compare else None
    return run / f"evaluation-{name}" if run else runs_root() / "evaluation" / name


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.evaluate", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add_data_flags(parser, about="data set to measure on", required=True)
    source = parser.add_mutually_exclusive_group()
    add_checkpoint_flag(source, "network to measure (default: the newest finished student; a published .h5 works too)")
    text = ".npz or .csv with the points of any model, see docs/evaluation.md"
    source.add_argument("--predictions", metavar="FILE", help=text)
    text = "checkpoints and predictions files, measured on the same faces; the first is the reference"
    source.add_argument("--compare", nargs="+", metavar="[LABEL=]PATH", help=text)
    text = "crop of each face: gt:SCALE, dataset:SCALE or paper (default: as the network was trained)"
    add("--box", help=f"{text}; with --predictions: the crop that they were made with")
    text = "cut the faces by the boxes of a detector, calibrated on training faces, in place of --box"
    add("--detector", choices=list(DETECTORS), help=text)
    add("--detector-model", metavar="FILE", help="model file of a detector that needs one (yunet)")
    text = "what errors are divided by: interocular, interpupil, box, or the distance of two points, such as"
    usual = "default: interocular if the points name the eyes' corners, interpupil if eyes, else box"
    add("--normaliser", metavar="KIND", help=f"{text} left_eye:right_eye ({usual})")
    add("--split", choices=["test", "val"], default="test", help="which faces are measured (default: test)")
    text = "predict the mean of a face and its mirror image (default: no); with --predictions: whether they are means"
    add("--flip-test", action=argparse.BooleanOptionalAction, help=text)
    text = "how heatmap networks read their points (default: integral, as they are trained)"
    add("--readout", choices=["integral", "argmax"], help=text)
    text = "faces without prediction: refuse them (default), leave them out (default with --detector), or count them as"
    add("--missing", choices=list(MISSING), help=f"{text} failures in FR and AUC")
    text = "also measure NME in shifted, scaled and turned boxes, on this many faces (default: 200)"
    add("--robustness", type=int, nargs="?", const=200, metavar="FACES", help=text)
    add("--full", action="store_true", help="print every table, not only the main numbers")
    add_json_flag(parser)
    add("--report", action="store_true", help="also write report.html: tables, curves and faces in one file")
    add("--batch-size", type=int, default=64, metavar="FACES", help="faces per prediction step (default: 64)")
    add_out_flag(parser, "folder of the results (default: in the run folder, else below runs/evaluation/)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
