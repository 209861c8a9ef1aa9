"""From predicted points to ``metrics.json``: every number with the protocol that it was measured under."""

import numpy as np

from kdloss.datasets import dataset_spec
from kdloss.errors import DataError
from kdloss.evaluation import metrics
from kdloss.prepared import SUBSET_PREFIX

THRESHOLDS = (0.10, 0.08)


def evaluate_points(prepared, rows, predictions, *, split, box=None, checkpoint=None):
    """Measures predictions on faces of a prepared data set.

    Args:
        prepared: the `PreparedDataset`; its landmarks in source pixels are the truth. Occluded points count.
        rows: (n,) row numbers of the faces.
        predictions: (n, N, 2) points in pixels of the source images, in the order of ``rows``.
        split: ``test`` or ``val``; the test split is compared with the official counts.
        box: the `BoxPolicy` of the crops that the model saw, or None where nobody said.
        checkpoint: ``{"path", "sha256"}`` of the model's file, or None.

    Returns:
        A dict that JSON can hold::

            {"dataset", "protocol": {...}, "subsets": {"full": {"n", "official_n", "complete", "nme_interocular",
             "nme_interpupil", "nme_box", "fr10", "fr08", "auc10", "auc08"}, ...}, "parts": {part: NME}, "notes": [...]}

        NME and FR are percents, AUC 0 to 1. FR, AUC and the parts use the protocol's normaliser. A subset without
        faces has ``n`` 0 and no values (None), as has an NME whose normaliser the scheme lacks. ``complete`` is None
        where there is no official number, and False for rendered faces whatever their number.

    Raises:
        DataError: predictions of another shape, or with values that are not finite.
    """
    rows = np.asarray(rows)
    predictions = _checked(predictions, (len(rows), prepared.scheme.num_points, 2))
    truth = prepared.source_points[rows]
    kinds = metrics.available_normalisers(prepared.scheme)
    per_point = {kind: metrics.point_errors(predictions, truth, prepared.scheme, kind) for kind in kinds}
    errors = {kind: values.mean(axis=1) for kind, values in per_point.items()}
    subsets = {}
    for name, (member, official) in _subsets(prepared, rows, split).items():
        count = int(member.sum())
        complete = None if official is None else count == official and not prepared.synthetic
        chosen = {kind: values[member] for kind, values in errors.items()}
        subsets[name] = {"n": count, "official_n": official, "complete": complete} | _values(chosen, kinds[0])
    full = subsets["full"]
    return {
        "dataset": prepared.dataset,
        "protocol": {
            "dataset": prepared.dataset,
            "scheme": prepared.scheme.name,
            "split": split,
            "n": full["n"],
            "official_n": full["official_n"],
            "complete": full["complete"],
            "normaliser": kinds[0],
            "box": "not stated" if box is None else str(box),
            "box_source": None if box is None else box.source,
            "box_scale": None if box is None else box.scale,
            "thresholds": list(THRESHOLDS),
            "flip_test": False,
            "occluded_points": "counted",
            "checkpoint": checkpoint,
            "synthetic": bool(prepared.synthetic),
            "content": prepared.manifest["content"],
        },
        "subsets": subsets,
        "parts": {
            part: metrics.nme(per_point[kinds[0]][:, list(points)]) for part, points in prepared.scheme.parts.items()
        },
        "notes": _notes(subsets, prepared.synthetic),
    }


def _checked(predictions, shape):
    predictions = np.asarray(predictions, np.float64)
    if predictions.shape != shape:
        raise DataError(f"predictions: found shape {predictions.shape}, expected {shape} (faces, points, x and y)")
    finite = np.isfinite(predictions).all(axis=(1, 2))
    if not finite.all():
        raise DataError(f"predictions: {int((~finite).sum())} of {shape[0]} faces hold NaN or infinite points")
    return predictions


def _subsets(prepared, rows, split):
    """name -> (mask over ``rows``, official count or None); the data set's own subsets first, ``full`` last."""
    spec = dataset_spec(prepared.dataset)
    found = {}
    if split == "test":
        for name, official in spec.subsets.items():
            column = prepared.table.get(SUBSET_PREFIX + name)
            member = np.zeros(len(rows), bool) if column is None else column[rows]
            found[name] = (member, official)
    official = spec.official("test") or None
    found["full"] = (np.ones(len(rows), bool), official if split == "test" else None)
    return found


def _values(errors, default):
    """The numbers of one subset, from its (m,) errors by normaliser."""
    empty = not len(errors[default])
    values = {
        f"nme_{kind}": metrics.nme(errors[kind]) if kind in errors and not empty else None
        for kind in metrics.NORMALISERS
    }
    for name, measure in (("fr", metrics.failure_rate), ("auc", metrics.auc)):
        for threshold in THRESHOLDS:
            key = f"{name}{round(100 * threshold):02d}"
            values[key] = None if empty else measure(errors[default], threshold)
    return values


def _notes(subsets, synthetic):
    """What a reader must know before comparing, one sentence each."""
    notes = []
    for name, values in subsets.items():
        count, official = values["n"], values["official_n"]
        if not count:
            notes.append(f"{name}: 0 of {official} official faces, absent")
        elif official is not None and count != official and not synthetic:
            notes.append(f"{name}: {count} of {official} official faces, so its numbers are of a partial set")
    if synthetic:
        notes.append("the faces are SYNTHETIC (rendered); published numbers are of real faces and not comparable")
    return notes
