"""A model in a detector's boxes, and beside that in the boxes of its training and in the detector's as they come.

The differences on the same faces are what the detector costs, and what its calibration gains.
"""

from dataclasses import dataclass

import numpy as np

from kdloss.data.geometry import BoxPolicy, invert, landmark_box, transform_points
from kdloss.evaluation.evaluation import evaluate_loaded
from kdloss.evaluation.protocol import DETECTED
from kdloss.inference.box_calibration import BoxCalibration, calibrate
from kdloss.inference.detectors import box_iou, detected_boxes
from kdloss.inference.landmarker import SAME_FACE


@dataclass(frozen=True)
class DetectedFaces:
    """What a detector found of the faces of a split.

    Args:
        detector: its name.
        policy: the `BoxPolicy` that its boxes shall stand for.
        calibration: its `BoxCalibration` to that policy, from training faces.
        rows: (n,) row numbers of the faces.
        boxes: (n, 4) its boxes, in pixels of the stored crops; NaN where it found none.
    """

    detector: str
    policy: BoxPolicy
    calibration: BoxCalibration
    rows: np.ndarray
    boxes: np.ndarray

    @property
    def found(self):
        """(n,) bool."""
        return np.isfinite(self.boxes).all(axis=1)

    @property
    def calibrated(self):
        """(n, 4) boxes to cut."""
        return self.calibration.apply(self.boxes)

    @property
    def uncalibrated(self):
        """(n, 4) boxes to cut of one who takes the detector's boxes for landmark boxes."""
        return self.policy.grow(self.boxes)


def detect_faces(prepared, detector, policy, *, split="test", announce=None):
    """The `DetectedFaces` of a split, by a `kdloss.inference.detectors.Detector`, calibrated to a `BoxPolicy`.

    Raises:
        DataError: no training faces to calibrate on, or the detector finds none of them.
    """
    calibration = calibrate(prepared, prepared.indices("train"), detector, policy, announce=announce)
    rows = prepared.indices(split)
    boxes, _ = detected_boxes(prepared, rows, detector, announce)
    return DetectedFaces(detector.name, policy, calibration, rows, boxes)


def evaluate_beside(prepared, loaded, faces, evaluation, **how):
    """The `Evaluation`\\ s of a model on the faces that a detector found, in boxes other than its calibrated ones.

    Args:
        prepared, loaded: see `kdloss.evaluation.evaluation.evaluate_loaded`.
        faces: the `DetectedFaces`.
        evaluation: that of the model in its calibrated boxes.
        how: ``split``, ``batch_size`` and ``flip`` of `evaluate_loaded`.

    Returns:
        Three: in boxes around the landmarks that were read in the calibrated ones, as
        a `Landmarker` reads a face once more; in the boxes of the policy; and in the detector's boxes
        without calibration.
    """
    own = np.where(faces.found[:, None], prepared.boxes(faces.policy)[faces.rows], np.nan)
    how |= {"box": faces.policy, "missing": "skip"}
    name = f"{faces.detector} uncalibrated"
    again = {"boxes": _around_landmarks(prepared, faces, evaluation), "detector": faces.detector}
    return [
        evaluate_loaded(prepared, loaded, **again, label=f"in boxes of {faces.detector}, read twice", **how),
        evaluate_loaded(prepared, loaded, boxes=own, label=f"the same faces in {faces.policy}", **how),
        evaluate_loaded(prepared, loaded, boxes=faces.uncalibrated, detector=name, label=f"in boxes of {name}", **how),
    ]


def _around_landmarks(prepared, faces, evaluation):
    """(n, 4) boxes to cut around the landmarks that were read in a detector's calibrated boxes."""
    boxes = faces.calibrated
    for i in np.flatnonzero(faces.found):
        row = faces.rows[i]
        (points,) = evaluation.points[evaluation.rows == row]
        around = faces.policy.grow(landmark_box(transform_points(invert(prepared.to_image[row]), points)))
        # Landmarks far from where the detector saw the face lead nowhere.
        if box_iou(around, boxes[i]) >= SAME_FACE:
            boxes[i] = around
    return boxes


def detector_record(faces, evaluation, beside):
    """What a detector costs a model, as a dict that JSON can hold.

    Args:
        faces: the `DetectedFaces`.
        evaluation: that of the model in its calibrated boxes.
        beside: those of `evaluate_beside`.

    Returns:
        ``{"name", "box", "n", "n_found", "n_missed", "normaliser", "nme": {...}, "median": {...}, "calibration":
        {...}}``. NME and the median of the faces' errors are of the faces found, percent, each for ``calibrated``
        boxes, for those read ``again``, for ``policy`` and for ``uncalibrated`` boxes. A detection that is far off
        weighs in the NME, hardly in the median.
    """
    kinds = ("calibrated", "again", "policy", "uncalibrated")
    errors = [100 * one.errors[np.isfinite(one.errors)] for one in (evaluation, *beside)]
    found = int(faces.found.sum())
    return {
        "name": faces.detector,
        "box": str(faces.policy),
        "n": len(faces.found),
        "n_found": found,
        "n_missed": len(faces.found) - found,
        "normaliser": evaluation.metrics["protocol"]["normaliser"],
        "nme": {kind: float(of.mean()) for kind, of in zip(kinds, errors, strict=True)},
        "median": {kind: float(np.median(of)) for kind, of in zip(kinds, errors, strict=True)},
        "calibration": faces.calibration.to_json(),
    }


def detector_line(record):
    """A `detector_record` in a sentence."""
    words = {
        "calibrated": "in its calibrated boxes",
        "again": "read once more around those landmarks",
        "policy": f"in {record['box']}",
        "uncalibrated": "in its boxes taken for landmark boxes",
    }
    errors = ", ".join(
        f"{record['nme'][kind]:.2f} % (median {record['median'][kind]:.2f} %) {where}" for kind, where in words.items()
    )
    return (
        f"Detector {record['name']}: {record['n_found']} of {record['n']} faces found, {record['n_missed']} missed; "
        f"{record['normaliser']} NME of those found {errors}; {DETECTED}."
    )
