"""Follows faces through the frames of a video.

A face moves little from one frame to the next. So the network reads it in the box around its last landmarks, which
takes less time than a search of the whole picture. A search every few frames begins tracks and confirms them.
"""

from dataclasses import replace

import numpy as np

from kdloss.data.geometry import box_iou, landmark_box, turned_landmark_box
from kdloss.errors import ConfigError

DETECT_EVERY = 10  # frames
# At rest, the filter reduces the jitter of a noisy picture to a sixth; a face that crosses the picture lags by 8 ms.
MIN_CUTOFF, BETA = 1.0, 20.0
LONGEST_GAP = 0.5  # seconds without a frame, after which the face may be anywhere
SAME_FACE = 0.3  # least IoU of the landmark boxes of a detection and of the track that it confirms
_MERGED = 0.6  # least IoU of two tracks that follow one face. High, because two faces may come near each other.
# A network that states its confidence knows best whether it still sees a face: detectors miss turned faces. Without
# confidence, a face is lost after 3 misses in a row for each detection that found it, and after 10 at the latest. So a
# false detection is soon lost.
MISSED_ROUNDS, MOST_MISSED_ROUNDS = 3, 10
# A face is lost after 5 frames with a mean confidence below two thirds of what the network has for faces.
UNSURE, UNSURE_FRAMES = 2 / 3, 5
_TURNED = np.deg2rad(10)  # by which a face has to have turned before its crop turns with it
_GROWTH = 1.5  # the most that a face's box grows or shrinks from frame to frame
_SMALLEST = 8.0  # pixels, side of a face's box
_INSIDE = 0.5  # share of a face's box that has to lie in the picture


class FaceTracker:
    """Follows the faces of one video. ``count`` is the number of faces so far.

    Args:
        landmarker: a `kdloss.inference.landmarker.Landmarker` with a detector.
        detect_every: frames between detections, 1 or more. While no face is followed, every frame is searched.
        smooth: whether landmarks pass a `OneEuroFilter`.

    Raises:
        ConfigError: no detector, or a model trained in other boxes than those around landmarks.
    """

    def __init__(self, landmarker, detect_every=DETECT_EVERY, smooth=True):
        if landmarker.detector is None or landmarker.policy.source != "gt":
            found = f"{landmarker.policy}, {landmarker.detector.name if landmarker.detector else 'no detector'}"
            expected = "a model trained in boxes around the landmarks (gt:1.25) and a detector"
            raise ConfigError(f"{landmarker.name}: found {found}, expected {expected}: use another model")
        self._landmarker, self._detect_every, self._smooth = landmarker, detect_every, smooth
        self._least = UNSURE * landmarker.confidence.face if landmarker.confidence else 0.0
        self._tracks, self._frames_since_detection, self._time = [], 0, -np.inf
        self.count = 0

    def update(self, image, time):
        """The faces of the next frame.

        Args:
            image: (H, W, 3) uint8 RGB, upright.
            time: seconds, later than that of the last frame.

        Returns:
            (track id, `Face`) pairs. Ids are 0, 1, ... in the order of appearance, and never used again. The box of a
            face holds its landmarks, which may be smoothed; the score is that of the detection that confirmed the face
            in this frame, or None. A face that the network is unsure of is followed for some frames, but left out.
        """
        self._follow(image)
        self._frames_since_detection += 1
        due = self._frames_since_detection >= self._detect_every or time - self._time > LONGEST_GAP
        if due or not self._tracks:
            self._detect(image)
            self._frames_since_detection = 0
        self._time = time
        return [(track.track_id, track.smoothed(time)) for track in self._tracks if not track.unsure]

    def _follow(self, image):
        if not self._tracks:
            return
        boxes = [turned_landmark_box(track.face.landmarks, track.face.turn) for track in self._tracks]
        faces = self._landmarker.in_boxes(image, np.array(boxes))
        for track, face in zip(self._tracks, faces, strict=True):
            track.follow(face, image.shape)
        kept = []
        for track in self._tracks:  # oldest first: of two tracks on one face the older one stays
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
            elif _side(box) >= _SMALLEST and _share_inside(box, image.shape) >= _INSIDE:
                self._tracks.append(_Track(self.count, face, self._smooth, self._least))
                self.count += 1
        self._tracks = [track for track in self._tracks if not track.given_up]


class _Track:
    """One face: its last landmarks as the network read them, and the box around them."""

    def __init__(self, track_id, face, smooth, least):
        self.track_id, self.face, self.box = track_id, face, landmark_box(face.landmarks)
        self.missed, self._confirmed, self.lost, self._unsure_frames, self._least = 0, 1, False, 0, least
        self._filter = OneEuroFilter() if smooth else None

    def follow(self, face, shape):
        """Takes the face as it was read in the next frame, an image of ``shape``."""
        box, before = landmark_box(face.landmarks), _side(self.box)
        # Between detections the landmarks say how the face turns, which the next frame is read by.
        if (pose := face.pose) and _apart(np.radians(pose.roll), face.turn):
            face = replace(face, turn=float(np.radians(pose.roll)))
        self.face, self.box = face, box
        self._unsure_frames = self._unsure_frames + 1 if self.unsure else 0
        self.lost = not (
            max(_SMALLEST, before / _GROWTH) <= _side(box) <= before * _GROWTH
            and _share_inside(box, shape) >= _INSIDE
            and self._unsure_frames < UNSURE_FRAMES
        )

    def confirm(self, detected):
        self.missed, self._confirmed = 0, self._confirmed + 1
        # A turn that changes with every detection would make the points jump. Those that were read in a wrong turn go.
        turned = _apart(detected.turn, self.face.turn)
        self.face = detected if turned else replace(self.face, score=detected.score)
        self.box = landmark_box(self.face.landmarks)

    @property
    def unsure(self):
        """Whether the network doubts that this is the face."""
        return self.face.confidence is not None and self.face.confidence.mean() < self._least

    @property
    def given_up(self):
        """Whether detections missed the face too often."""
        return self.missed >= min(MISSED_ROUNDS * self._confirmed, MOST_MISSED_ROUNDS)

    def smoothed(self, time):
        landmarks = self.face.landmarks
        if self._filter:
            landmarks = self._filter.filter(landmarks, time, unit=_side(self.box))
        return replace(self.face, landmarks=landmarks, box=landmark_box(landmarks))


def _apart(turn, other):
    """Whether two turns, radians, differ by so much that the network reads a face differently."""
    return np.cos(turn - other) < np.cos(_TURNED)


def _nearest(box, tracks, least):
    """The track with the highest IoU with a box; None if that is below ``least``."""
    overlaps = [float(box_iou(box, track.box)) for track in tracks]
    return tracks[int(np.argmax(overlaps))] if overlaps and max(overlaps) >= least else None


def _side(box):
    return float(np.sqrt(box[2] * box[3]))


def _share_inside(box, shape):
    height, width = shape[:2]
    # Pixel centres lie at integers, so the image begins half a pixel before the first.
    low = np.maximum(box[:2], -0.5)
    high = np.minimum(box[:2] + box[2:], (width - 0.5, height - 0.5))
    return float(np.prod(np.maximum(high - low, 0)) / np.prod(box[2:]))


class OneEuroFilter:
    """A low-pass filter whose cutoff grows with the speed: still landmarks lose their jitter, moving ones hardly lag.
    It starts again after `LONGEST_GAP` without values.

    Args:
        min_cutoff: Hz, the cutoff at rest. A lower one leaves less jitter.
        beta: Hz by units a second, how much the cutoff grows with the speed. A larger one leaves less lag.

    Reference: Casiez, Roussel and Vogel, "1 Euro filter: a simple speed-based low-pass filter for noisy input in
    interactive systems", CHI 2012, algorithm 1.
    """

    _SPEED_CUTOFF = 1.0  # Hz, for the filter of the speed, as in the paper

    def __init__(self, min_cutoff=MIN_CUTOFF, beta=BETA):
        self.min_cutoff, self.beta, self._time = min_cutoff, beta, None

    def filter(self, values, time, unit=1.0):
        """Filters each number by itself -> float64.

        Args:
            values: an array, always of the same shape.
            time: seconds, later than that of the last call, else a `ValueError` is raised.
            unit: of lengths in speeds: the side of the face, so that one ``beta`` suits all sizes.
        """
        values = np.asarray(values, np.float64)
        if self._time is not None and time <= self._time:
            raise ValueError(f"time {time} s: expected one after {self._time} s")
        if self._time is None or time - self._time > LONGEST_GAP:
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
