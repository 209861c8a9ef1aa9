"""From a photograph to the landmarks of its faces: a detector, a network, and the crops between them.

landmarker = Landmarker.load("runs/student")
for face in landmarker.detect(image):
    print(face.box, face.landmarks)
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from kdloss import pretrained
from kdloss.data.geometry import BoxPolicy, landmark_box
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import ConfigError, DataError
from kdloss.inference.box_calibration import read_calibration, stored_calibration
from kdloss.inference.confidence import Confidence
from kdloss.inference.detectors import SMALLEST_FACE, box_iou
from kdloss.inference.detectors import detector as find_detector
from kdloss.inference.readers import find_model, read_faces
from kdloss.inference.sources import checked_boxes

# Detectors see a photograph with its shorter side at most this long, pixels, or so long that the smallest face searched
# for has `SMALLEST_SEEN`: more costs time and finds smaller faces alone, which the detectors' own limits exclude.
DETECTION_SIDE, SMALLEST_SEEN = 480, 32
# A detection whose landmarks are less sure on average is no face. In 452 pictures, each put together of four of 300-W's
# training images, that leaves out 112 of 171 other things that lbp finds, and 6 of 1585 faces (mobilenetv2-300w, which
# has seen these faces); on 201 validation faces 99 % are surer than 0.40.
FACE = 0.3
SAME_FACE = 0.5  # IoU of two boxes from which on they are of one face


@dataclass(frozen=True)
class Face:
    """A face that was found in an image.

    Args:
        box: (4,) float64 x, y, width, height, pixels of the image: the landmark box that was estimated or given, or the
            whole image. The network saw its surroundings too, as much as it was trained with.
        score: the detector's, which compares with no other detector's; None where no detector looked.
        landmarks: (N, 2) float64 x, y, pixels of the image, pixel centres at integers. May lie outside of it.
        confidence: (N,) float64 from 0 to 1: the estimated probability that a landmark lies within 3 % of the face
            box's side of where people would annotate it, see `kdloss.inference.confidence`; None where that was never
            measured for the model.
    """

    box: np.ndarray
    score: float | None
    landmarks: np.ndarray
    confidence: np.ndarray | None


class Landmarker:
    """Reads landmarks off photographs. Only one thread at a time may use it.

    Attributes:
        name: of the model, as it was asked for.
        reader: what reads its crops, see `kdloss.inference.readers`.
        scheme: the `LandmarkScheme` of its points.
        policy: the `BoxPolicy` that it was trained in.
        confidence: the `Confidence` of its points, or None.
        detector: a `kdloss.inference.detectors.Detector`, or None: then `detect` cannot be used.
    """

    def __init__(self, name, reader, detector=None, calibration=None, smallest_face=SMALLEST_FACE):
        """
        Args:
            name, reader, detector: see above.
            calibration: the `BoxCalibration` of the detector for the model.
            smallest_face: see `load`.

        Raises:
            CheckpointError: what the reader's card says of its confidence is damaged.
        """
        self.name, self.reader, self.detector, self._calibration = name, reader, detector, calibration
        self._side = max(DETECTION_SIDE, round(SMALLEST_SEEN / smallest_face))
        self.scheme, self.policy = LandmarkScheme.from_json(reader.card["scheme"]), BoxPolicy.parse(reader.card["box"])
        measured = reader.card.get("confidence")
        self.confidence = Confidence.from_json(measured, self.scheme.num_points) if measured else None

    @classmethod
    def load(
        cls,
        name_or_path,
        detector="lbp",
        *,
        detector_model=None,
        detector_calibration=None,
        smallest_face=SMALLEST_FACE,
        device="auto",
        threads=None,
    ):
        """Loads a model and a detector.

        Args:
            name_or_path: see `kdloss.inference.readers.find_model`. The name of a shipped model means its LiteRT file
                in 16 bits, which needs no TensorFlow; on a GPU its Keras file.
            detector: one of `kdloss.inference.detectors.DETECTORS`, or None.
            detector_model: file of a detector that does not come with a library, such as ``yunet``.
            detector_calibration: file of `kdloss.inference.box_calibration`; None: that of the package.
            smallest_face: side of the smallest face searched for in photographs, a share of the shorter side, 0.02 to
                1: smaller faces cost time (of lbp 0.05 five times that of 0.1).
            device, threads: see `kdloss.inference.readers.find_model`.

        Raises:
            CheckpointError: no such model, damaged, or not one of this project's.
            ConfigError: no such detector or device, not installed, or not calibrated for the model.
        """
        return cls.loader(
            name_or_path, detector, detector_model, detector_calibration, smallest_face, device, threads
        )()

    @classmethod
    def loader(
        cls, name_or_path, detector, detector_model, detector_calibration, smallest_face, device="auto", threads=None
    ):
        """Checks the arguments of `load` as far as that goes without Keras; returns a function that loads."""
        if not 0.02 <= smallest_face <= 1:
            raise ConfigError(f"--smallest-face {smallest_face}: expected a share of the shorter side, 0.02 to 1")
        name = str(name_or_path)
        light = name in pretrained.names() and device != "gpu"
        model = find_model(f"{name}/{pretrained.HALF}" if light else name, device=device, threads=threads)
        if detector is None:
            return lambda: cls(name, model.load(), smallest_face=smallest_face)
        finder = find_detector(detector, photographs=True, model=detector_model, smallest=smallest_face)
        calibration = _calibration(name, model.card, finder, detector_calibration)
        return lambda: cls(name, model.load(), finder, calibration, smallest_face)

    def detect(self, image):
        """Finds the faces of an image and their landmarks.

        Each is read twice, first where the detector found it, then in the box around the landmarks that were read. What
        is no face by the network's confidence is left out.

        Args:
            image: (H, W, 3) uint8 RGB, upright.

        Returns:
            A list of `Face`\\ s, the detector's best first; empty if none is found.

        Raises:
            ConfigError: loaded without a detector.
            DataError: no such image.
        """
        if self.detector is None:
            raise ConfigError(f"{self.name}: loaded without a detector: name one, or give boxes to in_boxes")
        _check_image(image)
        found = self._detections(image)
        faces = self.in_boxes(image, self._calibration.apply(found[:, :4]), found[:, 4].tolist())
        kept = []
        for face in filter(self._is_face, self._again(image, list(filter(self._is_face, faces)))):
            if not any(box_iou(face.box, other.box) >= SAME_FACE for other in kept):
                kept.append(face)
        return kept

    def _again(self, image, faces):
        """The faces, read once more in the boxes around their landmarks, which are nearer to those of the training than
        a detector's. Landmarks far from where the detector saw the face lead nowhere, and stay."""
        boxes = [landmark_box(face.landmarks) for face in faces]
        boxes = [
            box if box_iou(box, face.box) >= SAME_FACE else face.box for box, face in zip(boxes, faces, strict=True)
        ]
        return self.in_boxes(image, boxes, [face.score for face in faces])

    def _is_face(self, face):
        if face.confidence is None:
            return face.score >= self.detector.sure
        return face.confidence.mean() >= FACE

    def in_boxes(self, image, boxes, scores=None):
        """The landmarks of faces whose landmark boxes are known, for example from the last picture of a film.

        Args:
            image: see `detect`.
            boxes: (k, 4) x, y, width, height, pixels of the image; of models trained in a data set's own boxes
                (``dataset:SCALE``) such boxes. Each grows to the crop that the model was trained in.
            scores: k numbers, or None.

        Returns:
            A list of k `Face`\\ s.

        Raises:
            DataError: no image, or boxes that hold no part of it or are far larger, see
                `kdloss.inference.sources.checked_boxes`.
        """
        _check_image(image)
        boxes = checked_boxes(np.reshape(np.asarray(boxes, np.float64), (-1, 4)), image)
        return self._faces(image, boxes, self.policy.grow(boxes), scores or [None] * len(boxes))

    def whole(self, image):
        """The `Face` of an image that is already cut as the model's crops are; widened to a square if it was trained
        in squares."""
        _check_image(image)
        height, width = image.shape[:2]
        # Pixel centres lie at integers, so the image begins half a pixel before the first.
        boxes = np.array([(-0.5, -0.5, width, height)])
        (face,) = self._faces(image, boxes, replace(self.policy, scale=1.0, margin=0.0).grow(boxes), [None])
        return face

    def _detections(self, image):
        """(k, 5) detector's boxes in pixels of the image, and scores; searched for in a smaller copy of large ones."""
        factor = min(image.shape[:2]) / self._side
        if factor <= 1:
            return self.detector.detect(image)
        height, width = (max(1, round(side / factor)) for side in image.shape[:2])
        found = self.detector.detect(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)).copy()
        zoom = np.array([image.shape[1] / width, image.shape[0] / height])
        found[:, :2] = (found[:, :2] + 0.5) * zoom - 0.5
        found[:, 2:4] *= zoom
        return found

    def _faces(self, image, boxes, cut_from, scores):
        wanted = self.confidence and self.confidence.signal
        landmarks, signal = read_faces(self.reader, [image] * len(boxes), cut_from, wanted)
        confidence = [None] * len(boxes) if signal is None else self.confidence.of(signal)
        return [Face(*face) for face in zip(boxes, scores, landmarks, confidence, strict=True)]


def _calibration(name, card, detector, file):
    """The calibration of a detector for the model of a card, from a file or, with None, of those that are known."""
    policy, scheme = BoxPolicy.parse(card["box"]), LandmarkScheme.from_json(card["scheme"])
    found = read_calibration(file, detector, scheme) if file else stored_calibration(detector.name, scheme)
    if policy.source != "gt":
        raise ConfigError(
            f"detector {detector.name}: is calibrated for boxes around landmarks, and {name} was trained in "
            f"{policy}: give the faces' boxes yourself (--boxes), or faces already cut (--detector whole)"
        )
    return found


def _check_image(image):
    """
    Raises:
        DataError: no (H, W, 3) uint8 array with pixels in it.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"image: found {found}, expected a numpy array (H, W, 3), uint8, RGB from 0 to 255")
    if not image.size:
        raise DataError(f"image: found {image.shape[1]} x {image.shape[0]} pixels, expected one at least")
