"""Faces followed through the frames of a film: detected now and then, in between found where they last were.

A face moves little from one frame to the next, so the box around its last landmarks says where to look for it: that
costs one pass of the network, where detection searches the whole picture. Detections begin tracks and confirm them.
"""

from dataclasses import dataclass, replace

import numpy as np

from kdloss.data.geometry import landmark_box
from kdloss.errors import ConfigError
from kdloss.inference.detectors import box_iou
from kdloss.inference.landmarker import Face

DETECT_EVERY = 10  # frames
# At rest, with noise in the picture, jitter falls to a sixth; a face that crosses the picture lags by 8 ms.
MIN_CUTOFF, BETA = 1.0, 20.0
LONGEST_GAP = 0.5  # seconds without a frame, after which where the face was says nothing of where it is
SAME_FACE = 0.3  # IoU of landmark boxes from which on a detection is of a face that is followed
_MERGED = 0.6  # IoU from which on two tracks follow one face; two faces may come near each other
# A network that tells its confidence knows best whether it still sees a face; detectors miss faces for as long as they
# are turned. Where it does not tell, a face is lost when detections miss it so often in a row, for each one that did
# find it, and so often at the most: what was a face once by mistake goes soon.
MISSED_ROUNDS, MOST_MISSED_ROUNDS = 3, 10
UNSURE, UNSURE_FRAMES = 0.2, 5  # mean confidence below which, frames after which a face is lost
_GROWTH = 1.5  # a face's box does not grow or shrink by more from frame to frame
_SMALLEST = 8.0  # pixels, side of a face's box
_INSIDE = 0.5  # share of a face's box that the picture must hold


@dataclass(frozen=True)
class TrackedFace:
    """A `Face` of a frame, and which of the film's faces it is.

    Its landmarks are smoothed if that was asked for; its box holds them. The score is that of the detection that
    confirmed the face in this frame, None in frames without one.
    """

    face: Face
    track_id: int  # 0, 1, ... in the order in which faces came up; no number stands for two faces


class FaceTracker:
    """Follows the faces of one film; ``count`` of them came up so far.

    Args:
        landmarker: a `kdloss.inference.landmarker.Landmarker` with a detector.
        detect_every: frames from one detection to the next. Where no face is followed each frame is searched.
        smooth: whether landmarks pass a `OneEuroFilter`.

    Raises:
        ConfigError: without a detector, with a model trained in other boxes than those around landmarks, or a
            ``detect_every`` below 1.
    """

    def __init__(self, landmarker, detect_every=DETECT_EVERY, smooth=True):
        if landmarker.detector is None or landmarker.policy.source != "gt":
            raise ConfigError(
                f"{landmarker.name}: faces are followed in boxes around their landmarks, which takes a detector and a "
                f"model trained in such boxes (gt:1.25), found {landmarker.policy}, "
                f"{'no detector' if landmarker.detector is None else landmarker.detector.name}: use another model"
            )
        if detect_every < 1:
            raise ConfigError(f"--detect-every {detect_every}: expected 1 frame at least")
        self._landmarker, self._every, self._smooth = landmarker, detect_every, smooth
        self._tracks, self._undetected, self._time = [], 0, -np.inf
        self.count = 0

    def update(self, image, time):
        """The faces of the next frame.

        Args:
            image: (H, W, 3) uint8 RGB, upright.
            time: seconds, later than that of the last frame.

        Returns:
            A list of `TrackedFace`\\ s in the order of their ids. A face that the network is unsure of is followed for
            some frames, in which it is not shown.
        """
        self._follow(image)
        self._undetected += 1
        if not self._tracks or self._undetected >= self._every or time - self._time > LONGEST_GAP:
            self._detect(image)
            self._undetected = 0
        self._time = time
        return [track.shown(time) for track in self._tracks if not _unsure(track.face)]

    def _follow(self, image):
        if not self._tracks:
            return
        boxes = np.array([track.box for track in self._tracks])
        faces = self._landmarker.in_boxes(image, boxes)
        for track, face in zip(self._tracks, faces, strict=True):
            track.take(face, image.shape)
        kept = []
        for track in self._tracks:  # the oldest first: of two tracks on one face the older stays
            if not track.lost and _nearest(track.box, kept, _MERGED) is None:
                kept.append(track)
        self._tracks = kept

    def _detect(self, image):
        for track in self._tracks:
            track.missed += track.face.confidence is None
        for face in self._landmarker.detect(image):
            box = landmark_box(face.landmarks)
            track = _nearest(box, self._tracks, SAME_FACE)
            if track:
                track.confirm(face)
            elif not _unsure(face) and _side(box) >= _SMALLEST and _share_inside(box, image.shape) >= _INSIDE:
                self._tracks.append(_Track(self.count, face, self._smooth))
                self.count += 1
        self._tracks = [track for track in self._tracks if not track.given_up]


class _Track:
    """One face: its last landmarks as the network read them, which say where to look for it next."""

    def __init__(self, number, face, smooth):
        self.number, self.face, self.box = number, face, landmark_box(face.landmarks)
        self.missed, self._confirmed, self.lost, self._unsure = 0, 1, False, 0
        self._filter = OneEuroFilter() if smooth else None

    def take(self, face, shape):
        """The face as it was read in the next frame, of an image of that shape."""
        box, before = landmark_box(face.landmarks), _side(self.box)
        self.face, self.box = face, box
        self._unsure = self._unsure + 1 if _unsure(face) else 0
        self.lost = not (
            max(_SMALLEST, before / _GROWTH) <= _side(box) <= before * _GROWTH
            and _share_inside(box, shape) >= _INSIDE
            and self._unsure < UNSURE_FRAMES
        )

    def confirm(self, detected):
        self.missed, self._confirmed, self.face = 0, self._confirmed + 1, replace(self.face, score=detected.score)

    @property
    def given_up(self):
        """Whether detections missed it too often."""
        return self.missed >= min(MISSED_ROUNDS * self._confirmed, MOST_MISSED_ROUNDS)

    def shown(self, time):
        landmarks = self.face.landmarks
        if self._filter:
            landmarks = self._filter.filter(landmarks, time, unit=_side(self.box))
        return TrackedFace(replace(self.face, landmarks=landmarks, box=landmark_box(landmarks)), self.number)


def _nearest(box, tracks, least):
    """The track with the highest IoU with a box, None if that is below ``least``."""
    overlaps = [float(box_iou(box, track.box)) for track in tracks]
    return tracks[int(np.argmax(overlaps))] if overlaps and max(overlaps) >= least else None


def _unsure(face):
    return face.confidence is not None and face.confidence.mean() < UNSURE


def _side(box):
    return float(np.sqrt(box[2] * box[3]))


def _share_inside(box, shape):
    height, width = shape[:2]
    # Pixel centres lie at integers: the image begins half a pixel before the first.
    low = np.maximum(box[:2], -0.5)
    high = np.minimum(box[:2] + box[2:], (width - 0.5, height - 0.5))
    return float(np.prod(np.maximum(high - low, 0)) / np.prod(box[2:]))


class OneEuroFilter:
    """A low-pass filter whose cutoff grows with the speed: still landmarks lose their jitter, moving ones hardly lag.

    Args:
        min_cutoff: Hz, the cutoff at rest: less of it, less jitter.
        beta: Hz by units a second, how much the cutoff grows with the speed: more of it, less lag.
        longest_gap: seconds; after a longer time without values the filter begins anew.

    Reference:
        Casiez, Roussel and Vogel, "1 Euro filter: a simple speed-based low-pass filter for noisy input in interactive
        systems", CHI 2012, algorithm 1.
    """

    _SPEED_CUTOFF = 1.0  # Hz, of the filter of the speed, as in the paper

    def __init__(self, min_cutoff=MIN_CUTOFF, beta=BETA, longest_gap=LONGEST_GAP):
        self.min_cutoff, self.beta, self.longest_gap = min_cutoff, beta, longest_gap
        self._time = None

    def filter(self, values, time, unit=1.0):
        """Filters each number by itself.

        Args:
            values: an array, always of the same shape.
            time: seconds, later than that of the last call.
            unit: speeds count in ``unit``\\ s a second: the side of the face, so that one ``beta`` serves all sizes.

        Returns:
            The filtered values, float64.

        Raises:
            ValueError: the time is not later.
        """
        values = np.asarray(values, np.float64)
        if self._time is not None and time <= self._time:
            raise ValueError(f"time {time} s: expected one after {self._time} s")
        if self._time is None or time - self._time > self.longest_gap:
            self._values, self._speed = values, np.zeros_like(values)
        else:
            passed = time - self._time
            speed = (values - self._values) / (passed * unit)
            self._speed = self._speed + _weight(self._SPEED_CUTOFF, passed) * (speed - self._speed)
            cutoff = self.min_cutoff + self.beta * np.abs(self._speed)
            self._values = self._values + _weight(cutoff, passed) * (values - self._values)
        self._time = time
        return self._values.copy()


def _weight(cutoff, passed):
    """The weight of a new value ``passed`` seconds after the last one, equation 6 of the paper."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * passed))
