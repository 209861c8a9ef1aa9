"""How sure a network is of each point: a probability, measured on faces that it was not trained on.

A *signal* of the network tells good points from bad ones: of a heatmap network how far a heatmap spreads; of a
regressor how far a point moves when the face is seen once more, a little turned and smaller. What a signal is worth is
measured on validation faces: a logistic regression of "the point lies within `WITHIN` of where it was annotated" on the
signal's logarithm, with an offset for each point, since a point of the jaw is annotated less surely than the corner of
an eye. Of two readings of a point the one with the weaker signal always has the larger confidence.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kdloss.data.geometry import FaceCrop, landmark_box
from kdloss.errors import CheckpointError, ConfigError
from kdloss.files import write_whole

WITHIN = 0.03  # of the side of the face's landmark box, sqrt(width height); on 300-W some 5 % between the eyes' corners
FILE = "confidence.json"  # beside the checkpoint that it was measured of
SPREAD, VIEWS = "spread", "views"
_SECOND_VIEW = {"rotation": np.deg2rad(8.0), "scale": 0.93}
_LEAST = 1e-4  # signals below this, in sides of the crop, say no more than this
_REGULARISATION = 0.1  # of the offsets: some two hundred faces know each of them roughly
_SLOPE_LIKE = 3.0  # as if the slope were regularised less than the offsets


@dataclass(frozen=True)
class Confidence:
    """What the signal of a network is worth.

    Args:
        signal: ``"spread"`` or ``"views"``.
        slope: of the logit on the signal's logarithm; below zero.
        offsets: N logits of the points at a signal of 1 (a whole crop).
        within: see `WITHIN`; faces: how many it was measured on.
    """

    signal: str
    slope: float
    offsets: tuple
    within: float
    faces: int

    def of(self, signal):
        """Signals (..., N), in sides of the crop -> confidences (..., N) float64 from 0 to 1."""
        logits = np.asarray(self.offsets) + self.slope * np.log(np.maximum(np.asarray(signal, np.float64), _LEAST))
        return 1 / (1 + np.exp(-logits))

    def to_json(self):
        return asdict(self) | {"offsets": [round(offset, 4) for offset in self.offsets]}

    @classmethod
    def from_json(cls, found, num_points):
        """
        Raises:
            CheckpointError: not what `to_json` makes, or of another number of points.
        """
        try:
            made = cls(**found)
            numbers = np.array([made.slope, made.within, made.faces, *made.offsets], np.float64)
            sound = np.isfinite(numbers).all() and made.slope < 0 and len(made.offsets) == num_points
        except (TypeError, ValueError, OverflowError):
            sound = False
        if not sound or made.signal not in (SPREAD, VIEWS):
            raise CheckpointError(
                f"confidence: expected slope below zero and {num_points} offsets, found {str(found)[:80]}: measure it "
                "again with python -m kdloss.calibrate confidence"
            )
        return made


def second_view(box, size):
    """The `FaceCrop` in which a regressor sees the face of a box once more."""
    return FaceCrop.from_box(box, size, **_SECOND_VIEW)


def views_signal(crops, units, again, seen):
    """How far points move from one view of their faces to another.

    Args:
        crops, again: the `FaceCrop`\\ s of both views; units, seen: (k, N, 2) what was read in them.

    Returns:
        (k, N) float64 in sides of the first crop.
    """
    back = [
        first.unit_points(second.inverse_unit(unit)) for first, second, unit in zip(crops, again, seen, strict=True)
    ]
    return np.linalg.norm(np.stack(back) - units, axis=-1)


def point_errors(points, truth):
    """Distances (m, N) of points (m, N, 2) from their truth, in sides sqrt(width height) of its landmark box."""
    sides = np.sqrt(np.prod(landmark_box(truth)[:, 2:], axis=1))
    return np.linalg.norm(points - truth, axis=-1) / sides[:, None]


def fit_confidence(signal, errors, name):
    """The `Confidence` that signals deserve.

    Args:
        signal: (m, N) of the points of m faces, in sides of the crop.
        errors: (m, N), see `point_errors`.
        name: of the signal.

    Raises:
        ConfigError: no faces, or all or none of the points are within `WITHIN`.
    """
    from sklearn.linear_model import LogisticRegression

    if not len(signal):
        raise ConfigError("confidence: no faces to measure it on: prepare the data set with its training faces")
    near = errors <= WITHIN
    if near.all() or not near.any():
        raise ConfigError(
            f"confidence: {'all' if near.all() else 'no'} points are within {WITHIN:.0%} of the face box's side: good "
            "ones cannot be told from bad ones: train the network further, or measure on more faces"
        )
    logarithms = np.log(np.maximum(signal, _LEAST))
    middle, points = logarithms.mean(), signal.shape[1]
    features = np.column_stack(
        [_SLOPE_LIKE * (logarithms.reshape(-1, 1) - middle), np.tile(np.eye(points), (len(signal), 1))]
    )
    fitted = LogisticRegression(C=_REGULARISATION, max_iter=5000).fit(features, near.reshape(-1))
    slope, offsets = _SLOPE_LIKE * fitted.coef_[0, 0], fitted.intercept_[0] + fitted.coef_[0, 1:]
    # A signal that says nothing, or the opposite, still has to yield confidences that fall with it.
    slope = min(float(slope), -1e-6)
    return Confidence(name, slope, tuple((offsets - slope * middle).tolist()), WITHIN, len(signal))


def store_confidence(checkpoint, confidence):
    """Writes what was measured beside the checkpoint, with the checkpoint's hash; returns the file."""
    checkpoint = Path(checkpoint)
    record = {"sha256": _sha256(checkpoint), **confidence.to_json()}
    write_whole(checkpoint.parent / FILE, json.dumps(record, indent=1) + "\n")
    return checkpoint.parent / FILE


def stored_confidence(checkpoint):
    """What `store_confidence` wrote for a checkpoint, a dict; None where there is none, or the weights are others now.

    Raises:
        CheckpointError: the file is damaged.
    """
    file = Path(checkpoint).parent / FILE
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        of = found.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{file}: damaged ({error}): measure it again with python -m kdloss.calibrate confidence"
        ) from error
    return found if of == _sha256(checkpoint) else None


def _sha256(file):
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
