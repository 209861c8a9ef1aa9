"""From a detector's boxes to the boxes that a model was trained in.

A detector's box differs from the box around the landmarks: a `BoxCalibration` corrects what is the same on all faces.
What differs from face to face, the scatter, remains. A calibration belongs to one detector and one landmark scheme,
because the box around the landmarks depends on which points are annotated. `CALIBRATIONS` holds those of the
package; ``python -m kdloss.calibrate detector`` measures others.
"""

import json
import math
from dataclasses import asdict, dataclass

import numpy as np

from kdloss.data.datasets import DATASETS
from kdloss.data.geometry import BoxPolicy, invert, transform_each, turned_landmark_box
from kdloss.errors import CheckpointError, ConfigError, DataError, UserError
from kdloss.files import read_text, write_whole
from kdloss.inference.detectors import DETECTOR, DETECTORS, detected_boxes, detector

# The landmark box widened to a square. `BoxPolicy.grow` makes any training crop of it.
LANDMARK_BOX = BoxPolicy("gt", 1.0)
MOST_FACES = 300  # the most that `calibrate` measures
LEARNT = "detector_boxes"  # in a card
LEARNT_FACES, LEAST_FACES = 100, 10  # the most that a training measures, and the fewest that count


@dataclass(frozen=True)
class BoxCalibration:
    """From a detector's boxes to the boxes of a `BoxPolicy`. The side of a box is sqrt(width height).

    Args:
        dx, dy: from the centre of the detector's box to that of the policy's box, in sides of the detector's box, to
            the right and down as the turned box sees it.
        scale: side of the policy's box, in sides of the detector's box.
        faces: how many faces it was measured on.
        scatter: interquartile ranges over these faces of dx, dy and the logarithm of scale.
    """

    dx: float
    dy: float
    scale: float
    faces: int
    scatter: tuple[float, float, float]

    def apply(self, boxes):
        """The detector's turned boxes (..., 5) -> square turned boxes (..., 5) to cut. NaN stays NaN."""
        boxes = np.asarray(boxes, np.float64)
        centre, side = _centre_and_side(boxes)
        centre = centre + side * _turned(np.array([self.dx, self.dy]), boxes[..., 4])
        side = np.repeat(side * self.scale, 2, axis=-1)
        return np.concatenate([centre - side / 2, side, boxes[..., 4:]], axis=-1)

    def to_json(self):
        """A dict for JSON."""
        return asdict(self) | {"scatter": list(self.scatter)}


# (detector, scheme) -> calibration to `LANDMARK_BOX`, measured by ``kdloss.calibrate detector --dataset 300w`` on 300
# real training faces, evenly spaced among 1811. All detectors but lbp see how a face is turned.
CALIBRATIONS = {
    ("blazeface", "68"): BoxCalibration(
        dx=0.0035, dy=0.0644, scale=0.9371, faces=300, scatter=(0.0329, 0.0500, 0.0895)
    ),
    ("yunet", "68"): BoxCalibration(dx=0.0078, dy=0.1591, scale=0.9034, faces=300, scatter=(0.0378, 0.0409, 0.0710)),
    ("lbp", "68"): BoxCalibration(dx=-0.0038, dy=0.1381, scale=0.8612, faces=284, scatter=(0.1105, 0.0540, 0.0976)),
}


def calibrate(prepared, rows, detector, policy, announce=None, most=MOST_FACES):
    """The `BoxCalibration` of a detector's boxes to those of a policy: medians over training faces.

    Calibrated boxes are square even if the policy stretches its boxes (``paper``): no detector knows the stretch.

    Args:
        prepared, detector, announce: see `detected_boxes`.
        rows: row numbers of training faces; at most ``most`` of them are used, evenly spaced.
        policy: the `BoxPolicy` of the model's training crops.

    Raises:
        DataError: no training faces, or the detector found none of them.
    """
    rows = np.asarray(rows)
    if not len(rows):
        raise DataError(
            f"{prepared.path}: has no training faces to calibrate the boxes of detector {detector.name} on: prepare "
            "the data set with its train split"
        )
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))]
    boxes, found = detected_boxes(prepared, rows, detector, announce)
    if not found.any():
        raise DataError(
            f"{prepared.path}: detector {detector.name} found none of {len(rows)} training faces, so its boxes cannot "
            "be calibrated: use another detector"
        )
    centre, side = _centre_and_side(boxes[found])
    wanted_centre, wanted_side = _centre_and_side(turned_boxes(prepared, rows[found], policy, boxes[found, 4]))
    offset = _turned((wanted_centre - centre) / side, -boxes[found, 4])
    measured = np.concatenate([offset, np.log(wanted_side / side)], axis=-1)
    low, middle, high = np.percentile(measured, [25, 50, 75], axis=0)
    dx, dy, log_scale = middle.tolist()
    return BoxCalibration(dx, dy, math.exp(log_scale), int(found.sum()), tuple((high - low).tolist()))


def turned_boxes(prepared, rows, policy, turns):
    """The boxes of a policy as they are around faces turned by ``turns`` (m,) -> turned boxes (m, 5).

    Boxes that the data set ships keep their place and size.
    """
    if policy.source != "gt":
        return np.column_stack([prepared.boxes(policy)[rows], turns])
    faces = zip(prepared.source_points_of(rows), turns, strict=True)
    boxes = policy.grow([turned_landmark_box(points, turn) for points, turn in faces])
    to_image = prepared.to_image[rows]
    boxes[:, :2] = transform_each(invert(to_image), boxes[:, None, :2])[:, 0]
    boxes[:, 2:4] /= to_image[:, 0, :1]
    return boxes


def learnt_calibrations(prepared):
    """What the card of a network says of boxes, ``{"detector_boxes": {DETECTOR: calibration}}``, for a scheme of which
    the package holds no calibration. Empty if it holds one, or the detector finds too few of the training faces."""
    if (DETECTOR, prepared.scheme.name) in CALIBRATIONS:
        return {}
    try:
        found = calibrate(prepared, prepared.indices("train"), detector(DETECTOR), LANDMARK_BOX, most=LEARNT_FACES)
    except UserError:  # no faces as people have them: the network can be trained, and reads boxes that are given
        return {}
    return {LEARNT: {DETECTOR: found.to_json()}} if found.faces >= LEAST_FACES else {}


def stored_calibration(detector_name, scheme, card=None):
    """The `BoxCalibration` from a detector's boxes to square landmark boxes.

    Args:
        detector_name, scheme: of the detector, and the `LandmarkScheme` of the model that reads the boxes.
        card: of the model, which may hold `learnt_calibrations`.

    Raises:
        CheckpointError: that of the card is damaged.
        ConfigError: neither the package nor the card has one for them.
    """
    try:
        learnt = (card or {}).get(LEARNT, {}).get(detector_name)
        if learnt and (detector_name, scheme.name) not in CALIBRATIONS:
            return _parsed(learnt)
    except (AttributeError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"the card's {LEARNT}: damaged ({error}): train the network again") from error
    if (detector_name, scheme.name) not in CALIBRATIONS:
        known = ", ".join(known_scheme for name, known_scheme in CALIBRATIONS if name == detector_name) or "none"
        raise ConfigError(
            f"detector {detector_name}: its boxes are calibrated for landmark schemes: {known}; the model reads scheme "
            f"{scheme.name}: give the faces' boxes yourself (--boxes), or faces already cut (--detector whole), or "
            f"measure it once ({_command(detector_name, scheme)}) and give that (--detector-calibration)"
        )
    return CALIBRATIONS[detector_name, scheme.name]


def write_calibration(path, calibration, detector, scheme):
    """Writes a calibration to `LANDMARK_BOX` as a JSON file that names the `Detector` and scheme of its measurement."""
    record = _measured_with(detector, scheme) | calibration.to_json()
    write_whole(path, json.dumps(record, indent=1, allow_nan=False) + "\n")


def read_calibration(path, detector, scheme):
    """The `BoxCalibration` in a file of `write_calibration`.

    Raises:
        ConfigError: no such file, damaged, or of another detector, model file of the detector, or landmark scheme.
    """
    remedy, expected = f"measure it: {_command(detector.name, scheme)}", _measured_with(detector, scheme)
    try:
        record = json.loads(read_text(path))
        calibration = _parsed(record)
        measured_with = {name: record[name] for name in expected}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): {remedy}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: no calibration of a detector, or damaged: {remedy}") from error
    for name, value in expected.items():
        if measured_with[name] != value:
            raise ConfigError(f"{path}: was measured with {name} {measured_with[name]}, expected {value}: {remedy}")
    return calibration


def _parsed(record):
    """The `BoxCalibration` of a dict; raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    numbers = [float(number) for number in (record["dx"], record["dy"], record["scale"], *record["scatter"])]
    if not (all(map(math.isfinite, numbers)) and len(numbers) == 6 and numbers[2] > 0):
        raise ValueError("impossible numbers")
    return BoxCalibration(*numbers[:3], int(record["faces"]), tuple(numbers[3:]))


def _measured_with(detector, scheme):
    return {"detector": detector.name, "detector_model_sha256": detector.model_sha256, "scheme": scheme.name}


def _command(detector_name, scheme):
    dataset = next((spec.name for spec in DATASETS.values() if spec.scheme == scheme.name), "folder")
    model = " --detector-model FILE" if detector_name in DETECTORS and DETECTORS[detector_name].takes_model else ""
    data = " --data FOLDER" if dataset == "folder" else ""
    what = f"--dataset {dataset}{data} --detector {detector_name}{model}"
    return f"python -m kdloss.calibrate detector {what} --out calibration.json"


def _centre_and_side(boxes):
    """Boxes (..., 4) -> their centres (..., 2) and sides sqrt(width height) (..., 1)."""
    boxes = np.asarray(boxes, np.float64)
    return boxes[..., :2] + boxes[..., 2:4] / 2, np.sqrt(np.prod(boxes[..., 2:4], axis=-1, keepdims=True))


def _turned(vectors, turns):
    """Vectors (..., 2), each turned by its own angle (...)."""
    cos, sin = np.cos(turns), np.sin(turns)
    x, y = vectors[..., 0], vectors[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
