"""Confidence: the estimated probability that a point is right.

A *signal* of the network tells good points from bad ones. For a heatmap network it is the spread of the heatmap; for a
regressor it is how far the point moves when the network sees the face again, slightly rotated and smaller.
`kdloss.inference.confidence_fit` measures on validation faces what a signal is worth, by a logistic regression of "the
point lies within `WITHIN` of its annotation" on the logarithm of the signal. Each point has an offset of its own,
because a point of the jaw is annotated less precisely than the corner of an eye. The slope is below zero: of two
readings of a point, the one with the weaker signal has the larger confidence.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kdloss.data.geometry import FaceCrop
from kdloss.data.prepared import file_hash
from kdloss.errors import CheckpointError
from kdloss.files import read_text, write_whole

WITHIN = 0.03  # of the side sqrt(width height) of the landmark box: on 300-W about 5 % of the inter-ocular distance
FILE = "confidence.json"  # beside the checkpoint
SPREAD, VIEWS = "spread", "views"
LEAST_SIGNAL = 1e-4  # in sides of the crop; weaker signals count as this one
_REMEDY = "measure it again with python -m kdloss.calibrate confidence"
_SECOND_VIEW = {"rotation": np.deg2rad(8.0), "scale": 0.93}


@dataclass(frozen=True)
class Confidence:
    """What the signal of a network says about its points.

    Args:
        signal: ``"spread"`` or ``"views"``.
        slope: of the logit over the signal's logarithm; below zero.
        offsets: N logits of the points at a signal of 1 (the side of the crop).
        within, faces: `WITHIN` and the number of faces of the measurement.
        face: a detection with less mean confidence is no face.
    """

    signal: str
    slope: float
    offsets: tuple
    within: float
    faces: int
    # Of models that do not say, such as the first that shipped: on 452 collages of four training images of 300-W, 112
    # of the 171 false detections of lbp are below, and 6 of 1585 faces.
    face: float = 0.3

    def of(self, signal):
        """Signals (..., N), in sides of the crop -> confidences (..., N) float64 from 0 to 1."""
        logarithms = np.log(np.maximum(np.asarray(signal, np.float64), LEAST_SIGNAL))
        logits = np.asarray(self.offsets) + self.slope * logarithms
        return 1 / (1 + np.exp(-logits))

    def to_json(self):
        """A dict for JSON."""
        return asdict(self) | {"offsets": [round(offset, 4) for offset in self.offsets]}

    @classmethod
    def from_json(cls, record, num_points):
        """What `to_json` returned; `CheckpointError` for anything else, or another number of points."""
        try:
            confidence = cls(**record)
            numbers = [confidence.slope, confidence.within, confidence.faces, confidence.face, *confidence.offsets]
            valid = np.isfinite(np.array(numbers, np.float64)).all() and confidence.slope < 0
            valid = valid and len(confidence.offsets) == num_points and confidence.signal in (SPREAD, VIEWS)
        except (TypeError, ValueError, OverflowError):
            valid = False
        if not valid:
            expected = f"expected slope below zero and {num_points} offsets, found {str(record)[:80]}"
            raise CheckpointError(f"confidence: {expected}: {_REMEDY}")
        return confidence


def second_view(box, size):
    """The `FaceCrop` in which a regressor sees the face of a box again."""
    return FaceCrop.from_box(box, size, **_SECOND_VIEW)


def views_signal(crops, units, second_crops, second_units):
    """How far points move between two views, given their `FaceCrop`\\ s and unit points (k, N, 2): (k, N) float64, in
    sides of the first crop."""
    views = zip(crops, second_crops, second_units, strict=True)
    moved = [crop.unit_points(second.inverse_unit(unit)) for crop, second, unit in views]
    return np.linalg.norm(np.stack(moved) - units, axis=-1)


def store_confidence(checkpoint, confidence):
    """Writes a `Confidence` beside its checkpoint, with the checkpoint's hash; returns the file."""
    checkpoint = Path(checkpoint)
    record = {"sha256": file_hash(checkpoint), **confidence.to_json()}
    write_whole(checkpoint.parent / FILE, json.dumps(record, indent=1) + "\n")
    return checkpoint.parent / FILE


def stored_confidence(checkpoint):
    """What `store_confidence` wrote for a checkpoint, a dict; None if there is none, or the checkpoint has changed.

    Raises:
        CheckpointError: the file is damaged.
    """
    file = Path(checkpoint).parent / FILE
    if not file.is_file():
        return None
    try:
        record = json.loads(read_text(file))
        measured = record.pop("sha256")
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{file}: damaged ({error}): {_REMEDY}") from error
    return record if measured == file_hash(checkpoint) else None
