"""Confidence measured on prepared faces: fitted on validation faces, then checked on others."""

from dataclasses import replace

import numpy as np

from kdloss.data.geometry import landmark_box
from kdloss.errors import ConfigError
from kdloss.inference.confidence import LEAST_SIGNAL, WITHIN, Confidence
from kdloss.inference.readers import read_faces, signal_of

GROUPS = 10
# A detection is a face if its mean confidence is at least this share of what 99 % of the validation faces have.
FACE_SHARE = 0.75
_REGULARISATION = 0.1  # of the offsets, which about two hundred faces determine roughly
_SLOPE_FACTOR = 3.0  # of the slope's feature, so that the slope is regularised less than the offsets


def measure_confidence(reader, prepared, policy):
    """The `Confidence` of a reader, fitted on the validation faces of a `PreparedDataset`, in crops of a `BoxPolicy`.

    Raises:
        ConfigError: there are no faces, or all or none of the points on them are right.
    """
    name = signal_of(reader)
    return fit_confidence(*_signals_and_errors(reader, prepared, policy, "val", name), name)


def fit_confidence(signal, errors, name):
    """The `Confidence` that fits signals (m, N), in sides of the crop, and errors (m, N), see `point_errors`.

    Raises:
        ConfigError: no faces, or all or none of the points are within `WITHIN`.
    """
    from sklearn.linear_model import LogisticRegression

    if not len(signal):
        raise ConfigError("confidence: no faces to measure it on: prepare the data set with its training faces")
    known = np.isfinite(errors).reshape(-1)
    near = errors.reshape(-1)[known] <= WITHIN
    if near.all() or not near.any():
        raise ConfigError(
            f"confidence: {'all' if near.all() else 'no'} points are within {WITHIN:.0%} of the face box's side, "
            "expected good and bad ones: train the network further, or measure on more faces"
        )
    logarithms = np.log(np.maximum(signal, LEAST_SIGNAL))
    mean = logarithms.mean()
    one_hot_points = np.tile(np.eye(signal.shape[1]), (len(signal), 1))
    features = np.column_stack([_SLOPE_FACTOR * (logarithms.reshape(-1, 1) - mean), one_hot_points])
    fitted = LogisticRegression(C=_REGULARISATION, max_iter=5000).fit(features[known], near)
    slope, offsets = _SLOPE_FACTOR * fitted.coef_[0, 0], fitted.intercept_[0] + fitted.coef_[0, 1:]
    # Confidence has to fall with the signal even where the fit finds no slope, or the opposite one.
    slope = min(float(slope), -1e-6)
    found = Confidence(name, slope, tuple((offsets - slope * mean).tolist()), WITHIN, len(signal))
    least = np.percentile(found.of(signal).mean(axis=1), 1)
    return replace(found, face=round(float(FACE_SHARE * least), 4))


def reliability(reader, confidence, prepared, policy, split="test"):
    """How the `Confidence` of a reader and its errors go together on a split: a dict for JSON.

    Returns:
        ``groups``: `GROUPS` groups of equally many points, from the least to the most confident, each with its mean
        ``confidence``, the share ``within`` `WITHIN`, and the mean ``error`` in percent of the face box's side;
        ``spearman``: rank correlation of confidence and error; ``calibration_error``: mean difference of confidence and
        share over the groups; ``auc``: the probability that a point within `WITHIN` has a larger confidence than one
        beyond; ``faces``, ``points``, ``within``, ``share_within``, ``signal``, ``split``, ``dataset``, ``synthetic``.

    Raises:
        ConfigError: the split has no faces, or the reader does not yield the signal of the confidence.
    """
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    signal, errors = _signals_and_errors(reader, prepared, policy, split, confidence.signal)
    known = np.isfinite(errors)
    probability, errors = confidence.of(signal)[known], errors[known]
    near = errors <= WITHIN
    groups = [
        {
            "confidence": float(probability[group].mean()),
            "within": float(near[group].mean()),
            "error": float(100 * errors[group].mean()),
        }
        for group in np.array_split(np.argsort(probability, kind="stable"), GROUPS)
    ]
    return {
        "dataset": prepared.dataset,
        "split": split,
        "synthetic": prepared.synthetic,
        "faces": len(signal),
        "points": len(errors),
        "signal": confidence.signal,
        "within": WITHIN,
        "share_within": float(near.mean()),
        "groups": groups,
        "spearman": float(spearmanr(probability, errors).statistic),
        "calibration_error": float(np.mean([abs(group["confidence"] - group["within"]) for group in groups])),
        "auc": float(roc_auc_score(near, probability)) if 0 < near.mean() < 1 else None,
    }


def point_errors(points, truth):
    """Distances (m, N) of points (m, N, 2) from the truth, in sides sqrt(width height) of its landmark box.

    NaN where the truth is unknown.
    """
    sides = np.sqrt(np.prod(landmark_box(truth)[:, 2:], axis=1))
    return np.linalg.norm(points - truth, axis=-1) / sides[:, None]


def _signals_and_errors(reader, prepared, policy, split, name):
    rows = prepared.indices(split)
    if not len(rows):
        raise ConfigError(f"{prepared.path}: its split {split} has no faces, on which confidence could be measured")
    images = [prepared.faces[row] for row in rows]
    points, signal = read_faces(reader, images, prepared.boxes(policy)[rows], name)
    if signal is None:
        raise ConfigError("confidence: was measured by the spread, which this file does not yield: export it again")
    return signal, point_errors(points, prepared.points[rows])
