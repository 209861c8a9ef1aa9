"""From a photograph to the landmarks of its faces: a detector, a network, and the crops between them.

landmarker = Landmarker.load("runs/student")
for face in landmarker.detect(image):
    print(face.box, face.landmarks)
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from kdloss.detector_calibration import stored_calibration
from kdloss.detectors import detector as detector_of
from kdloss.errors import ConfigError
from kdloss.geometry import BoxPolicy, FaceCrop
from kdloss.prediction import predict_batch
from kdloss.schemes import LandmarkScheme
from kdloss.training.checkpoint import load_model

# Detectors see a photograph with its shorter side at most this long, pixels: more costs time and finds smaller faces
# alone, which the detectors' own limits exclude.
DETECTION_SIDE = 480
_AT_ONCE = 8  # faces of one photograph in one batch


@dataclass(frozen=True)
class Face:
    """A face that was found in an image.

    Args:
        box: (4,) float64 x, y, width, height, pixels of the image: the landmark box that was estimated or given, or the
            whole image. The network saw its surroundings too, as much as it was trained with.
        score: the detector's, which compares with no other detector's; None where no detector looked.
        landmarks: (N, 2) float64 x, y, pixels of the image, pixel centres at integers. May lie outside of it.
    """

    box: np.ndarray
    score: float | None
    landmarks: np.ndarray


class Landmarker:
    """Reads landmarks off photographs.

    Attributes:
        name: of the model, as it was asked for.
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        scheme: the `LandmarkScheme` of its points.
        policy: the `BoxPolicy` that it was trained in.
        detector: a `kdloss.detectors.Detector`, or None: then `detect` needs boxes that others found.
    """

    def __init__(self, name, model, scheme, policy, detector=None):
        """
        Raises:
            ConfigError: the detector's boxes cannot stand for those that the model was trained in.
        """
        self.name, self.model, self.scheme, self.policy, self.detector = name, model, scheme, policy, detector
        if detector:
            self._calibration = stored_calibration(detector.name, scheme)
            if policy.source != "gt":
                raise ConfigError(
                    f"detector {detector.name}: is calibrated for boxes around landmarks, and {name} was trained in "
                    f"{policy}: give the faces' boxes yourself (--boxes), or faces already cut (--whole)"
                )

    @classmethod
    def load(cls, name_or_path, detector="lbp"):
        """Loads a checkpoint and a detector.

        Args:
            name_or_path: see `kdloss.training.checkpoint.load_model`.
            detector: one of `kdloss.detectors.DETECTORS`, or None.

        Raises:
            CheckpointError: no such checkpoint, damaged, or not one of this project's.
            ConfigError: no such detector, not installed, or not calibrated for the model.
        """
        # First, so that what is missing of it shows before a network is built.
        found = detector_of(detector, photographs=True) if detector else None
        model, card = load_model(name_or_path)
        scheme, policy = LandmarkScheme.from_json(card["scheme"]), BoxPolicy.parse(card["box"])
        return cls(str(name_or_path), model, scheme, policy, found)

    def detect(self, image):
        """Finds the faces of an image and their landmarks.

        Args:
            image: (H, W, 3) uint8 RGB, upright.

        Returns:
            A list of `Face`\\ s, the detector's best first; empty if none is found.

        Raises:
            ConfigError: loaded without a detector.
        """
        if self.detector is None:
            raise ConfigError(f"{self.name}: loaded without a detector: name one, or give boxes to in_boxes")
        found = self._detections(image)
        return self.in_boxes(image, self._calibration.apply(found[:, :4]), found[:, 4].tolist())

    def in_boxes(self, image, boxes, scores=None):
        """The landmarks of faces whose landmark boxes are known, for example from the last picture of a film.

        Args:
            image: see `detect`.
            boxes: (k, 4) x, y, width, height, pixels of the image; of models trained in a data set's own boxes
                (``dataset:SCALE``) such boxes. Each grows to the crop that the model was trained in.
            scores: k numbers, or None.

        Returns:
            A list of k `Face`\\ s.
        """
        boxes = np.reshape(np.asarray(boxes, np.float64), (-1, 4))
        return self._faces(image, boxes, self.policy.grow(boxes), scores or [None] * len(boxes))

    def whole(self, image):
        """The `Face` of an image that is already cut as the model's crops are; widened to a square if it was trained
        in squares."""
        height, width = image.shape[:2]
        # Pixel centres lie at integers, so the image begins half a pixel before the first.
        boxes = np.array([(-0.5, -0.5, width, height)])
        (face,) = self._faces(image, boxes, replace(self.policy, scale=1.0, margin=0.0).grow(boxes), [None])
        return face

    def _detections(self, image):
        """(k, 5) detector's boxes in pixels of the image, and scores; searched for in a smaller copy of large ones."""
        factor = min(image.shape[:2]) / DETECTION_SIDE
        if factor <= 1:
            return self.detector.detect(image)
        height, width = (max(1, round(side / factor)) for side in image.shape[:2])
        found = self.detector.detect(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)).copy()
        zoom = np.array([image.shape[1] / width, image.shape[0] / height])
        found[:, :2] = (found[:, :2] + 0.5) * zoom - 0.5
        found[:, 2:4] *= zoom
        return found

    def _faces(self, image, boxes, cut_from, scores):
        crops = [FaceCrop.from_box(box, self.model.input_shape[1]) for box in cut_from]
        faces = []
        for start in range(0, len(crops), _AT_ONCE):
            chosen = crops[start : start + _AT_ONCE]
            # One face, the usual case, need not pay for eight; batches of one or of eight make two programs, no more.
            units = predict_batch(
                self.model, np.stack([crop.image(image) for crop in chosen]), 1 if len(chosen) == 1 else _AT_ONCE
            )
            for i, (crop, unit) in enumerate(zip(chosen, units.astype(np.float64), strict=True), start):
                faces.append(Face(boxes[i], scores[i], crop.inverse_unit(unit)))
        return faces
