"""A model in a detector's boxes, compared with the same faces in the boxes of its training.

The difference is what the detector costs.
"""

from dataclasses import dataclass

import numpy as np

from kdloss.data.geometry import BoxPolicy, box_iou, invert, transform_points, turned_landmark_box
from kdloss.evaluation.evaluation import evaluate_loaded
from kdloss.evaluation.protocol import DETECTED
from kdloss.inference.box_calibration import BoxCalibration, calibrate
from kdloss.inference.detectors import detected_boxes
from kdloss.inference.landmarker import SAME_FACE


@dataclass(frozen=True)
class DetectedFaces:
    """Which faces a detector found, and where."""

    detector: str  # its name
    policy: BoxPolicy  # of the model's training
    calibration: BoxCalibration  # from the detector's boxes to those of the policy
    rows: np.ndarray  # (n,) row numbers of the faces
    boxes: np.ndarray  # (n, 5) the detector's turned boxes, in pixels of the stored crops; NaN where it found none

    @property
    def found(self):
        """(n,) bool."""
        return np.isfinite(self.boxes).all(axis=1)

    @property
    def calibrated(self):
        """(n, 5) turned boxes to cut."""
        return self.calibration.apply(self.boxes)


def detect_faces(prepared, rows, detector, policy, announce=None):
    """The `DetectedFaces` of rows of a prepared data set, calibrated to a `BoxPolicy` on its training faces.

    Raises:
        DataError: no training faces to calibrate on, or the detector finds none of them.
    """
    calibration = calibrate(prepared, prepared.indices("train"), detector, policy, announce=announce)
    boxes, _ = detected_boxes(prepared, rows, detector, announce)
    return DetectedFaces(detector.name, policy, calibration, rows, boxes)


def evaluate_beside(evaluation, faces, **options):
    """Two more `Evaluation`\\ s of a model on the faces that a detector found.

    They are in boxes around the landmarks of the first reading (a `Landmarker` reads each face twice), and in the boxes
    of the policy.

    Args:
        evaluation: that of the model in the calibrated boxes.
        faces: the `DetectedFaces`.
        options: ``split``, ``batch_size``, ``flip`` and ``normaliser`` of
            `kdloss.evaluation.evaluation.evaluate_loaded`.
    """
    prepared, options = evaluation.prepared, options | {"box": faces.policy, "missing": "skip"}
    own = np.where(faces.found[:, None], prepared.boxes(faces.policy)[faces.rows], np.nan)
    name = faces.detector
    return [
        evaluate_loaded(prepared, evaluation.loaded, boxes=boxes, detector=detector, label=label, **options)
        for boxes, detector, label in (
            (_around_landmarks(evaluation, faces), name, f"in boxes of {name}, read twice"),
            (own, None, f"the same faces in {faces.policy}"),
        )
    ]


def _around_landmarks(evaluation, faces):
    """(n, 5) turned boxes to cut around the landmarks that were read in a detector's calibrated boxes."""
    boxes = faces.calibrated
    for i in np.flatnonzero(faces.found):
        row = faces.rows[i]
        (points,) = evaluation.points[evaluation.rows == row]
        points = transform_points(invert(evaluation.prepared.to_image[row]), points)
        around = faces.policy.grow(turned_landmark_box(points, boxes[i, 4]))
        # Landmarks far from where the detector saw the face are of something else.
        if box_iou(around, boxes[i]) >= SAME_FACE:
            boxes[i] = around
    return boxes


def detector_record(faces, evaluation, beside):
    """What a detector costs a model, as a dict that JSON can hold; ``beside`` is what `evaluate_beside` returned.

    NME and the median error of the faces found, in percent, are for ``calibrated`` boxes, for faces read ``again``, and
    for the boxes of the ``policy``. A detection that is far off moves the NME, but hardly the median.
    """
    kinds = ("calibrated", "again", "policy")
    errors = [100 * one.errors[np.isfinite(one.errors)] for one in (evaluation, *beside)]
    found = int(faces.found.sum())
    return {
        "name": faces.detector,
        "box": str(faces.policy),
        "n": len(faces.found),
        "n_found": found,
        "n_missed": len(faces.found) - found,
        "normaliser": evaluation.normaliser,
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
    }
    errors = ", ".join(
        f"{record['nme'][kind]:.2f} % (median {record['median'][kind]:.2f} %) {where}" for kind, where in words.items()
    )
    return (
        f"Detector {record['name']}: {record['n_found']} of {record['n']} faces found, {record['n_missed']} missed; "
        f"{record['normaliser']} NME of those found {errors}; {DETECTED}."
    )
