"""The landmarker of the shipped model: threads that share it, and how its faces print."""

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import kdloss
from kdloss.data.schemes import SCHEMES
from kdloss.inference.landmarker import Face
from kdloss.inference.pose import PoseEstimator
from tests.inference.test_pose import projected

astronaut = pytest.importorskip("skimage.data").astronaut


def test_threads_that_share_a_landmarker_find_what_one_thread_finds():
    landmarker = kdloss.Landmarker.load("mobilenetv2-300w", threads=1)
    images = [np.roll(astronaut()[:300, 60:360], shift, axis=1) for shift in range(-24, 32, 8)]
    box = [[40.0, 80, 100, 100]]

    def read(image):
        return [*landmarker.detect(image), *landmarker.in_boxes(image, box), landmarker.whole(image)]

    alone = [read(image) for image in images]
    assert [len(faces) for faces in alone] == [3] * len(images)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(read, images))
    finally:
        sys.setswitchinterval(interval)
    for faces, expected in zip(together, alone, strict=True):
        for face, same in zip(faces, expected, strict=True):
            assert np.array_equal(face.landmarks, same.landmarks)
            assert np.array_equal(face.confidence, same.confidence)
            assert (face.score, face.turn) == (same.score, same.turn)


def test_a_face_prints_in_three_lines():
    estimate = PoseEstimator(SCHEMES["68"])
    face = Face(np.array([20.4, 30, 95, 90]), 0.876, projected(12, -7, -0.2), np.full(68, 0.5), pose_of=estimate)
    assert str(face).splitlines() == [
        "face of 95 x 90 pixels at 20, 30, score 0.88",
        "68 landmarks, mean confidence 0.50",
        "pose in degrees: yaw 12, pitch -7, roll 0",
    ]
    plain = Face(np.array([20.4, 30, 95, 90]), None, np.zeros((5, 2)), None)
    assert str(plain).splitlines() == [
        "face of 95 x 90 pixels at 20, 30",
        "5 landmarks, mean confidence unknown",
        "pose in degrees: unknown",
    ]
