"""Stored calibrations of detectors: found by detector and scheme, measured anew, and right for real faces."""

import itertools

import numpy as np
import pytest

from data_prep.face import RawDataset
from data_prep.w300 import read_300w
from data_prep.writer import write_prepared
from kdloss.datasets import DATASETS
from kdloss.detector_calibration import CALIBRATIONS, LANDMARK_BOX, main, stored_calibration
from kdloss.detectors import DETECTORS, Detector, calibrate, detector
from kdloss.errors import ConfigError
from kdloss.geometry import BoxPolicy
from kdloss.prepared import PreparedDataset
from kdloss.schemes import SCHEMES


class Centred(Detector):
    """Sees a face in the middle half of whatever it is shown, which is where stored crops hold theirs."""

    name = "centred"

    def detect(self, image):
        side = image.shape[0] / 2
        return np.array([[side / 2 - 0.5, side / 2 - 0.5, side, side, 1.0]])


def test_it_belongs_to_a_detector_and_a_scheme():
    assert stored_calibration("lbp", SCHEMES["68"]) == CALIBRATIONS["lbp", "68"]
    with pytest.raises(ConfigError, match=r"detector lbp: .*: 68; the model reads scheme 29: give"):
        stored_calibration("lbp", SCHEMES["29"])
    with pytest.raises(ConfigError, match=r"detector centred: .*: none; the model reads scheme 68"):
        stored_calibration("centred", SCHEMES["68"])


def test_landmark_boxes_grow_to_the_boxes_of_training(faces):
    wanted, rows = BoxPolicy("gt", 1.25), faces.indices("train")
    direct, by_landmarks = (calibrate(faces, rows, Centred(), policy) for policy in (wanted, LANDMARK_BOX))
    boxes = np.array([[3.0, 4.0, 20.0, 20.0], [0.0, -5.0, 7.0, 7.0]])
    assert wanted.grow(by_landmarks.apply(boxes)) == pytest.approx(direct.apply(boxes))


def test_the_command_measures_it(faces, monkeypatch, capsys):
    monkeypatch.setitem(DETECTORS, "centred", Centred)
    assert main(["--dataset", "cofw", "--data", str(faces.path), "--detector", "centred"]) == 0
    measured = calibrate(faces, faces.indices("train"), Centred(), LANDMARK_BOX)
    assert capsys.readouterr().out.endswith(f'("centred", "{faces.scheme.name}"): {measured}\n')


def test_real_faces_lie_as_stored(raw_300w, tmp_path):
    pytest.importorskip("skimage")
    raw = read_300w(raw_300w)
    some = RawDataset(raw.scheme, 60, itertools.islice(raw.entries, 60))
    write_prepared(some, DATASETS["300w"], tmp_path / "300w", source="300-W")
    measured = calibrate(PreparedDataset(tmp_path / "300w"), np.arange(60), detector("lbp"), LANDMARK_BOX)
    stored = stored_calibration("lbp", SCHEMES["68"])
    assert (measured.dx, measured.dy) == pytest.approx((stored.dx, stored.dy), abs=0.03)
    assert measured.scale == pytest.approx(stored.scale, rel=0.05)
