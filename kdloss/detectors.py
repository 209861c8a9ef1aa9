"""Face detectors behind one small interface, and what makes of their boxes the boxes that a model was trained in.

A detector's box is another box than the training crop: some hold the forehead, some end above the chin. Where the two
differ the same way on all faces, a `BoxCalibration`, measured on training faces, takes the difference out.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from kdloss.errors import ConfigError, DataError
from kdloss.geometry import landmark_box

# Less overlap than this with the true landmark box: something else was detected. Low, because detectors' boxes
# are far from landmark boxes by design.
MINIMUM_IOU = 0.3


class Detector(ABC):
    """Finds faces in an image. ``name`` says in tables and records which detector it is."""

    name: str

    @classmethod
    def for_photographs(cls):
        """The detector as it suits whole photographs, with small faces and much that is none."""
        return cls()

    @abstractmethod
    def detect(self, image):
        """Detects faces.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            (k, 5) float64: x, y, width, height in pixels of the image, and a score; the best first. (0, 5) if none
            is found. Scores rank the detections of one detector and compare with no other's.
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

    Raises:
        ConfigError: scikit-image is not installed.

    Reference:
        Liao, Zhu, Lei, Zhang and Li, "Learning multi-scale block local binary patterns for face recognition", ICB 2007.
    """

    name = "lbp"
    SMALLEST, SMALLEST_IN_PHOTOGRAPHS = 0.3, 0.1
    # On 99 photographs of the 300-W training set 7 windows find the annotated face in 81 %, with 5 other detections
    # (some of them faces too) in 100 photographs; 4 windows in 89 %, with 31.
    FEWEST_IN_PHOTOGRAPHS = 7
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
    def for_photographs(cls):
        return cls(cls.SMALLEST_IN_PHOTOGRAPHS, cls.FEWEST_IN_PHOTOGRAPHS)

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


DETECTORS = {"lbp": LbpDetector}


def detector(name, *, photographs=False):
    """The `Detector` of a name, set for stored crops (one large face each) or for whole photographs.

    Raises:
        ConfigError: no such detector, or what it needs is not installed.
    """
    if name not in DETECTORS:
        raise ConfigError(f"detector {name}: expected one of {', '.join(DETECTORS)}")
    return DETECTORS[name].for_photographs() if photographs else DETECTORS[name]()


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
        prepared: a `PreparedDataset`.
        rows: (m,) row numbers.
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


@dataclass(frozen=True)
class BoxCalibration:
    """From a detector's boxes to the boxes of a `BoxPolicy`. The side of a box is sqrt(width height).

    Args:
        dx, dy: from the centre of the detector's box to that of the policy's, right and down, in sides of the
            detector's box.
        scale: side of the policy's box over that of the detector's.
        faces: how many faces it was measured on.
    """

    dx: float
    dy: float
    scale: float
    faces: int

    def apply(self, boxes):
        """Detector's boxes (..., 4) -> square boxes (..., 4) to cut. NaN stays NaN."""
        centre, side = _centre_and_side(boxes)
        centre = centre + side * [self.dx, self.dy]
        side = np.repeat(side * self.scale, 2, axis=-1)
        return np.concatenate([centre - side / 2, side], axis=-1)


def calibrate(prepared, rows, detector, policy, *, limit=300, announce=None):
    """Measures how a detector's boxes lie to those of a policy: the medians over training faces.

    Where the policy stretches its boxes (``paper``), the calibrated boxes are still square: no detector knows the
    stretch.

    Args:
        prepared: a `PreparedDataset`.
        rows: row numbers of training faces. Of more than ``limit``, as many are taken at even distances.
        detector: a `Detector`.
        policy: the `BoxPolicy` of the model's training crops.
        announce: see `detected_boxes`.

    Returns:
        A `BoxCalibration`.

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
    dx, dy = np.median((wanted_centre - centre) / side, axis=0)
    return BoxCalibration(float(dx), float(dy), float(np.median(wanted_side / side)), int(found.sum()))


def _centre_and_side(boxes):
    """Boxes (..., 4) -> their centres (..., 2) and sides sqrt(width height) (..., 1)."""
    boxes = np.asarray(boxes, np.float64)
    return boxes[..., :2] + boxes[..., 2:] / 2, np.sqrt(np.prod(boxes[..., 2:], axis=-1, keepdims=True))
