"""Detectors: overlaps, which detection counts, the cascade on a photograph, and YuNet in OpenCV."""

import re
import sys

import numpy as np
import pytest

from kdloss.data.geometry import box_iou, landmark_box
from kdloss.errors import ConfigError
from kdloss.inference.detectors import Detector, detected_boxes, detector
from tests.inference.yunet_file import write_yunet


class Scripted(Detector):
    """Gives the detections of a list, one call after another."""

    name = "scripted"

    def __init__(self, answers):
        self.answers = iter(answers)

    def detect(self, image):
        return np.reshape(next(self.answers), (-1, 6))


def scored(box, score=1.0, turn=0.0):
    return [*box, turn, score]


def test_overlap_of_boxes():
    a = np.array([0.0, 0.0, 4.0, 2.0])
    others = np.array([[0, 0, 4, 2], [2, 0, 4, 2], [1, 0, 2, 2], [4, 0, 4, 2], [9, 9, 1, 1]])
    assert box_iou(a, others) == pytest.approx([1, 1 / 3, 1 / 2, 0, 0])
    assert box_iou(others[:, None], others) == pytest.approx(box_iou(others[:, None], others).T)


def test_the_detection_that_fits_best_counts_whatever_its_score(random_faces):
    rows = np.arange(4)
    truth = landmark_box(random_faces.points[rows]).astype(np.float64)
    near = truth + [0.05, 0.05, 0.1, 0.0] * truth[:, 2:3]
    # Half of a box overlaps it by 0.5, a quarter by 0.25, which is less than is asked for.
    half, quarter = truth * [1, 1, 0.5, 1], truth * [1, 1, 0.25, 1]
    answers = [[scored(half[0], 9), scored(near[0], 1)], [], [scored(quarter[2])], [scored(half[3])]]
    lines = []
    boxes, found = detected_boxes(random_faces, rows, Scripted(answers), lines.append)
    assert found.tolist() == [True, False, False, True]
    assert boxes[found] == pytest.approx(np.insert([near[0], half[3]], 4, 0.0, axis=1))
    assert np.isnan(boxes[~found]).all()
    assert lines == ["detector scripted: 4 of 4 faces, 2 found"]


@pytest.fixture(scope="module")
def lbp():
    pytest.importorskip("skimage")
    return detector("lbp")


def test_the_cascade_finds_the_face_of_a_photograph(lbp):
    from skimage.data import astronaut

    # Cut as stored crops are: the cascade searches for no small faces.
    crop = astronaut()[20:240, 110:330]
    found = lbp.detect(crop)
    assert found.shape[1] == 6
    assert np.all(np.diff(found[:, 5]) <= 0)
    assert box_iou(found[0, :4], [60, 50, 110, 110]) > 0.6
    assert found[0, 5] >= 5
    assert np.array_equal(found, detector("lbp").detect(crop))


def test_errors_say_what_to_do(monkeypatch):
    with pytest.raises(ConfigError, match="detector viola: expected one of blazeface, yunet, lbp"):
        detector("viola")
    with pytest.raises(ConfigError, match=r"detector lbp: takes no model file, found y\.onnx"):
        detector("lbp", model="y.onnx")
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(ConfigError, match="pip install scikit-image"):
        detector("lbp")


@pytest.fixture(scope="module")
def yunet_file(tmp_path_factory):
    return write_yunet(tmp_path_factory.mktemp("yunet") / "yunet.onnx")


def picture(height, width, **squares):
    """Grey, with squares of 8 pixels whose corner and colour are given."""
    image = np.full((height, width, 3), 90, np.uint8)
    for x, y, *colour in squares.values():
        image[y : y + 8, x : x + 8] = colour
    return image


def test_yunet_finds_what_is_red_and_the_best_first(yunet_file):
    found = detector("yunet", model=yunet_file)
    # The sides are no multiples of 32, to which OpenCV pads.
    squares = {"weak": (24, 64, 240, 0, 0), "blue": (128, 24, 0, 0, 255), "best": (120, 96, 255, 0, 0)}
    expected = np.array([[124 - 20, 100 - 30, 40, 60, 0, 1.0], [28 - 20, 68 - 30, 40, 60, 0, 240 / 255]])
    assert found.detect(picture(150, 200, **squares)) == pytest.approx(expected, abs=1e-3)
    # The next image has another size, and nothing in it.
    assert found.detect(picture(90, 33)).shape == (0, 6)
    assert found.detect(picture(8, 8, face=(0, 0, 255, 0, 0)))[:, :4] == pytest.approx(np.array([[-16, -26, 40, 60]]))
    # A score below the threshold; two faces 8 pixels apart overlap by more than is allowed.
    image = picture(128, 128, weak=(16, 96, 80, 0, 0), face=(64, 32, 250, 0, 0), beside=(72, 32, 254, 0, 0))
    assert found.detect(image)[:, :2] == pytest.approx(np.array([[76 - 20, 36 - 30]]))


def test_the_environment_names_yunets_file_too(yunet_file, monkeypatch):
    monkeypatch.setenv("KDLOSS_YUNET", str(yunet_file))
    found = detector("yunet")
    monkeypatch.setenv("KDLOSS_YUNET", "elsewhere.onnx")
    assert detector("yunet", model=yunet_file).model_sha256 == found.model_sha256


def test_without_yunets_file_one_line_says_where_it_comes_from(yunet_file, tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("KDLOSS_YUNET", raising=False)
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(yunet_file.read_bytes()[:-300])
    for model, reason in (
        (None, "found no model file"),
        (tmp_path, r"cannot be read \(Is a directory"),
        (damaged, "damaged.onnx: damaged, or not YuNet's"),
    ):
        get = "face_detection_yunet_2023mar.onnx.*opencv_zoo.*--detector-model FILE.*KDLOSS_YUNET"
        with pytest.raises(ConfigError, match=f"^detector yunet: .*{reason}") as caught:
            detector("yunet", model=model)
        assert re.search(get, str(caught.value))
    assert capfd.readouterr().err == ""
