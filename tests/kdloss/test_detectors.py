"""Detectors: overlaps, which detection counts, calibration, and the cascade on a photograph."""

import itertools
import sys

import numpy as np
import pytest

from data_prep.face import RawDataset
from data_prep.w300 import read_300w
from data_prep.writer import write_prepared
from kdloss.datasets import DATASETS
from kdloss.detectors import BoxCalibration, Detector, box_iou, calibrate, detected_boxes, detector
from kdloss.errors import ConfigError, DataError
from kdloss.geometry import BoxPolicy, landmark_box
from kdloss.prepared import PreparedDataset


class Scripted(Detector):
    """Gives the detections of a list, one call after another."""

    name = "scripted"

    def __init__(self, answers):
        self.answers = iter(answers)

    def detect(self, image):
        return np.reshape(next(self.answers), (-1, 5))


def scored(box, score=1.0):
    return [*box, score]


def test_overlap_of_boxes():
    a = np.array([0.0, 0.0, 4.0, 2.0])
    others = np.array([[0, 0, 4, 2], [2, 0, 4, 2], [1, 0, 2, 2], [4, 0, 4, 2], [9, 9, 1, 1]])
    assert box_iou(a, others) == pytest.approx([1, 1 / 3, 1 / 2, 0, 0])
    assert box_iou(others[:, None], others) == pytest.approx(box_iou(others[:, None], others).T)


def test_the_detection_that_fits_best_counts_whatever_its_score(faces):
    rows = np.arange(4)
    truth = landmark_box(faces.points[rows]).astype(np.float64)
    near = truth + [0.05, 0.05, 0.1, 0.0] * truth[:, 2:3]
    # Half of a box overlaps it by 0.5, a quarter by 0.25, which is less than is asked for.
    half, quarter = truth * [1, 1, 0.5, 1], truth * [1, 1, 0.25, 1]
    answers = [[scored(half[0], 9), scored(near[0], 1)], [], [scored(quarter[2])], [scored(half[3])]]
    lines = []
    boxes, found = detected_boxes(faces, rows, Scripted(answers), lines.append)
    assert found.tolist() == [True, False, False, True]
    assert boxes[found] == pytest.approx(np.stack([near[0], half[3]]))
    assert np.isnan(boxes[~found]).all()
    assert lines == ["detector scripted: 4 of 4 faces, 2 found"]


def test_calibration_takes_out_what_all_boxes_share(faces):
    rows, policy = faces.indices("train"), BoxPolicy("gt", 1.25)
    wanted = faces.boxes(policy)
    shared = BoxCalibration(dx=0.1, dy=-0.2, scale=1.5, faces=len(rows))
    side = wanted[:, 2:] / 1.5
    centre = wanted[:, :2] + wanted[:, 2:] / 2 - side * [0.1, -0.2]
    given = np.concatenate([centre - side / 2, side], axis=-1)
    found = calibrate(faces, rows, Scripted([[scored(given[row])] for row in rows]), policy)
    assert (found.dx, found.dy, found.scale) == pytest.approx((0.1, -0.2, 1.5), abs=1e-9)
    assert found.faces == len(rows)
    assert shared.apply(given) == pytest.approx(wanted)
    assert np.isnan(shared.apply([np.nan] * 4)).all()


def test_calibrated_boxes_are_square():
    tall = BoxCalibration(0.0, 0.5, 2.0, 1).apply([10.0, 20.0, 4.0, 9.0])
    assert tall == pytest.approx([12 - 6, 24.5 + 3 - 6, 12, 12])


def test_calibration_takes_training_faces_at_even_distances(faces):
    seen = []

    class Watching(Detector):
        name = "watching"

        def detect(self, image):
            row = next(i for i in range(len(faces)) if np.array_equal(faces.faces[i], image))
            seen.append(row)
            return np.array([scored(landmark_box(faces.points[row]))])

    found = calibrate(faces, np.arange(9), Watching(), BoxPolicy(), limit=3)
    assert seen == [0, 4, 8]
    assert found.faces == 3


def test_a_detector_that_finds_nothing_cannot_be_calibrated(faces):
    with pytest.raises(DataError, match="scripted found none of 2 training faces"):
        calibrate(faces, [0, 1], Scripted([[], []]), BoxPolicy())


def test_without_training_faces_the_detector_is_not_blamed(faces):
    with pytest.raises(
        DataError, match="has no training faces to calibrate the boxes of detector scripted on"
    ) as caught:
        calibrate(faces, np.array([], int), Scripted([]), BoxPolicy())
    assert "another detector" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_detector_is_named():
    with pytest.raises(ConfigError, match="detector viola: expected one of lbp"):
        detector("viola")


def test_without_scikit_image_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(ConfigError, match="pip install scikit-image"):
        detector("lbp")


@pytest.fixture(scope="module")
def lbp():
    pytest.importorskip("skimage")
    return detector("lbp")


def test_the_cascade_finds_the_face_of_a_photograph(lbp):
    from skimage.data import astronaut

    # Cut as stored crops are: the cascade searches for no small faces.
    crop = astronaut()[20:240, 110:330]
    found = lbp.detect(crop)
    assert lbp.name == "lbp"
    assert found.shape[1] == 5
    assert np.all(np.diff(found[:, 4]) <= 0)
    assert box_iou(found[0, :4], [60, 50, 110, 110]) > 0.6
    assert found[0, 4] >= 5
    assert np.array_equal(found, detector("lbp").detect(crop))


def test_the_cascade_finds_nothing_where_nothing_is(lbp):
    for shape in ((64, 64, 3), (10, 300, 3)):
        assert lbp.detect(np.full(shape, 128, np.uint8)).shape == (0, 5)


def test_windows_are_grouped_and_counted(lbp):
    windows = np.array([[10, 10, 20, 20], [12, 10, 20, 20], [50, 50, 30, 30], [11, 10, 20, 20.0]])
    expected = [[11, 10, 20, 20, 3], [50, 50, 30, 30, 1]]
    for order in ([0, 1, 2, 3], [2, 3, 1, 0]):
        assert lbp._group(windows[order]).tolist() == expected


def test_most_real_faces_are_found(lbp, raw_300w, tmp_path):
    raw = read_300w(raw_300w)
    some = RawDataset(raw.scheme, 40, itertools.islice(raw.entries, 40))
    write_prepared(some, DATASETS["300w"], tmp_path / "300w", source="300-W")
    prepared = PreparedDataset(tmp_path / "300w")
    boxes, found = detected_boxes(prepared, np.arange(40), lbp)
    assert found.sum() >= 30
    # The cascade's box begins above the brows and ends at the chin.
    below = boxes[found, 1] + boxes[found, 3] / 2 - landmark_box(prepared.points[found]) @ [0, 1, 0, 0.5]
    assert np.mean(below < 0) > 0.9
