"""From predicted points to ``metrics.json``: every number with the protocol that it was measured under."""

import numpy as np

from kdloss.data.datasets import dataset_spec
from kdloss.data.prepared import SUBSET_PREFIX
from kdloss.errors import DataError
from kdloss.evaluation import metrics

THRESHOLDS = (0.10, 0.08)

# How faces without prediction may be treated, and the words of metrics.json for it.
MISSING = {"error": "none missing", "skip": "left out", "fail": "as failures"}

# The caveat of boxes from `kdloss.inference.detectors.detected_boxes`.
DETECTED = (
    "the detector searched the stored crops around the true faces, and of several detections the one nearest to the "
    "truth counts: easier than whole photographs"
)

# Subsets by occlusion: name -> share of a face's points, from (included) to (excluded).
OCCLUSION = {"occluded <10%": (0.0, 0.1), "occluded 10-30%": (0.1, 0.3), "occluded >30%": (0.3, 1.01)}


def evaluate_points(
    prepared,
    rows,
    predictions,
    *,
    split,
    box=None,
    checkpoint=None,
    flip=False,
    missing="error",
    detector=None,
    normaliser=None,
):
    """Measures predictions on faces of a prepared data set.

    Args:
        prepared, rows: the faces, as (n,) row numbers of a `PreparedDataset`. Occluded points count, unknown ones
            do not.
        predictions: (n, N, 2) points in pixels of the source images, in the order of ``rows``. A face whose points are
            all NaN has no prediction.
        split: ``test`` or ``val``; the test split is compared with the official counts.
        box: the `BoxPolicy` of the model's crops, or None: not stated.
        checkpoint: ``{"path", "sha256"}`` of the model's file, or None.
        flip: whether the predictions are means over the face and its mirror image; None: not stated.
        missing: ``error`` refuses faces without prediction, ``skip`` leaves them out, ``fail`` counts them as failures
            in FR and AUC. NME leaves them out either way.
        detector: name of the detector whose boxes replaced those of ``box``, or None.
        normaliser: see `kdloss.evaluation.metrics.normaliser`; None: the first one whose points are known in all faces.

    Returns:
        A dict that JSON can hold::

            {"dataset", "protocol": {...}, "subsets": {"full": {"n", "official_n", "complete", "nme_interocular",
             "nme_interpupil", "nme_box", "fr10", "fr08", "auc10", "auc08"}, ...}, "parts": {part: NME},
             "points": {name: NME}, "visibility": {"visible": NME, "occluded": NME} or None, "notes": [...]}

        NME and FR are percents, AUC 0 to 1. FR, AUC, parts and points use the protocol's normaliser. All numbers of an
        empty subset are None, and so is an NME whose normaliser the scheme or a face lacks. A normaliser of two points
        adds ``nme_A:B``. ``complete`` is None if there is no official count, and False for rendered faces.

    Raises:
        ConfigError: a normaliser that the scheme or a face lacks.
        DataError: predictions of another shape, with values that are not finite, or of no face at all.
    """
    rows = np.asarray(rows)
    predictions, found = _checked(predictions, (len(rows), prepared.scheme.num_points, 2), missing)
    truth = prepared.source_points[rows]
    kinds = metrics.available_normalisers(prepared.scheme, truth, normaliser)
    at_points = {kind: metrics.point_errors(predictions, truth, prepared.scheme, kind) for kind in kinds}
    errors = {
        kind: np.where(found, metrics.mean_of_known(values, axis=1), np.inf) for kind, values in at_points.items()
    }
    counted = found | (missing == "fail")
    subsets = {}
    for name, (member, official) in subset_masks(prepared, rows, split).items():
        chosen = {kind: values[member & counted] for kind, values in errors.items()}
        count = len(chosen[kinds[0]])
        complete = None if official is None else count == official and not prepared.synthetic
        subsets[name] = {"n": count, "official_n": official, "complete": complete} | _values(chosen, kinds[0])
    full, absent = subsets["full"], int((~found).sum())
    of_found = at_points[kinds[0]][found]
    crop = "not stated" if box is None else str(box)
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
            "box": f"{detector} as {crop}" if detector else crop,
            "box_source": "detector" if detector else None if box is None else box.source,
            "box_scale": None if box is None else box.scale,
            "thresholds": list(THRESHOLDS),
            "flip_test": flip,
            "occluded_points": "counted",
            "missing": {"n": absent, "counted": MISSING[missing if absent else "error"]},
            "checkpoint": checkpoint,
            "synthetic": bool(prepared.synthetic),
            "content": prepared.manifest["content"],
        },
        "subsets": subsets,
        "parts": {part: _nme(of_found[:, list(points)]) for part, points in prepared.scheme.parts.items()},
        "points": dict(zip(prepared.scheme.names, map(_nme, of_found.T), strict=True)),
        "visibility": _by_visibility(of_found, prepared.occluded, rows[found]),
        "notes": _notes(subsets, prepared.synthetic, absent, missing) + ([DETECTED] if detector else []),
    }


def spread_rows(rows, count):
    """At most ``count`` of the rows, evenly spaced."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int))]


def missing_faces(predictions):
    """(n,) bool: which faces of (n, N, 2) points have no prediction, that is NaN alone."""
    return np.isnan(np.asarray(predictions, np.float64)).all(axis=(1, 2))


def _checked(predictions, shape, missing):
    """The predictions as float64, and the mask of faces that have one."""
    predictions = np.asarray(predictions, np.float64)
    if predictions.shape != shape:
        raise DataError(f"predictions: found shape {predictions.shape}, expected {shape} (faces, points, x and y)")
    if missing not in MISSING:
        raise DataError(f"missing faces: found {missing}, expected one of {', '.join(MISSING)}")
    absent = missing_faces(predictions)
    bad = ~np.isfinite(predictions).all(axis=(1, 2)) & ~(absent & (missing != "error"))
    if bad.any():
        raise DataError(f"predictions: {int(bad.sum())} of {shape[0]} faces hold NaN or infinite points")
    if absent.all():
        raise DataError(f"predictions: none of the {shape[0]} faces has one")
    return predictions, ~absent


def subset_masks(prepared, rows, split):
    """name -> (mask over ``rows``, official count or None); the data set's own subsets first, ``full`` last."""
    spec, found = dataset_spec(prepared.dataset), {}
    if split == "test":
        for name, official in spec.subsets.items():
            found[name] = (prepared.table.get(SUBSET_PREFIX + name, np.zeros(len(prepared), bool))[rows], official)
    if prepared.occluded is not None and prepared.occluded[rows].any():
        share = prepared.occluded[rows].mean(axis=1)
        found |= {name: ((share >= low) & (share < high), None) for name, (low, high) in OCCLUSION.items()}
    official = spec.official("test") or None
    found["full"] = (np.ones(len(rows), bool), official if split == "test" else None)
    return found


def _values(errors, default):
    """The numbers of one subset, from its (m,) errors by normaliser."""
    measurable = np.isfinite(errors[default]).any()
    nme = {kind: metrics.nme(errors[kind]) for kind in errors} if measurable else {}
    values = {f"nme_{kind}": nme.get(kind) for kind in dict.fromkeys((*metrics.NORMALISERS, default))}
    for name, measure in (("fr", metrics.failure_rate), ("auc", metrics.auc)):
        for threshold in THRESHOLDS:
            key = f"{name}{round(100 * threshold):02d}"
            values[key] = measure(errors[default], threshold) if len(errors[default]) else None
    return values


def _by_visibility(errors, occluded, rows):
    """NME in percent of the visible and of the occluded points; None where no point is flagged as occluded."""
    if occluded is None or not occluded[rows].any():
        return None
    chosen = {"visible": ~occluded[rows], "occluded": occluded[rows]}
    return {name: _nme(errors[points]) for name, points in chosen.items()}


def _nme(errors):
    """NME in percent of points; None where the truth of none is known."""
    return metrics.nme(errors) if np.isfinite(errors).any() else None


def _notes(subsets, synthetic, absent, missing):
    """What a reader must know before comparing, one sentence each."""
    notes = []
    if absent:
        consequence = "count as failures in FR and AUC" if missing == "fail" else "are left out of every number"
        notes.append(f"{absent} faces without prediction {consequence}; NME is of the faces that have one")
    for name, values in subsets.items():
        count, official = values["n"], values["official_n"]
        if not count:
            notes.append(f"{name}: no faces" if official is None else f"{name}: 0 of {official} official faces, absent")
        elif official is not None and count != official and not synthetic:
            notes.append(f"{name}: {count} of {official} official faces, so its numbers are of a partial set")
    if synthetic:
        notes.append("the faces are SYNTHETIC (rendered); published numbers are of real faces and not comparable")
    return notes
