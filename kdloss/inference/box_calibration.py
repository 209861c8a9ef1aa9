"""From a detector's boxes to the boxes that a model was trained in: measured on training faces, stored, read.

Where the two boxes differ the same way on all faces, a `BoxCalibration` takes the difference out. What it leaves, the
scatter, is what a model has to bear. A stored calibration lets a photograph be read without a data set. It leads to
landmark boxes, which just hold the landmarks and so depend on which points are annotated: it belongs to one detector
and one landmark scheme. ``python -m kdloss.calibrate detector`` measures it, for detectors and schemes that have none
here too.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kdloss.data.datasets import DATASETS
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError, DataError
from kdloss.files import write_whole
from kdloss.inference.detectors import DETECTORS, detected_boxes

# The landmark box itself, widened to a square: what `BoxPolicy.grow` then makes any training crop of.
LANDMARK_BOX = BoxPolicy("gt", 1.0)


@dataclass(frozen=True)
class BoxCalibration:
    """From a detector's boxes to the boxes of a `BoxPolicy`. The side of a box is sqrt(width height)."""

    dx: float  # from the centre of the detector's box to that of the policy's, right, in sides of the detector's box
    dy: float  # down
    scale: float  # side of the policy's box over that of the detector's
    faces: int  # how many it was measured on
    scatter: tuple[float, float, float]  # of single faces: interquartile ranges of dx, dy and the logarithm of scale

    def apply(self, boxes):
        """Detector's boxes (..., 4) -> square boxes (..., 4) to cut. NaN stays NaN."""
        centre, side = _centre_and_side(boxes)
        centre = centre + side * [self.dx, self.dy]
        side = np.repeat(side * self.scale, 2, axis=-1)
        return np.concatenate([centre - side / 2, side], axis=-1)

    def to_json(self):
        """The numbers by name, as JSON gives them back."""
        return asdict(self) | {"scatter": list(self.scatter)}


# (detector, scheme) -> calibration to `LANDMARK_BOX`. Measured on 2026-11-27 by the command above on 300 real 300-W training faces, evenly spaced among 1811; ``faces`` is how many of them the detector found.
# The settings for photographs change it by less than faces scatter: on 222 training images as they are (faces a half of
# the side) dy is 0.149 and scale 0.873, on 1421 faces of 452 pictures of 640 x 480 pixels, each put together of four
# training images, 0.134 and 0.856. YuNet has none: its file was not at hand.
CALIBRATIONS = {
    ("lbp", "68"): BoxCalibration(dx=-0.0038, dy=0.1381, scale=0.8612, faces=284, scatter=(0.1105, 0.0540, 0.0976))
}


def calibrate(prepared, rows, detector, policy, *, limit=300, announce=None):
    """Measures how a detector's boxes lie to those of a policy: the medians over training faces.

    Where the policy stretches its boxes (``paper``), the calibrated boxes are still square: no detector knows the
    stretch.

    Args:
        prepared, detector, announce: see `detected_boxes`.
        rows: row numbers of training faces. Of more than ``limit``, as many are taken at even distances.
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
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).round().astype(int))]
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
        ConfigError: none was measured for the detector and the `LandmarkScheme` of the model that reads the boxes.
    """
    if (detector_name, scheme.name) not in CALIBRATIONS:
        known = ", ".join(name for detector_of, name in CALIBRATIONS if detector_of == detector_name) or "none"
        raise ConfigError(
            f"detector {detector_name}: its boxes are calibrated for landmark schemes: {known}; the model reads scheme "
            f"{scheme.name}: give the faces' boxes yourself (--boxes), or faces already cut (--detector whole), or "
            f"measure it once ({_command(detector_name, scheme)}) and give that (--detector-calibration)"
        )
    return CALIBRATIONS[detector_name, scheme.name]


def write_calibration(path, calibration, detector, scheme):
    """Writes a calibration to `LANDMARK_BOX`, with the `Detector` and scheme of its measurement, to a JSON file."""
    record = _measured_with(detector, scheme) | calibration.to_json()
    write_whole(path, json.dumps(record, indent=1, allow_nan=False) + "\n")


def read_calibration(path, detector, scheme):
    """The `BoxCalibration` of a file of `write_calibration`, for a `Detector` and the scheme of a model.

    Raises:
        ConfigError: no such file, damaged, or measured with another detector, another file of it, or another scheme.
    """
    anew, wanted = f"measure it: {_command(detector.name, scheme)}", _measured_with(detector, scheme)
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        numbers = [float(record[name]) for name in ("dx", "dy", "scale")]
        scatter = tuple(map(float, record["scatter"]))
        found = BoxCalibration(*numbers, int(record["faces"]), scatter)
        is_from = {name: record[name] for name in wanted}
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): {anew}") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ConfigError(f"{path}: no calibration of a detector, or damaged: {anew}") from error
    if not (all(map(math.isfinite, [*numbers, *scatter])) and len(scatter) == 3 and found.scale > 0):
        raise ConfigError(f"{path}: holds numbers that no calibration has: {anew}")
    for name, value in wanted.items():
        if is_from[name] != value:
            raise ConfigError(f"{path}: was measured with {name} {is_from[name]}, expected {value}: {anew}")
    return found


def _measured_with(detector, scheme):
    return {"detector": detector.name, "detector_model_sha256": detector.model_sha256, "scheme": scheme.name}


def _command(detector_name, scheme):
    """The command that measures a calibration."""
    dataset = next((spec.name for spec in DATASETS.values() if spec.scheme == scheme.name), "folder")
    model = " --detector-model FILE" if detector_name in DETECTORS and DETECTORS[detector_name].takes_model else ""
    return (
        f"python -m kdloss.calibrate detector --dataset {dataset} --detector {detector_name}{model} "
        "--out calibration.json"
    )


def _centre_and_side(boxes):
    """Boxes (..., 4) -> their centres (..., 2) and sides sqrt(width height) (..., 1)."""
    boxes = np.asarray(boxes, np.float64)
    return boxes[..., :2] + boxes[..., 2:] / 2, np.sqrt(np.prod(boxes[..., 2:], axis=-1, keepdims=True))
