"""Faces followed through a video: the rules on a scripted landmarker, and the shipped model on a moving photograph."""

import cv2
import numpy as np
import pytest

from kdloss.data.geometry import invert, landmark_box, transform_points
from kdloss.data.schemes import SCHEMES
from kdloss.inference.landmarker import Face, Landmarker
from kdloss.inference.pose import PoseEstimator
from kdloss.inference.tracking import (
    LONGEST_GAP,
    MISSED_ROUNDS,
    MOST_MISSED_ROUNDS,
    UNSURE,
    UNSURE_FRAMES,
    FaceTracker,
    OneEuroFilter,
    _Track,
)
from tests.inference.scripted_landmarker import ScriptedLandmarker, landmarks_of
from tests.inference.test_pose import projected

IMAGE = np.zeros((480, 640, 3), np.uint8)
ONE, TWO = np.array([100.0, 100, 80, 90]), np.array([400.0, 200, 60, 60])


def moved(right):
    """The box of the first face, so far to the right."""
    return ONE + np.array([right, 0, 0, 0])


class Film:
    """A tracker and the clock of its frames."""

    def __init__(self, landmarker, **how):
        self.tracker, self.now = FaceTracker(landmarker, **how), 0

    def frames(self, count=1, step=0.04):
        """The ids of the faces in the last of so many more frames."""
        for _ in range(count):
            self.now += step
            self.found = self.tracker.update(IMAGE, self.now)
        return [track_id for track_id, _ in self.found]


def test_detects_every_few_frames_and_reads_in_the_last_box():
    landmarker = ScriptedLandmarker(ONE)
    film = Film(landmarker, detect_every=5, smooth=False)
    for i in range(11):
        landmarker.faces = [moved(4 * i)]
        assert film.frames() == [0]
        assert film.found[0][1].score == (None if i % 5 else 9.0)
        assert np.array_equal(film.found[0][1].landmarks, landmarks_of(landmarker.faces[0]))
        assert np.array_equal(film.found[0][1].box, landmarker.faces[0])
        if i:
            assert np.array_equal(landmarker.boxes, [moved(4 * i - 4)])


def test_a_turned_face_is_read_upright_and_turns_with_its_detections():
    landmarker = ScriptedLandmarker(ONE)
    film = Film(landmarker, detect_every=2, smooth=False)
    for seen, turn in ((1.0, 1.0), (1.1, 1.0), (1.4, 1.4), (1.4 + 2 * np.pi, 1.4)):
        landmarker.turn = seen
        film.frames(2)
        film.frames(1)  # reads in the boxes of the frame before, in which the detector saw it
        assert landmarker.turns == [pytest.approx(turn)]
        film.frames(1)


def test_searches_each_frame_while_there_is_no_face_and_after_a_gap():
    landmarker = ScriptedLandmarker()
    film = Film(landmarker, detect_every=100)
    assert film.frames(4) == []
    assert landmarker.detections == 4
    landmarker.faces = [ONE]
    assert film.frames(3) == [0]
    assert landmarker.detections == 5
    assert film.frames(1, step=LONGEST_GAP * 1.1) == [0]
    assert landmarker.detections == 6


def test_new_faces_get_new_ids():
    landmarker = ScriptedLandmarker(ONE)
    film = Film(landmarker, detect_every=2)
    assert film.frames() == [0]
    landmarker.faces = [TWO, ONE]
    assert film.frames(2) == [0, 1]
    landmarker.faces, landmarker.blind = [ONE * (1, 1, 0.1, 0.1), TWO], True  # the first is no face any more
    assert film.frames() == [1]
    landmarker.faces, landmarker.blind = [ONE, TWO], False
    assert film.frames(2) == [1, 2]
    assert film.tracker.count == 3


def test_two_detections_or_tracks_of_one_face_are_one_track():
    assert Film(ScriptedLandmarker(ONE, moved(15))).frames() == [0]
    landmarker = ScriptedLandmarker(ONE, TWO)
    film = Film(landmarker, detect_every=100)
    assert film.frames() == [0, 1]
    landmarker.in_boxes = lambda image, boxes: [landmarker.face(face) for face in landmarker.faces]
    for right, ids in ((40, [0, 1]), (5, [0])):  # one partly before the other: still two
        landmarker.faces = [ONE, moved(right)]
        assert film.frames() == ids


@pytest.mark.parametrize(
    ("boxes", "last"),
    [
        ([ONE * (1, 1, 2, 2)], []),  # explodes
        ([ONE * (1, 1, 0.5, 0.5)], []),  # collapses
        ([moved(-145)], []),  # leaves the picture
        ([ONE * (1, 1, 1.3, 1.3), ONE * (1, 1, 1.6, 1.6), ONE * (1, 1, 2, 2)], [0]),  # comes nearer
        ([moved(-145 + 40)], [0]),  # leaves it by less than half
    ],
)
def test_faces_that_change_more_than_faces_do_are_lost(boxes, last):
    landmarker = ScriptedLandmarker(ONE)
    film = Film(landmarker, detect_every=100)
    film.frames(3)
    landmarker.blind = True
    for box in boxes:
        landmarker.faces = [box]
        found = film.frames()
    assert found == last


def test_without_confidence_a_face_that_detections_often_miss_is_lost():
    landmarker = ScriptedLandmarker(ONE)
    film = Film(landmarker, detect_every=1)
    film.frames()
    landmarker.blind = True
    assert film.frames(MISSED_ROUNDS - 1) == [0]
    assert film.frames() == []
    # One that was confirmed often may be missed for longer.
    landmarker.blind = False
    assert film.frames(20) == [1]
    landmarker.blind = True
    assert film.frames(MOST_MISSED_ROUNDS - 1) == [1]
    assert film.frames() == []


def test_with_confidence_the_network_decides():
    landmarker = ScriptedLandmarker(ONE, sure=0.8)
    film, unsure = Film(landmarker, detect_every=1), UNSURE * landmarker.confidence.face - 0.01
    film.frames()
    landmarker.blind = True
    assert film.frames(3 * MOST_MISSED_ROUNDS) == [0]
    landmarker.sure = unsure
    assert film.frames(UNSURE_FRAMES - 1) == []  # followed still, but not shown
    landmarker.sure = 0.8  # only for a moment, such as a hand before the face
    assert film.frames() == [0]
    landmarker.sure = unsure
    film.frames(UNSURE_FRAMES)
    landmarker.sure = 0.8  # too late
    assert film.frames() == []
    landmarker.sure, landmarker.blind = unsure, False  # what the network takes for no face begins no track
    assert film.frames() == []


def test_smoothing_is_shown_but_not_fed_back():
    landmarker = ScriptedLandmarker(ONE)
    film = Film(landmarker, detect_every=100)
    film.frames()
    there = moved(8)
    landmarker.faces = [there]
    film.frames()
    ((_, face),) = film.found
    assert 0 < face.landmarks[0, 0] - ONE[0] < 8
    assert np.array_equal(face.box, landmark_box(face.landmarks))
    film.frames()
    assert np.array_equal(landmarker.boxes, [there])


@pytest.mark.slow
def test_the_shipped_model_does_not_drift():
    photograph = pytest.importorskip("skimage.data").astronaut()
    face, rng = np.array((227.0, 130.0)), np.random.default_rng(0)

    def view(i):
        """The face wanders, turns by up to 30 degrees to both sides and changes its size from 85 to 220 pixels."""
        turn, zoom = np.deg2rad(30) * np.sin(i / 9), 1.4 * 2 ** (0.7 * np.sin(i / 8))
        linear = zoom * np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
        centre = np.array((320 + 140 * np.sin(i / 10), 240 + 70 * np.sin(i / 7)))
        return np.concatenate([linear, (centre - linear @ face)[:, None]], axis=1)

    def frame(i):
        picture = cv2.warpAffine(photograph, view(i), (640, 480)) + rng.normal(0, 3, (480, 640, 3))
        return np.clip(picture, 0, 255).astype(np.uint8)

    # The detector is good at upright faces alone; here the tracker has to do without it after the first frame.
    tracker = FaceTracker(Landmarker.load("mobilenetv2-300w"), detect_every=1000, smooth=False)
    errors, reference = [], None
    for i in range(70):
        ((_, found),) = tracker.update(frame(i), i / 25)
        on_photograph = transform_points(invert(view(i)), found.landmarks)
        reference = on_photograph if reference is None else reference
        errors.append(np.linalg.norm(on_photograph - reference, axis=1).mean() / 100)
    assert tracker.count == 1
    # Shares of the face's side, against the first frame: as far apart as the network reads a turned face, no farther.
    assert max(errors) < 0.035
    assert np.mean(errors[-10:]) < 0.025


def filtered(one_euro, values, times, unit=1.0):
    return np.array([one_euro.filter(value, time, unit) for value, time in zip(values, times, strict=True)])


def test_three_samples_worked_out_by_hand():
    # A step of time of 1 / (2 pi) makes the weight of a new value cutoff / (cutoff + 1).
    step = 1 / (2 * np.pi)
    one_euro = OneEuroFilter(min_cutoff=1.0, beta=1 / np.pi)
    # Second: speed 2 pi, filtered by a half: pi; cutoff 2, weight 2/3. Third: speed (1 - 2/3) 2 pi, filtered
    # pi/3 + pi/2; cutoff 1 + 5/6, weight 11/17: 2/3 + 11/51.
    assert filtered(one_euro, [0.0, 1.0, 1.0], [0.0, step, 2 * step]) == pytest.approx([0, 2 / 3, 15 / 17], abs=1e-12)


def test_the_unit_makes_the_filter_independent_of_the_size():
    rng = np.random.default_rng(1)
    signal, times = np.cumsum(rng.normal(size=(30, 2)), axis=0), np.arange(30) / 30
    small = filtered(OneEuroFilter(1.0, 5.0), signal, times, unit=10.0)
    assert filtered(OneEuroFilter(1.0, 5.0), 8 * signal, times, unit=80.0) == pytest.approx(8 * small, rel=1e-12)
    assert not np.allclose(filtered(OneEuroFilter(1.0, 5.0), signal, times), small)


def test_the_filter_starts_again_after_a_gap_and_time_must_pass():
    one_euro = OneEuroFilter(1.0, 1.0)
    one_euro.filter(0.0, 0.0)
    assert 0 < one_euro.filter(1.0, 0.5) < 1
    assert one_euro.filter(5.0, 1.01) == 5.0
    assert one_euro.filter(5.0, 1.02) == 5.0
    with pytest.raises(ValueError, match="expected one after"):
        one_euro.filter(5.0, 1.02)


def test_a_track_turns_with_its_face():
    estimate = PoseEstimator(SCHEMES["68"])

    def turned(degrees, seen=0.0, score=None):
        return Face(np.array([0.0, 0.0, 9.0, 9.0]), score, projected(0, 0, degrees), None, np.radians(seen), estimate)

    track = _Track(0, turned(0), False, 0.0)
    track.follow(turned(5), (400, 400))
    assert track.face.turn == 0
    track.follow(turned(40), (400, 400))
    assert np.degrees(track.face.turn) == pytest.approx(40)
    # A detection in another turn brings its own landmarks; one in the same turn confirms those of the track.
    track.confirm(turned(41, seen=42, score=0.9))
    assert (np.degrees(track.face.turn), track.face.score) == (pytest.approx(40), 0.9)
    detected = turned(100, seen=100, score=0.8)
    track.confirm(detected)
    assert track.face is detected
    np.testing.assert_array_equal(track.box, landmark_box(detected.landmarks))
