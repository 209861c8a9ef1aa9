"""Face detectors behind one small interface.

A detector's box is not the box of a training crop: some include the forehead, some end above the chin.
`kdloss.inference.box_calibration` maps the one to the other.
"""

import hashlib
import os

import cv2
import numpy as np

from kdloss.data.geometry import box_iou, landmark_box, transform_points, turning
from kdloss.errors import ConfigError
from kdloss.files import read_input
from kdloss.inference.blazeface import BlazeFaceDetector
from kdloss.inference.detector_base import Detector

# A detection with less overlap with the true landmark box is something else. Low, because detectors' boxes differ from
# landmark boxes by design.
MINIMUM_IOU = 0.3


class LbpDetector(Detector):
    """The cascade of local binary patterns for frontal faces that comes with scikit-image.

    scikit-image scores no boxes. Here the windows that the cascade accepts are grouped, beginning with the window that
    overlaps most others (IoU 0.3). The box is the mean of a group's windows, the score their number. The scan is
    coarse: a finer one finds a few more faces but takes longer. For ``smallest`` see `detector`.

    Reference: Liao et al., "Learning multi-scale block local binary patterns for face recognition", ICB 2007.
    """

    name = "lbp"
    SMALLEST = 0.1
    SMALLEST_IN_CROPS = 0.3
    # On 1808 300-W training faces, four in a picture of 640 x 480 pixels, groups of at least 7 windows hold 79 % of the
    # faces and 71 other things; groups of at least 4 hold 88 % and 171, of which a network's confidence leaves 59.
    FEWEST_IN_PHOTOGRAPHS, sure = 4, 7
    LEAST_PIXELS = 24  # the side that the cascade was trained with; it sees nothing smaller
    _OVERLAP = 0.3

    def __init__(self, smallest=None, threads=None):
        crops = smallest is None
        self.smallest, self.fewest = (self.SMALLEST_IN_CROPS, 1) if crops else (smallest, self.FEWEST_IN_PHOTOGRAPHS)
        try:
            from skimage.data import lbp_frontal_face_cascade_filename
            from skimage.feature import Cascade
        except ImportError:
            raise ConfigError("detector lbp: scikit-image is not installed: pip install scikit-image") from None
        self._cascade = Cascade(lbp_frontal_face_cascade_filename())

    def detect(self, image):
        largest = min(image.shape[:2])
        smallest = max(self.LEAST_PIXELS, round(self.smallest * largest))
        found = self._cascade.detect_multi_scale(
            np.ascontiguousarray(image),
            scale_factor=1.1,
            step_ratio=1.0,
            min_size=(smallest, smallest),
            max_size=(largest, largest),
            min_neighbor_number=1,
            intersection_score_threshold=2.0,  # above the largest overlap: the windows come ungrouped
        )
        windows = [(window["c"], window["r"], window["width"], window["height"]) for window in found]
        groups = self._group(np.array(windows, np.float64).reshape(-1, 4))
        return np.insert(groups[groups[:, 4] >= self.fewest], 4, 0.0, axis=1)

    def _group(self, windows):
        windows = windows[np.lexsort(windows.T)]  # the cascade's threads find them in any order
        near = box_iou(windows[:, None], windows) >= self._OVERLAP
        ungrouped, groups = np.ones(len(windows), bool), []
        while ungrouped.any():
            largest = np.argmax((near & ungrouped).sum(axis=1) * ungrouped)
            members = near[largest] & ungrouped
            groups.append((*windows[members].mean(axis=0), members.sum()))
            ungrouped &= ~members
        groups = np.array(groups, np.float64).reshape(-1, 5)
        return groups[np.argsort(-groups[:, 4], kind="stable")]


class YunetDetector(Detector):
    """YuNet, a small convolutional network that OpenCV runs from a model file, which the user brings.

    ``model`` is the file; None: the one that the environment variable ``KDLOSS_YUNET`` names.

    Reference: Wu et al., "YuNet: a tiny millisecond-level face detector", Machine Intelligence Research 20, 2023.
    """

    name = "yunet"
    takes_model = True
    PLACE = "KDLOSS_YUNET"
    # Least score, largest IoU of two faces, candidates before that. OpenCV's score is 0.9, with which YuNet misses
    # faces that are turned or dark. Of 100 training faces, 100 have a score of 0.82 and 96 one of 0.91, and of the 44
    # things that it takes for faces in 118 pictures without any, and in these turned by quarters, 18 and 5.
    SCORE, OVERLAP, MOST = 0.6, 0.3, 5000
    sure = 0.9
    _GET = (
        "get face_detection_yunet_2023mar.onnx from OpenCV Zoo (github.com/opencv/opencv_zoo, "
        f"models/face_detection_yunet) and name it with --detector-model FILE or in {PLACE}"
    )

    def __init__(self, model=None, smallest=None, threads=None):
        model = os.environ.get(self.PLACE) if model is None else model
        if not model:
            raise ConfigError(f"detector yunet: found no model file: {self._GET}")
        try:
            content = read_input(model)
        except OSError as error:
            raise ConfigError(f"detector yunet: {model}: cannot be read ({error.strerror}): {self._GET}") from error
        self.model_sha256 = hashlib.sha256(content).hexdigest()
        # OpenCV raises an exception for all that it writes to the standard error.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        network, config = np.frombuffer(content, np.uint8), np.empty(0, np.uint8)
        limits = (self.SCORE, self.OVERLAP, self.MOST)
        try:
            self._net = cv2.FaceDetectorYN.create("onnx", network, config, (32, 32), *limits)
            # OpenCV looks for the outputs of the network only when it runs.
            self.detect(np.zeros((32, 32, 3), np.uint8))
        except cv2.error as error:
            raise ConfigError(f"detector yunet: {model}: damaged, or not YuNet's: {self._GET}") from error

    def detect(self, image):
        self._net.setInputSize(image.shape[1::-1])
        _, found = self._net.detect(np.ascontiguousarray(image[:, :, ::-1]))  # BGR
        if found is None:
            return np.empty((0, 6))
        found = found.astype(np.float64)
        # Between box and score lie five points; the first two are the eyes, from left to right.
        turn = np.arctan2(found[:, 7] - found[:, 5], found[:, 6] - found[:, 4])
        found = np.column_stack([found[:, :4], turn, found[:, 14]])
        return found[np.argsort(-found[:, 5], kind="stable")]


DETECTORS = {kind.name: kind for kind in (BlazeFaceDetector, YunetDetector, LbpDetector)}
DETECTOR = BlazeFaceDetector.name  # the default
# A large photograph is shrunk before detection. Its shorter side keeps `DETECTION_SIDE` pixels at least, and the
# smallest face searched for `SMALLEST_SEEN`. More pixels cost time and only show faces below the detectors' own limits.
DETECTION_SIDE, SMALLEST_SEEN = 480, 32


def detector(name, *, model=None, smallest=None, threads=None):
    """The `Detector` of a name.

    Args:
        name: one of `DETECTORS`.
        model: the model file of a detector that needs one; None: see the detector's class.
        smallest: side of the smallest face in photographs, a share of the shorter side; None: the images are stored
            crops, in each of which there is a large face.
        threads: of a detector that runs on LiteRT; None: one for each core.

    Raises:
        ConfigError: no such detector, something that it needs is missing, or a model file for one that takes none.
    """
    if name not in DETECTORS:
        raise ConfigError(f"detector {name}: expected one of {', '.join(DETECTORS)}")
    kind = DETECTORS[name]
    if model is not None and not kind.takes_model:
        raise ConfigError(f"detector {name}: takes no model file, found {model}: leave it out")
    options = {"model": model} if kind.takes_model else {}
    return kind(**options, smallest=smallest, threads=threads)


def photograph_detections(detector, image, smallest, quarters=0):
    """As `Detector.detect`, but searches large images in a smaller copy, and the image turned counterclockwise by
    ``quarters`` of a circle. For ``smallest`` see `detector`."""
    turned = np.ascontiguousarray(np.rot90(image, quarters))
    found = _detections(detector, turned, smallest)
    if not quarters or not len(found):
        return found
    # Counterclockwise the image was turned, clockwise the boxes turn back.
    angle, half = quarters * np.pi / 2, found[:, 2:4] / 2
    middle, turned_middle = (np.array(one.shape[1::-1]) / 2 - 0.5 for one in (image, turned))
    centres = transform_points(turning(angle), found[:, :2] + half - turned_middle) + middle
    turns = np.remainder(found[:, 4] + angle + np.pi, 2 * np.pi) - np.pi
    return np.column_stack([centres - half, found[:, 2:4], turns, found[:, 5]])


def _detections(detector, image, smallest):
    factor = min(image.shape[:2]) / max(DETECTION_SIDE, round(SMALLEST_SEEN / smallest))
    if factor <= 1:
        return detector.detect(image)
    height, width = (max(1, round(side / factor)) for side in image.shape[:2])
    found = detector.detect(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)).copy()
    zoom = np.array([image.shape[1] / width, image.shape[0] / height])
    found[:, :2] = (found[:, :2] + 0.5) * zoom - 0.5
    found[:, 2:4] *= zoom
    return found


def detected_boxes(prepared, rows, detector, announce=None):
    """Detects prepared faces in their stored crops, which is easier than in a whole photograph.

    Of several detections, the one with the highest IoU with the true landmark box counts, if that is at least
    `MINIMUM_IOU`.

    Args:
        prepared, rows: a `PreparedDataset`, and m row numbers.
        detector: a `Detector`.
        announce: called with a line of progress now and then.

    Returns:
        Turned boxes (m, 5) float64 in pixels of the stored crops, NaN where no face was found, and (m,) bool found.
    """
    boxes = np.full((len(rows), 5), np.nan)
    found = np.zeros(len(rows), bool)
    for i, row in enumerate(rows):
        candidates = np.reshape(detector.detect(prepared.faces[row]), (-1, 6))[:, :5]
        if len(candidates):
            overlap = box_iou(candidates, landmark_box(prepared.points[row]))
            found[i] = overlap.max() >= MINIMUM_IOU
            if found[i]:
                boxes[i] = candidates[np.argmax(overlap)]
        if announce and ((i + 1) % 100 == 0 or i + 1 == len(rows)):
            announce(f"detector {detector.name}: {i + 1} of {len(rows)} faces, {int(found.sum())} found")
    return boxes, found
