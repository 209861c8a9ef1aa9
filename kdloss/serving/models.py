"""The models of the page: landmarkers that answer a picture with a JSON object of its faces."""

import asyncio
import json
import os
import time
from pathlib import PurePath

import numpy as np

from kdloss.data.boxes import box_array
from kdloss.data.images import read_image
from kdloss.errors import ConfigError, DataError
from kdloss.inference.output import face_record

# What one request may ask for; the model computes for nobody else meanwhile.
MOST_FACES = 64
MOST_WORK = 600 * 10**6  # faces times pixels: of a large face's crop, all pixels of the picture are averaged
MOST_CANDIDATES = 128
MOST_OBLONG = 4  # the longer side by the shorter, where faces are searched


class ServedModel:
    """A `Landmarker` under the name that the page shows.

    Attributes:
        name: unique on the page.
        lock: an `asyncio.Lock`, to be held while `answer` runs, which measures its times.
        waiting: how many requests hold the lock or wait for it.
    """

    def __init__(self, name, landmarker):
        self.name, self.lock, self.waiting = name, asyncio.Lock(), 0
        self._landmarker = landmarker
        self._seconds, self._pixels = None, 0  # of the detector, and of the picture
        landmarker.detector.detect = self._timed(landmarker.detector.detect)
        landmarker.detector.most = MOST_CANDIDATES
        # Loads the network and warms it up.
        landmarker.whole(np.zeros((32, 32, 3), np.uint8))

    def description(self):
        """What the page needs to know of the model, a dict for JSON."""
        scheme, reader = self._landmarker.scheme, self._landmarker.reader
        return {
            "name": self.name,
            "arch": reader.card["arch"],
            "dataset": reader.card.get("dataset"),
            "points": scheme.num_points,
            "image_size": reader.input_shape[1],
            "detector": self._landmarker.detector.name,
            "skeleton": [list(line) for line in scheme.skeleton],
        }

    def _timed(self, detect):
        def timed(image):
            started = time.perf_counter()
            found = detect(image)
            self._seconds = (self._seconds or 0) + time.perf_counter() - started
            _require_bounded(len(found), self._pixels)
            return found

        return timed

    def answer(self, data, boxes=None):
        """The faces of a picture.

        Args:
            data: the bytes of an image file.
            boxes: (k, 4) landmark boxes or (k, 5) turned ones, pixels of the upright picture; None: the detector finds
                the faces.

        Returns:
            A dict for JSON. Its faces are as in the files of `kdloss.predict`.

        Raises:
            DataError: no readable picture, boxes that do not lie in it, or more work than a request may ask for.
        """
        started = time.perf_counter()
        image = read_image(data)
        read = time.perf_counter()
        self._seconds, self._pixels = None, image.shape[0] * image.shape[1]
        if boxes is not None:
            _require_bounded(len(boxes), self._pixels)
        elif max(image.shape[:2]) > MOST_OBLONG * min(image.shape[:2]):
            found = f"{image.shape[1]} x {image.shape[0]} pixels"
            raise DataError(f"image: {found}, expected sides of 1 to {MOST_OBLONG} at most: cut it into parts")
        faces = self._landmarker.detect(image) if boxes is None else self._landmarker.in_boxes(image, boxes)
        ended = time.perf_counter()
        detection = self._seconds
        return {
            "image": {"width": image.shape[1], "height": image.shape[0]},
            "model": self.name,
            "detector": self._landmarker.detector.name if boxes is None else "boxes",
            "least_confidence": self._landmarker.confidence and self._landmarker.confidence.face,
            "milliseconds": {
                "read": _milliseconds(read - started),
                "detection": None if detection is None else _milliseconds(detection),
                "landmarks": _milliseconds(ended - read - (detection or 0)),
                "total": _milliseconds(ended - started),
            },
            "faces": [face_record(face) for face in faces],
        }


def _milliseconds(seconds):
    return round(1000 * seconds, 2)


def parse_boxes(text):
    """Boxes of a request, ``[[x, y, width, height], ...]`` -> (k, 4) float64; with a turn, (k, 5).

    Raises:
        DataError: not of that form.
    """
    try:
        boxes = box_array(json.loads(text))
    except (ValueError, RecursionError):
        boxes = None
    if boxes is None:
        raise DataError("boxes: expected [[x, y, width, height], ...] in pixels, widths and heights above zero")
    return boxes


def _require_bounded(faces, pixels):
    """Raises `DataError` if a picture of so many pixels has more faces or boxes than one request may ask for."""
    most = min(MOST_FACES, MOST_WORK // pixels)
    if faces > most:
        size = f"a picture of {pixels / 1e6:.1f} million pixels"
        raise DataError(f"boxes or faces: found {faces} in {size}, expected {most} at most: cut it, or scale it down")


def shown_names(checkpoints):
    """Short names that tell checkpoints apart: names of shipped models as they are, and the last parts of paths.

    Raises:
        ConfigError: a checkpoint is named twice.
    """
    parts = [PurePath(os.path.abspath(c)).parts if os.path.exists(c) else (c,) for c in checkpoints]
    for checkpoint, own in zip(checkpoints, parts, strict=True):
        if parts.count(own) > 1:
            raise ConfigError(f"--checkpoint {checkpoint}: named {parts.count(own)} times: name each model once")

    def length(own):
        """The least number of its last parts that no other path ends with."""
        others = [other for other in parts if other != own]
        return next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)), len(own))

    return ["/".join(own[-length(own) :]) for own in parts]
