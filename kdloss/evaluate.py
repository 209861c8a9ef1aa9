"""Measures a checkpoint, or a file of any model's predictions, by the protocol of the field.

    python -m kdloss.evaluate --dataset cofw
    python -m kdloss.evaluate --dataset 300w --checkpoint runs/student --box gt:1.25
    python -m kdloss.evaluate --dataset 300w --predictions mine.npz --out evaluation/mine

Prints the table beside the papers', and writes ``metrics.json``, ``predictions.npz`` and ``ced.png``.
"""

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asm.atomic import write_whole
from kdloss.data_location import find_prepared
from kdloss.datasets import DATASETS, dataset_spec
from kdloss.errors import ConfigError, exits_on_user_error
from kdloss.evaluation import metrics, plots
from kdloss.evaluation.mean_shape import mean_shape_predictions
from kdloss.evaluation.predictions import load_predictions, save_predictions
from kdloss.evaluation.protocol import evaluate_points
from kdloss.evaluation.tables import Result, results_table, text_table
from kdloss.geometry import BoxPolicy
from kdloss.prepared import PreparedDataset
from kdloss.runs import find_checkpoint

DEFAULT_BOX = "gt:1.25"


@dataclass(frozen=True)
class Evaluation:
    """What a measurement left.

    Args:
        prepared, rows: the faces, as row numbers of the `PreparedDataset`.
        points: (n, N, 2) float64 predictions in pixels of the source images, in the order of ``rows``.
        metrics: the dict of `evaluate_points`.
    """

    prepared: PreparedDataset
    rows: np.ndarray
    points: np.ndarray
    metrics: dict

    @property
    def errors(self):
        """(n,) errors of the images by the protocol's normaliser, fractions."""
        truth = self.prepared.source_points[self.rows]
        return metrics.image_errors(self.points, truth, self.prepared.scheme, self.metrics["protocol"]["normaliser"])


def evaluate_predicted(prepared, points, *, split="test", box=None, checkpoint=None):
    """An `Evaluation` of (n, N, 2) points for all faces of a split; ``box`` is a `BoxPolicy` or None."""
    rows = prepared.indices(split)
    found = evaluate_points(prepared, rows, points, split=split, box=box, checkpoint=checkpoint)
    return Evaluation(prepared, rows, np.asarray(points, np.float64), found)


def evaluate_model_on(prepared, model, box, *, split="test", batch_size=64, checkpoint=None):
    """An `Evaluation` of a model in memory, on the crops of a `BoxPolicy`; ``checkpoint`` is recorded as it is."""
    from kdloss.prediction import predict_dataset

    points = predict_dataset(model, prepared, prepared.indices(split), box, batch_size)
    return evaluate_predicted(prepared, points, split=split, box=box, checkpoint=checkpoint)


def evaluate_checkpoint(prepared, path, *, box=None, split="test", batch_size=64):
    """An `Evaluation` of a checkpoint: a ``.keras`` file or a run folder. ``box`` None takes the checkpoint's own.

    Raises:
        CheckpointError: no such file, damaged, or for another landmark scheme.
    """
    from kdloss.training.checkpoint import checkpoint_path, load_model, read_card, require_scheme

    path = checkpoint_path(path)
    require_scheme(read_card(path), prepared.scheme, path)
    model, card = load_model(path)
    record = {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()[:16]}
    record |= {key: card[key] for key in ("dataset", "arch", "kind", "method", "image_size") if key in card}
    policy = BoxPolicy.parse(card["box"]) if box is None else box
    return evaluate_model_on(prepared, model, policy, split=split, batch_size=batch_size, checkpoint=record)


def evaluate_mean_shape(prepared, box, *, split="test"):
    """An `Evaluation` of the mean training shape placed in each box, or None where there are no training faces."""
    if not np.any(prepared.table["split"] == "train"):
        return None
    points = mean_shape_predictions(prepared, prepared.indices(split), box)
    return evaluate_predicted(prepared, points, split=split, box=box)


def write_evaluation(folder, evaluation, baseline=None, label="model"):
    """Writes ``metrics.json``, ``predictions.npz`` and ``ced.png`` (with the baseline's curve) into a folder.

    Returns:
        The bytes of the CED picture.
    """
    folder, prepared, rows = Path(folder), evaluation.prepared, evaluation.rows
    record = evaluation.metrics | ({} if baseline is None else {"mean_shape": baseline.metrics["subsets"]})
    write_whole(folder / "metrics.json", json.dumps(record, indent=1, allow_nan=False))
    truth = prepared.source_points[rows]
    save_predictions(folder / "predictions.npz", prepared.table["name"][rows], evaluation.points, truth)
    curves = {label: evaluation.errors} | ({} if baseline is None else {"mean shape": baseline.errors})
    picture = plots.figure_bytes(plots.ced_figure(curves, title=ced_title(evaluation.metrics)))
    write_whole(folder / "ced.png", picture)
    return picture


def ced_title(found):
    """What a CED of these metrics shows, in one line."""
    protocol = found["protocol"]
    faces = f"{protocol['n']} synthetic faces" if protocol["synthetic"] else f"{protocol['n']} faces"
    if protocol["complete"] is False and not protocol["synthetic"]:
        faces = f"{protocol['n']} of {protocol['official_n']} faces (partial)"
    title = dataset_spec(found["dataset"]).title
    return f"{title}, {protocol['split']} split, {faces}, {protocol['normaliser']} normaliser"


@exits_on_user_error
def main(argv=None):
    args = _parser().parse_args(argv)
    if args.batch_size < 1:
        raise ConfigError(f"--batch-size {args.batch_size}: expected 1 at least")
    box = None if args.box is None else BoxPolicy.parse(args.box)
    prepared = find_prepared(args.dataset, args.data)
    if args.predictions:
        path = Path(args.predictions)
        points, unused = load_predictions(path, prepared, prepared.indices(args.split))
        if unused:
            print(f"{path}: {unused} of its faces are not in the {args.split} split and not counted")
        evaluation = evaluate_predicted(prepared, points, split=args.split, box=box)
        label, out = path.name, Path("evaluation") / args.dataset
    else:
        path = Path(args.checkpoint) if args.checkpoint else find_checkpoint(args.dataset)
        evaluation = evaluate_checkpoint(prepared, path, box=box, split=args.split, batch_size=args.batch_size)
        label, out = _place(Path(evaluation.metrics["protocol"]["checkpoint"]["path"]), args.dataset)
        box = BoxPolicy.parse(evaluation.metrics["protocol"]["box"])
    if args.split != "test":
        out = out.with_name(f"{out.name}-{args.split}")
    out = Path(args.out) if args.out else out
    baseline = evaluate_mean_shape(prepared, box or BoxPolicy.parse(DEFAULT_BOX), split=args.split)
    results = [Result(label, evaluation.metrics)]
    if baseline is None:
        print(f"{prepared.path}: holds no training faces, so there is no mean-shape baseline")
    else:
        results.append(Result("mean training shape", baseline.metrics, "baseline"))
    print(text_table(results_table(results)))
    write_evaluation(out, evaluation, baseline, label)
    print(f"wrote metrics.json, predictions.npz and ced.png to {out}")
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="python -m kdloss.evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", required=True, choices=list(DATASETS))
    parser.add_argument("--data", help="prepared or official folder (default: KDLOSS_DATA/DATASET, data/DATASET)")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--checkpoint", help=".keras file or run folder (default: the newest finished student)")
    source.add_argument("--predictions", help=".npz with names and points (n, N, 2), source pixels, 0-based")
    parser.add_argument(
        "--box",
        help="gt:SCALE, dataset:SCALE or paper (default: as the checkpoint was trained; with "
        "--predictions it only states the box they were made with)",
    )
    parser.add_argument("--split", choices=["test", "val"], default="test")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", help="folder for the results (default: in the run folder, or evaluation/DATASET)")
    return parser


def _place(path, dataset):
    """Label and default output folder of a checkpoint: those of its run, if it lies in a run folder."""
    if (path.parent / "config.json").is_file():
        return path.parent.name, path.parent / f"evaluation-{dataset}"
    return path.stem, Path("evaluation") / dataset


if __name__ == "__main__":
    raise SystemExit(main())
