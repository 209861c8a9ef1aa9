"""What an evaluation leaves for programs: ``metrics.json``, ``predictions.npz`` and ``ced.png``."""

import json
from pathlib import Path

from asm.atomic import write_whole
from kdloss.datasets import dataset_spec
from kdloss.evaluation import plots
from kdloss.evaluation.comparison import common_faces
from kdloss.evaluation.predictions import save_predictions


def write_evaluation(folder, evaluation, baseline=None, robustness=None, **made):
    """Writes them into a folder.

    Args:
        folder: is made where it is missing.
        evaluation: an `Evaluation`.
        baseline: the `Evaluation` of the mean shape, whose numbers and curve stand beside it, or None.
        robustness: the dict of `measure_robustness`, or None; it becomes a part of ``metrics.json``.
        made: how it was made: ``command`` (text) and ``environment`` (dict), for ``metrics.json``.
    """
    folder = Path(folder)
    record = evaluation.metrics | made
    record |= {} if baseline is None else {"mean_shape": baseline.metrics["subsets"]}
    record |= {} if robustness is None else {"robustness": robustness}
    write_whole(folder / "metrics.json", json.dumps(record, indent=1, allow_nan=False))
    save_predictions(folder / "predictions.npz", evaluation.names, evaluation.points, evaluation.truth)
    write_whole(folder / "ced.png", plots.figure_bytes(overlaid_ced([evaluation], baseline)))


def overlaid_ced(evaluations, baseline=None):
    """The cumulative error distributions of evaluations in one matplotlib `Figure`, on the faces that all have."""
    shown = [*evaluations, *([] if baseline is None else [baseline])]
    chosen = common_faces(shown)
    curves = {one.label: one.errors[faces] for one, faces in zip(shown, chosen, strict=True)}
    protocol, count = evaluations[0].metrics["protocol"], len(chosen[0])
    spec = dataset_spec(evaluations[0].metrics["dataset"])
    faces = f"{count} synthetic faces" if protocol["synthetic"] else f"{count} faces"
    official = spec.official(protocol["split"])
    if official not in (0, count) and not protocol["synthetic"]:
        faces = f"{count} of {official} faces (partial)"
    title = f"{spec.title}, {protocol['split']} split, {faces}, {protocol['normaliser']} normaliser"
    return plots.ced_figure(curves, title=title)
