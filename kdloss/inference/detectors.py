"""Face detectors behind one small interface.

A detector's box is another box than the training crop: some hold the forehead, some end above the chin. What makes the
one of the other is in `kdloss.inference.box_calibration`.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from pathlib import Path

import cv2
import numpy as np

from kdloss.data.geometry import landmark_box
from kdloss.errors import ConfigError

# Less overlap than this with the true landmark box: something else was detected. Low, because detectors' boxes
# are far from landmark boxes by design.
MINIMUM_IOU = 0.3


class Detector(ABC):
    """Finds faces in an image."""

    name: str  # in tables and records
    sure = 0.0  # the score from which on a detection needs no second opinion, that of a network's confidence
    takes_model = False  # whether it needs a model file that the user brings; such a class takes it as ``model``
    model_sha256 = None  # of that file

    @classmethod
    def for_photographs(cls, smallest, **given):
        """The detector as it suits whole photographs, with much that is no face.

        ``smallest`` is the side of the smallest face searched for, a share of the image's shorter side; detectors that
        find faces of all sizes at once need not be told.
        """
        return cls(**given)

    @abstractmethod
    def detect(self, image):
        """The faces of an image (H, W, 3) uint8 RGB, the best first.

        Returns:
            (k, 5) float64: x, y, width, height in pixels of the image, and a score. Scores rank the detections of one
            detector and compare with no other's.
        """


class LbpDetector(Detector):
    """The cascade of local binary patterns for frontal faces that ships with scikit-image.

    scikit-image gives its boxes no score. Here the windows that the cascade accepts are grouped, each with all that
    overlap it by 0.3 (IoU), beginning at the one with the most; the box is the mean of the windows, and the score
    their number.

    The window grows by 10 % from scan to scan and moves by one cell of its grid: finer scans find a few more faces and
    take longer. Small windows cost the most, and a stored crop holds no small face, so by default none is searched for.

    Args:
        smallest: side of the smallest face searched for, a share of the image's shorter side.
        fewest: windows that a group must have to count as a face. One is right where there is a face for certain.

    Reference:
        Liao, Zhu, Lei, Zhang and Li, "Learning multi-scale block local binary patterns for face recognition", ICB 2007.
    """

    name = "lbp"
    SMALLEST, SMALLEST_IN_PHOTOGRAPHS = 0.3, 0.1
    # On 1808 300-W training faces, four in a picture of 640 x 480 pixels, groups of 7 windows and more hold 79 % of the
    # faces and 71 other things; those of 4 and more 88 %, and 171, of which a network's confidence leaves 59.
    FEWEST_IN_PHOTOGRAPHS, sure = 4, 7
    _WINDOW = 24  # side that the cascade was trained with, pixels; it sees nothing smaller
    _GROUPED = 0.3

    def __init__(self, smallest=SMALLEST, fewest=1):
        self.smallest, self.fewest = smallest, fewest
        try:
            from skimage.data import lbp_frontal_face_cascade_filename
            from skimage.feature import Cascade
        except ImportError:
            raise ConfigError("detector lbp: scikit-image is not installed: pip install scikit-image") from None
        self._cascade = Cascade(lbp_frontal_face_cascade_filename())

    @classmethod
    def for_photographs(cls, smallest=SMALLEST_IN_PHOTOGRAPHS):
        return cls(smallest, cls.FEWEST_IN_PHOTOGRAPHS)

    def detect(self, image):
        largest = min(image.shape[:2])
        smallest = max(self._WINDOW, round(self.smallest * largest))
        found = self._cascade.detect_multi_scale(
            np.ascontiguousarray(image),
            scale_factor=1.1,
            step_ratio=1.0,
            min_size=(smallest, smallest),
            max_size=(largest, largest),
            min_neighbor_number=1,
            intersection_score_threshold=2.0,  # overlaps end at 1: the windows come one by one
        )
        windows = [(window["c"], window["r"], window["width"], window["height"]) for window in found]
        groups = self._group(np.array(windows, np.float64).reshape(-1, 4))
        return groups[groups[:, 4] >= self.fewest]

    def _group(self, windows):
        windows = windows[np.lexsort(windows.T)]  # whatever the order in which the threads found them
        near = box_iou(windows[:, None], windows) >= self._GROUPED
        left, groups = np.ones(len(windows), bool), []
        while left.any():
            most = np.argmax((near & left).sum(axis=1) * left)
            members = near[most] & left
            groups.append((*windows[members].mean(axis=0), members.sum()))
            left &= ~members
        groups = np.array(groups, np.float64).reshape(-1, 5)
        return groups[np.argsort(-groups[:, 4], kind="stable")]


class YunetDetector(Detector):
    """YuNet, a small convolutional network, run by OpenCV from a model file that the user brings.

    Args:
        model: the file; None: that which the environment's ``KDLOSS_YUNET`` names.

    Reference:
        Wu, Peng and Yu, "YuNet: a tiny millisecond-level face detector", Machine Intelligence Research 20, 2023.
    """

    name = "yunet"
    takes_model = True
    PLACE = "KDLOSS_YUNET"
    # What OpenCV and the demonstration of OpenCV Zoo take: least score, overlap (IoU) of two faces, faces before it.
    SCORE, OVERLAP, MOST = 0.9, 0.3, 5000
    _GET = (
        "get face_detection_yunet_2023mar.onnx from OpenCV Zoo (github.com/opencv/opencv_zoo, "
        f"models/face_detection_yunet) and name it with --detector-model FILE or in {PLACE}"
    )

    def __init__(self, model=None):
        model = os.environ.get(self.PLACE) if model is None else model
        if not model:
            raise ConfigError(f"detector yunet: found no model file: {self._GET}")
        try:
            content = Path(model).read_bytes()
        except OSError as error:
            raise ConfigError(f"detector yunet: {model}: cannot be read ({error.strerror}): {self._GET}") from error
        self.model_sha256 = hashlib.sha256(content).hexdigest()
        # OpenCV's own lines on the standard error say nothing that is not an exception too.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        network, config = np.frombuffer(content, np.uint8), np.empty(0, np.uint8)
        limits = (self.SCORE, self.OVERLAP, self.MOST)
        try:
            self._net = cv2.FaceDetectorYN.create("onnx", network, config, (32, 32), *limits)
            # OpenCV looks for the outputs of the network when it runs.
            self.detect(np.zeros((32, 32, 3), np.uint8))
        except cv2.error as error:
            raise ConfigError(f"detector yunet: {model}: damaged, or not YuNet's: {self._GET}") from error

    def detect(self, image):
        self._net.setInputSize(image.shape[1::-1])
        _, found = self._net.detect(np.ascontiguousarray(image[:, :, ::-1]))  # BGR
        if found is None:
            return np.empty((0, 5))
        found = found[:, [0, 1, 2, 3, 14]].astype(np.float64)  # between them five landmarks
        return found[np.argsort(-found[:, 4], kind="stable")]


DETECTORS = {"lbp": LbpDetector, "yunet": YunetDetector}
SMALLEST_FACE = LbpDetector.SMALLEST_IN_PHOTOGRAPHS


def detector(name, *, photographs=False, model=None, smallest=SMALLEST_FACE):
    """The `Detector` of a name, for stored crops (one large face each) or ``photographs``.

    Args:
        name: one of `DETECTORS`.
        photographs, smallest: see `Detector.for_photographs`.
        model: the detector's model file, for those that need one; None: see the detector's class.

    Raises:
        ConfigError: no such detector, what it needs is missing, or a model file for one that takes none.
    """
    if name not in DETECTORS:
        raise ConfigError(f"detector {name}: expected one of {', '.join(DETECTORS)}")
    kind = DETECTORS[name]
    if model is not None and not kind.takes_model:
        raise ConfigError(f"detector {name}: takes no model file, found {model}: leave it out")
    given = {"model": model} if kind.takes_model else {}
    return kind.for_photographs(smallest, **given) if photographs else kind(**given)


def box_iou(a, b):
    """Intersection over union of boxes (..., 4) x, y, width, height; shapes broadcast -> (...) float64, 0 to 1."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=-1)
    return shared / (np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - shared)


def detected_boxes(prepared, rows, detector, announce=None):
    """Detects prepared faces in their stored crops.

    A stored crop holds one face in its surroundings, so this is kinder to the detector than a whole photograph: it
    need not search, and it is not led astray far from the face. Of several detections that with the highest IoU with
    the true landmark box is taken; a face counts as found if that is `MINIMUM_IOU` at least.

    Args:
        prepared, rows: a `PreparedDataset`, and (m,) row numbers.
        detector: a `Detector`.
        announce: takes a line of progress now and then.

    Returns:
        Boxes (m, 4) float64 in pixels of the stored crops, NaN where the face was not found, and (m,) bool found.
    """
    boxes = np.full((len(rows), 4), np.nan)
    found = np.zeros(len(rows), bool)
    for i, row in enumerate(rows):
        candidates = np.reshape(detector.detect(prepared.faces[row]), (-1, 5))[:, :4]
        if len(candidates):
            overlap = box_iou(candidates, landmark_box(prepared.points[row]))
            found[i] = overlap.max() >= MINIMUM_IOU
            if found[i]:
                boxes[i] = candidates[np.argmax(overlap)]
        if announce and ((i + 1) % 100 == 0 or i + 1 == len(rows)):
            announce(f"detector {detector.name}: {i + 1} of {len(rows)} faces, {int(found.sum())} found")
    return boxes, found
