"""Confidence measured on prepared faces: fitted on validation faces, and checked on others."""

import numpy as np

from kdloss.errors import ConfigError
from kdloss.inference.confidence import WITHIN, fit_confidence, point_errors
from kdloss.inference.readers import read_faces, signal_of

GROUPS = 10


def measure_confidence(reader, prepared, policy, split="val"):
    """The `Confidence` of a reader, from the faces of a split.

    Args:
        reader: see `kdloss.inference.readers`.
        prepared: a `PreparedDataset`; policy: the `BoxPolicy` of the crops.

    Raises:
        ConfigError: the split has no faces, or all or none of the points on them are right.
    """
    name = signal_of(reader)
    return fit_confidence(*_signals_and_errors(reader, prepared, policy, split, name), name)


def reliability(reader, confidence, prepared, policy, split="test"):
    """How confidences and errors go together on a split: a dict for JSON.

    Args:
        reader, prepared, policy: see `measure_confidence`; confidence: the reader's.

    Returns:
        ``groups``: `GROUPS` groups of equally many points, from the least to the most confident, each with mean
        ``confidence``, the share ``within`` `WITHIN`, and mean ``error`` in percent of the face box's side;
        ``spearman``: rank correlation of confidence and error; ``calibration_error``: mean difference of confidence and
        share over the groups; ``auc``: the chance that of a point within and one beyond the former has the larger
        confidence; ``faces``, ``points``, ``within``, ``signal``, ``split``, ``dataset``, ``synthetic``.

    Raises:
        ConfigError: the split has no faces, or the reader does not tell what its confidence is made of.
    """
    from scipy.stats import spearmanr
    from sklearn.metrics import roc_auc_score

    signal, errors = _signals_and_errors(reader, prepared, policy, split, confidence.signal)
    sure, errors = confidence.of(signal).reshape(-1), errors.reshape(-1)
    near = errors <= WITHIN
    parts = np.array_split(np.argsort(sure, kind="stable"), GROUPS)
    groups = [
        {
            "confidence": float(sure[part].mean()),
            "within": float(near[part].mean()),
            "error": float(100 * errors[part].mean()),
        }
        for part in parts
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
        "spearman": float(spearmanr(sure, errors).statistic),
        "calibration_error": float(np.mean([abs(group["confidence"] - group["within"]) for group in groups])),
        "auc": float(roc_auc_score(near, sure)) if 0 < near.mean() < 1 else None,
    }


def _signals_and_errors(reader, prepared, policy, split, name):
    rows = prepared.indices(split)
    if not len(rows):
        raise ConfigError(f"{prepared.path}: its split {split} has no faces, on which confidence could be measured")
    images = [prepared.faces[row] for row in rows]
    points, signal = read_faces(reader, images, prepared.boxes(policy)[rows], name)
    if signal is None:
        raise ConfigError(
            "confidence: was measured by the spread of heatmaps, which this file does not tell: export it again"
        )
    return signal, point_errors(points, prepared.points[rows])
