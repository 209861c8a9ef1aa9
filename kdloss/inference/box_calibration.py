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
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError, DataError
from kdloss.files import read_text, write_whole
from kdloss.inference.detectors import DETECTORS, detected_boxes

# The landmark box widened to a square. `BoxPolicy.grow` makes any training crop of it.
LANDMARK_BOX = BoxPolicy("gt", 1.0)
MOST_FACES = 300  # the most that `calibrate` measures


@dataclass(frozen=True)
class BoxCalibration:
    """From a detector's boxes to the boxes of a `BoxPolicy`. The side of a box is sqrt(width height).

    Args:
        dx, dy: from the centre of the detector's box to that of the policy's box, in sides of the detector's box.
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
        """The detector's boxes (..., 4) -> square boxes (..., 4) to cut. NaN stays NaN."""
        centre, side = _centre_and_side(boxes)
        centre = centre + side * [self.dx, self.dy]
        side = np.repeat(side * self.scale, 2, axis=-1)
        return np.concatenate([centre - side / 2, side], axis=-1)

    def to_json(self):
        """A dict for JSON."""
        return asdict(self) | {"scatter": list(self.scatter)}


# (detector, scheme) -> calibration to `LANDMARK_BOX`. `calibrate` measured it on 2026-11-27 on 300 real 300-W training
# faces, evenly spaced among 1811. The settings for photographs change it by less than faces scatter: on 222 whole
# training images (faces take half of the side) dy is 0.149 and scale 0.873; on 1421 faces of 452 pictures of 640 x 480
# pixels, each composed of four training images, 0.134 and 0.856. YuNet has none, because its file was not at hand.
CALIBRATIONS = {
    ("lbp", "68"): BoxCalibration(dx=-0.0038, dy=0.1381, scale=0.8612, faces=284, scatter=(0.1105, 0.0540, 0.0976))
}


def calibrate(prepared, rows, detector, policy, announce=None):
    """The `BoxCalibration` of a detector's boxes to those of a policy: medians over training faces.

    Calibrated boxes are square even if the policy stretches its boxes (``paper``): no detector knows the stretch.

    Args:
        prepared, detector, announce: see `detected_boxes`.
        rows: row numbers of training faces; at most `MOST_FACES` of them are used, evenly spaced.
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
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST_FACES, len(rows))).round().astype(int))]
    boxes, found = detected_boxes(prepared, rows, detector, announce)
    if not found.any():
        raise DataError(
            f"{prepared.path}: detector {detector.name} found none of {len(rows)} training faces, so its boxes cannot "
            "be calibrated: use another detector"
        )
    centre, side = _centre_and_side(boxes[found])
    wanted_centre, wanted_side = _centre_and_side(prepared.boxes(policy)[rows[found]])
    measured = np.concatenate([(wanted_centre - centre) / side, np.log(wanted_side / side)], axis=-1)
    low, middle, high = np.percentile(measured, [25, 50, 75], axis=0)
    dx, dy, log_scale = middle.tolist()
    return BoxCalibration(dx, dy, math.exp(log_scale), int(found.sum()), tuple((high - low).tolist()))


def stored_calibration(detector_name, scheme):
    """The `BoxCalibration` from a detector's boxes to square landmark boxes.

    Raises:
        ConfigError: the package has none for the detector and the `LandmarkScheme` of the model that reads the boxes.
    """
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
        numbers = [float(number) for number in (record["dx"], record["dy"], record["scale"], *record["scatter"])]
        calibration = BoxCalibration(*numbers[:3], int(record["faces"]), tuple(numbers[3:]))
        measured_with = {name: record[name] for name in expected}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): {remedy}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: no calibration of a detector, or damaged: {remedy}") from error
    if not (all(map(math.isfinite, numbers)) and len(numbers) == 6 and calibration.scale > 0):
        raise ConfigError(f"{path}: holds impossible numbers: {remedy}")
    for name, value in expected.items():
        if measured_with[name] != value:
            raise ConfigError(f"{path}: was measured with {name} {measured_with[name]}, expected {value}: {remedy}")
    return calibration


def _measured_with(detector, scheme):
    return {"detector": detector.name, "detector_model_sha256": detector.model_sha256, "scheme": scheme.name}


def _command(detector_name, scheme):
    dataset = next((spec.name for spec in DATASETS.values() if spec.scheme == scheme.name), "folder")
    model = " --detector-model FILE" if detector_name in DETECTORS and DETECTORS[detector_name].takes_model else ""
    what = f"--dataset {dataset} --detector {detector_name}{model}"
    return f"python -m kdloss.calibrate detector {what} --out calibration.json"


def _centre_and_side(boxes):
    """Boxes (..., 4) -> their centres (..., 2) and sides sqrt(width height) (..., 1)."""
    boxes = np.asarray(boxes, np.float64)
    return boxes[..., :2] + boxes[..., 2:] / 2, np.sqrt(np.prod(boxes[..., 2:], axis=-1, keepdims=True))
