"""From a photograph to the landmarks of its faces: a detector, a network, and the crops between them.

landmarker = Landmarker.load("runs/student")
for face in landmarker.detect(image):
    print(face.box, face.landmarks)
"""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from kdloss import pretrained
from kdloss.data.geometry import BoxPolicy, box_iou, landmark_box, turned_landmark_box
from kdloss.data.images import read_image
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import ConfigError, DataError
from kdloss.inference.box_calibration import read_calibration, stored_calibration
from kdloss.inference.confidence import Confidence
from kdloss.inference.detectors import DETECTOR, DETECTORS, photograph_detections
from kdloss.inference.detectors import detector as find_detector
from kdloss.inference.pose import PoseEstimator
from kdloss.inference.readers import find_model, read_faces

SAME_FACE = 0.5  # IoU of two boxes of one face, at least
_LARGEST_BOX = 4  # sides of the image


@dataclass(frozen=True)
class Face:
    """A face that was found in an image.

    Args:
        box: (4,) float64 x, y, width, height, pixels of the image: the box around the landmarks of a face that was
            detected, else the box that was given, or the whole image. The network saw more around it.
        score: of the detector, not comparable between detectors; None without a detector.
        landmarks: (N, 2) float64 x, y, pixels of the image, pixel centres at integers. May lie outside of it.
        confidence: (N,) float64: the estimated probability that a landmark lies within 3 % of the face box's side of
            its annotation, see `kdloss.inference.confidence`; None if that was never measured for the model.
        turn: radians, by how much the face is turned clockwise, as its detector saw it. The network saw it upright.
        pose_of: the `kdloss.inference.pose.PoseEstimator` of its landmarks.
    """

    box: np.ndarray
    score: float | None
    landmarks: np.ndarray
    confidence: np.ndarray | None
    turn: float = 0.0
    pose_of: PoseEstimator | None = field(default=None, repr=False, compare=False)

    def __str__(self):
        x, y, width, height = self.box
        score = "" if self.score is None else f", score {self.score:.2f}"
        sure, pose = "unknown" if self.confidence is None else f"{self.confidence.mean():.2f}", self.pose
        pose = ", ".join(f"{name} {round(angle)}" for name, angle in pose._asdict().items()) if pose else "unknown"
        return (
            f"face of {width:.0f} x {height:.0f} pixels at {x:.0f}, {y:.0f}{score}\n"
            f"{len(self.landmarks)} landmarks, mean confidence {sure}\n"
            f"pose in degrees: {pose}"
        )

    @property
    def pose(self):
        """The `kdloss.inference.pose.Pose` of the head, degrees; None where the scheme has too few points for one."""
        return self.pose_of and self.pose_of(self.landmarks)


def _one_at_a_time(method):
    """Makes threads wait for each other: detectors and runtimes hold the picture that they work on."""

    @functools.wraps(method)
    def run(self, *arguments, **options):
        with self._lock:
            return method(self, *arguments, **options)

    return run


class Landmarker:
    """Reads landmarks off photographs. Several threads may use it: one waits while another's faces are read.

    Args:
        name_or_path: see `kdloss.inference.readers.find_model`. The name of a shipped model means its LiteRT file in 16
            bits, which needs no TensorFlow; on a GPU its Keras file.
        detector: one of `kdloss.inference.detectors.DETECTORS`, or None: then `detect` cannot be used.
        detector_model: file of a detector that does not come with a library, such as ``yunet``.
        detector_calibration: file of `kdloss.inference.box_calibration`; None: that of the package.
        smallest_face: side of the smallest face to find in photographs, a share of the shorter side, 0.02 to 1. Small
            faces cost time. None: as the detector has it, and what it finds below that is kept.
        device, threads: see `kdloss.inference.readers.find_model`.

    Attributes:
        name: of the model, as it was asked for.
        scheme: the `LandmarkScheme` of its points.
        policy: the `BoxPolicy` of its training.
        confidence: the `Confidence` of its points, or None.
        detector: a `kdloss.inference.detectors.Detector`, or None.

    Raises:
        CheckpointError: no such model, damaged, or not one of this project's.
        ConfigError: no such detector or device, not installed, or not calibrated for the model.
    """

    def __init__(
        self,
        name_or_path,
        detector=DETECTOR,
        *,
        detector_model=None,
        detector_calibration=None,
        smallest_face=None,
        device="auto",
        threads=None,
    ):
        if smallest_face is not None and not 0.02 <= smallest_face <= 1:
            raise ConfigError(f"--smallest-face {smallest_face}: expected a share of the shorter side, 0.02 to 1")
        self.name, self._lock = str(name_or_path), threading.RLock()
        light = self.name in pretrained.names() and device != "gpu"
        file = f"{self.name}/{pretrained.HALF}" if light else self.name
        self._model = find_model(file, device=device, threads=threads)
        card = self._model.card
        self.scheme, self.policy = LandmarkScheme.from_json(card["scheme"]), BoxPolicy.parse(card["box"])
        self._pose, self.confidence = PoseEstimator(self.scheme), None
        if measured := card.get("confidence"):
            self.confidence = Confidence.from_json(measured, self.scheme.num_points)
        self.detector = self._calibration = None
        if detector:
            self.smallest_face, self._least = smallest_face or DETECTORS[detector].SMALLEST, smallest_face or 0
            options = {"model": detector_model, "smallest": self.smallest_face, "threads": threads}
            self.detector = find_detector(detector, **options)
            self._calibration = self._find_calibration(detector_calibration)

    @classmethod
    def load(cls, name_or_path, detector=DETECTOR, **options):
        """A landmarker that is `ready`; the arguments are those of the class."""
        return cls(name_or_path, detector, **options).ready()

    def ready(self):
        """Loads the network now instead of at the first face; returns itself."""
        _ = self.reader
        return self

    @functools.cached_property
    @_one_at_a_time
    def reader(self):
        """The reader of its crops, see `kdloss.inference.readers`."""
        return self._model.load()

    def _find_calibration(self, file):
        if self.policy.source != "gt":
            raise ConfigError(
                f"detector {self.detector.name}: is calibrated for boxes around landmarks, and {self.name} was trained "
                f"in {self.policy}: give the faces' boxes yourself (--boxes), or faces already cut (--detector whole)"
            )
        if file:
            return read_calibration(file, self.detector, self.scheme)
        return stored_calibration(self.detector.name, self.scheme, self._model.card)

    @_one_at_a_time
    def detect(self, image):
        """Finds the faces of an image and their landmarks.

        Each face is read twice: where the detector found it, then in the box around its landmarks, which is nearer to
        the boxes of the training; both times upright. A detection is left out if the network's confidence in it is low.
        If no face is left, the image is searched turned by 90, 180 and 270 degrees; the best detection's turn counts.

        Args:
            image: (H, W, 3) uint8 RGB, upright.

        Returns:
            A list of `Face`\\ s, the detector's best first; empty if none is found.

        Raises:
            ConfigError: loaded without a detector.
            DataError: not such an image.
        """
        if self.detector is None:
            raise ConfigError(f"{self.name}: loaded without a detector: name one, or give boxes to in_boxes")
        _check_image(image)
        for quarters in ((0,), (1, 2, 3)):
            found = [photograph_detections(self.detector, image, self.smallest_face, number) for number in quarters]
            if faces := self._read(image, max(found, key=lambda one: one[:, 5].max(initial=-np.inf))):
                least = self._least * min(image.shape[:2])
                return [face for face in faces if max(face.box[2:]) >= least]
        return []

    def _read(self, image, detections):
        """The `Face`\\ s of detections, without those that the network takes for none."""
        faces = self.in_boxes(image, self._calibration.apply(detections[:, :5]), detections[:, 5].tolist())
        faces = [face for face in faces if self._is_face(face)]
        boxes, kept = [], []
        for face in faces:
            # Landmarks far from where the detector saw the face are not trusted.
            around, seen = turned_landmark_box(face.landmarks, face.turn), np.array([*face.box, face.turn])
            boxes.append(around if box_iou(around, seen) >= SAME_FACE else seen)
        for face in self.in_boxes(image, boxes, [face.score for face in faces]):
            face = replace(face, box=landmark_box(face.landmarks))
            if self._is_face(face) and not any(box_iou(face.box, other.box) >= SAME_FACE for other in kept):
                kept.append(face)
        return kept

    @_one_at_a_time
    def in_boxes(self, image, boxes, scores=None):
        """The landmarks of faces whose landmark boxes are known, for example from the last frame of a video.

        Args:
            image: see `detect`.
            boxes: (k, 4) x, y, width, height, pixels of the image; landmark boxes; for models trained with
                ``--box dataset:SCALE``, boxes like those of the data set. Each grows to the crop that the model was
                trained in. Or (k, 5): boxes of turned faces, see `kdloss.data.geometry`.
            scores: k numbers, or None.

        Returns:
            A list of k `Face`\\ s.

        Raises:
            DataError: no image, or see `checked_boxes`.
        """
        _check_image(image)
        boxes = np.asarray(boxes, np.float64)
        boxes = checked_boxes(np.reshape(boxes, (-1, boxes.shape[-1] if boxes.size else 4)), image)
        return self._faces(image, boxes, self.policy.grow(boxes), scores or [None] * len(boxes))

    @_one_at_a_time
    def whole(self, image):
        """Reads an image that is a face crop already, widened to a square if the model was trained on squares."""
        _check_image(image)
        height, width = image.shape[:2]
        # Pixel centres lie at integers, so the image begins half a pixel before the first.
        boxes = np.array([(-0.5, -0.5, width, height)])
        (face,) = self._faces(image, boxes, replace(self.policy, scale=1.0, margin=0.0).grow(boxes), [None])
        return face

    def _faces(self, image, boxes, crop_boxes, scores):
        name = self.confidence and self.confidence.signal
        landmarks, signal = read_faces(self.reader, [image] * len(boxes), crop_boxes, name)
        confidence = [None] * len(boxes) if signal is None else self.confidence.of(signal)
        turns = boxes[:, 4].tolist() if boxes.shape[1] == 5 else [0.0] * len(boxes)
        return [
            Face(*face, self._pose) for face in zip(boxes[:, :4], scores, landmarks, confidence, turns, strict=True)
        ]

    def _is_face(self, face):
        if face.confidence is None:
            return face.score >= self.detector.sure
        return face.confidence.mean() >= self.confidence.face


def find_faces(landmarker, photographs, boxes=None, whole=False):
    """Finds the faces of photographs, one after the other; the next photograph is read meanwhile.

    Args:
        landmarker: a `Landmarker`, with a detector unless boxes are given or images are whole faces.
        photographs: `kdloss.inference.sources.Photograph`\\ s.
        boxes: the `kdloss.inference.sources.GivenBoxes` of the faces, or None.
        whole: whether each image is one face, cut as the model's crops are.

    Yields:
        (photograph, image, faces), or (photograph, None, error) with the `DataError` of one that cannot be read.
    """

    def read(photograph):
        return boxes and boxes.of(photograph.name), read_image(photograph.path)

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read, photographs[0]) if photographs else None
        for number, photograph in enumerate(photographs, 1):
            reading = ahead
            # At most two images are in memory.
            ahead = pool.submit(read, photographs[number]) if number < len(photographs) else None
            try:
                own_boxes, image = reading.result()
                if boxes:
                    faces = landmarker.in_boxes(image, own_boxes)
                else:
                    faces = [landmarker.whole(image)] if whole else landmarker.detect(image)
            except DataError as error:
                named = str(error).startswith((photograph.name, str(photograph.path)))
                yield photograph, None, error if named else DataError(f"{photograph.name}: {error}")
                continue
            yield photograph, image, faces


def checked_boxes(boxes, image):
    """Boxes (k, 4 or 5) unchanged; `DataError` unless each holds a part of the image and is not far larger than it."""
    height, width = image.shape[:2]
    low, sides = boxes[:, :2], boxes[:, 2:4]
    valid = np.isfinite(boxes).all(axis=1) & ((sides > 0) & (sides <= _LARGEST_BOX * max(width, height))).all(axis=1)
    valid[valid] = ((low < (width, height)) & (low + sides > 0)).all(axis=1)[valid]
    if not valid.all():
        wrong = ", ".join(f"{number:g}" for number in boxes[np.argmin(valid)])
        raise DataError(f"box [{wrong}]: expected one that lies in part in the image, {width} x {height} pixels")
    return boxes


def _check_image(image):
    """Raises `DataError` for anything but an (H, W, 3) uint8 array with pixels in it."""
    array = isinstance(image, np.ndarray)
    if not (array and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size):
        found = f"{image.dtype} {image.shape}" if array else type(image).__name__
        raise DataError(f"image: found {found}, expected a numpy array (H, W, 3), not empty, uint8, RGB from 0 to 255")
