"""Calibrations of detectors: measured, stored, kept in files, and right for real faces."""

import itertools
import json

import numpy as np
import pytest

from data_prep.prepare import write_prepared
from data_prep.raw import RawDataset
from data_prep.w300 import read_300w
from kdloss import calibrate as calibrate_command
from kdloss.data.datasets import DATASETS
from kdloss.data.geometry import BoxPolicy, turned_landmark_box
from kdloss.data.prepared import PreparedDataset
from kdloss.data.schemes import SCHEMES
from kdloss.errors import CheckpointError, ConfigError, DataError
from kdloss.inference.box_calibration import (
    CALIBRATIONS,
    LANDMARK_BOX,
    LEAST_FACES,
    BoxCalibration,
    calibrate,
    learnt_calibrations,
    read_calibration,
    stored_calibration,
    write_calibration,
)
from kdloss.inference.detectors import DETECTOR, DETECTORS, Detector, detector
from tests.inference.test_detectors import Scripted, scored

MEASURED = BoxCalibration(0.1, -0.25, 1.5, 7, (0.1, 0.2, 0.3))


class Centred(Detector):
    """Sees a face in the middle half of whatever it is shown, which is where stored crops hold theirs."""

    name = "centred"
    takes_model = True

    def __init__(self, model=None, **_):
        self.model_sha256 = "ab" if model is None else str(model)

    def detect(self, image):
        side = image.shape[0] / 2
        return np.array([[side / 2 - 0.5, side / 2 - 0.5, side, side, 0.0, 1.0]])


def test_it_belongs_to_a_detector_and_a_scheme():
    card = {"detector_boxes": {"lbp": MEASURED.to_json()}}
    assert stored_calibration("lbp", SCHEMES["68"], card) == CALIBRATIONS["lbp", "68"]
    assert stored_calibration("lbp", SCHEMES["29"], card) == MEASURED
    with pytest.raises(CheckpointError, match="card's detector_boxes: damaged"):
        stored_calibration("lbp", SCHEMES["29"], {"detector_boxes": {"lbp": {"dx": "far"}}})
    with pytest.raises(ConfigError, match=r"detector lbp: .*: 68; the model reads scheme 29: give"):
        stored_calibration("lbp", SCHEMES["29"])
    with pytest.raises(ConfigError, match=r"yunet: .*--dataset wflw --detector yunet --detector-model FILE --out .*"):
        stored_calibration("yunet", SCHEMES["98"])


def displaced(boxes, dx, dy, scale):
    """A detector's boxes whose calibration to square boxes (n, 4) has these numbers, one or n of each."""
    side = boxes[:, 2:4] / np.reshape(scale, (-1, 1))
    centre = boxes[:, :2] + boxes[:, 2:] / 2 - side * np.stack(np.broadcast_arrays(dx, dy), axis=-1)
    return np.concatenate([centre - side / 2, side], axis=-1)


def test_calibration_takes_out_what_all_boxes_share(random_faces):
    rows, policy = random_faces.indices("train"), BoxPolicy("gt", 1.25)
    wanted = random_faces.boxes(policy)
    detected = displaced(wanted, 0.1, -0.2, 1.5)
    found = calibrate(random_faces, rows, Scripted([[scored(detected[row])] for row in rows]), policy)
    assert (found.dx, found.dy, found.scale, *found.scatter) == pytest.approx((0.1, -0.2, 1.5, 0, 0, 0), abs=1e-9)
    assert found.apply(np.insert(detected, 4, 0.0, axis=1))[:, :4] == pytest.approx(wanted)
    assert np.isnan(found.apply([np.nan] * 5)).all()
    # Calibrated boxes are square, and keep their turn; down is where the turned box has its lower edge.
    tall = BoxCalibration(0.0, 0.5, 2.0, 1, (0, 0, 0)).apply([10.0, 20.0, 4.0, 9.0, np.pi / 2])
    assert tall == pytest.approx([12 - 3 - 6, 24.5 - 6, 12, 12, np.pi / 2])


def test_turned_faces_are_measured_as_their_turned_boxes_see_them(random_faces):
    rows, turns = np.arange(4), [0.4, -0.4, 2.0, 3.0]
    detected = []
    for row, turn in zip(rows, turns, strict=True):
        x, y, width, height, _ = LANDMARK_BOX.grow(turned_landmark_box(random_faces.points[row], turn))
        down = 0.2 * height * np.array([-np.sin(turn), np.cos(turn)])
        detected.append([x - down[0], y - down[1], width, height])
    answers = [[scored(box, turn=turn)] for box, turn in zip(detected, turns, strict=True)]
    found = calibrate(random_faces, rows, Scripted(answers), LANDMARK_BOX)
    assert (found.dx, found.dy, found.scale, *found.scatter) == pytest.approx((0, 0.2, 1, 0, 0, 0), abs=1e-5)


def test_without_found_or_training_faces_there_is_no_calibration(random_faces):
    with pytest.raises(DataError, match="scripted found none of 2 training faces"):
        calibrate(random_faces, [0, 1], Scripted([[], []]), BoxPolicy())
    with pytest.raises(DataError, match="has no training faces to calibrate the boxes of detector scripted on"):
        calibrate(random_faces, np.array([], int), Scripted([]), BoxPolicy())


def test_the_command_measures_and_keeps_it(random_faces, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(DETECTORS, "centred", Centred)
    out = tmp_path / "new" / "calibration.json"
    what = ["--dataset", "cofw", "--data", str(random_faces.path), "--detector", "centred", "--detector-model", "cd"]
    assert calibrate_command.main(["detector", *what]) == 0
    assert not out.exists()
    assert calibrate_command.main(["detector", *what, "--out", str(out)]) == 0
    measured = calibrate(random_faces, random_faces.indices("train"), Centred(), LANDMARK_BOX)
    text = capsys.readouterr().out
    assert f"scheme 29, {measured.faces} faces" in text
    assert f"dx {measured.dx:.4f} ({measured.scatter[0]:.4f})" in text
    assert text.endswith(f"wrote {out}\n")
    assert read_calibration(out, Centred("cd"), SCHEMES["29"]) == measured


def test_a_training_learns_no_boxes_where_the_detector_is_blind(random_faces, monkeypatch):
    monkeypatch.setitem(DETECTORS, DETECTOR, lambda **_: Centred())
    monkeypatch.setattr(DETECTORS[DETECTOR], "takes_model", False, raising=False)
    measured = calibrate(random_faces, random_faces.indices("train"), Centred(), LANDMARK_BOX)
    learnt = {"detector_boxes": {DETECTOR: measured.to_json()}}
    assert learnt_calibrations(random_faces) == (learnt if measured.faces >= LEAST_FACES else {})
    monkeypatch.setattr(Centred, "detect", lambda *_: [])
    assert learnt_calibrations(random_faces) == {}


def test_a_kept_calibration_is_for_its_detector_its_model_file_and_its_scheme(tmp_path):
    file = tmp_path / "kept.json"
    write_calibration(file, MEASURED, Centred(), SCHEMES["68"])
    assert read_calibration(file, Centred(), SCHEMES["68"]) == MEASURED
    for found, scheme, reason in (
        (Scripted([]), "68", "was measured with detector centred, expected scripted"),
        (Centred("cd"), "68", "was measured with detector_model_sha256 ab, expected cd"),
        (Centred(), "29", "was measured with scheme 68, expected 29: measure it: python -m .* --dataset cofw"),
    ):
        with pytest.raises(ConfigError, match=f"kept.json: {reason}"):
            read_calibration(file, found, SCHEMES[scheme])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"dy": float("nan")}, "or damaged"),
        ({"scatter": [0.1, 0.2]}, "or damaged"),
        (None, r"cannot be read \(No such file"),
    ],
)
def test_a_damaged_calibration_is_refused(tmp_path, content, reason):
    file = tmp_path / "kept.json"
    if isinstance(content, dict):
        write_calibration(file, MEASURED, Centred(), SCHEMES["68"])
        content = json.dumps(json.loads(file.read_text()) | content).encode()
    if content:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"kept.json: .*{reason}[^\n]*: measure it: python -m[^\n]*$"):
        read_calibration(file, Centred(), SCHEMES["68"])


@pytest.mark.parametrize("name", ["blazeface", "lbp"])
def test_real_faces_lie_as_stored(raw_300w, tmp_path, name):
    raw = read_300w(raw_300w)
    some = RawDataset(raw.scheme, list(itertools.islice(raw.entries, 60)))
    write_prepared(some, DATASETS["300w"], tmp_path / "300w", source="300-W")
    measured = calibrate(PreparedDataset(tmp_path / "300w"), np.arange(60), detector(name), LANDMARK_BOX)
    stored = stored_calibration(name, SCHEMES["68"])
    assert (measured.dx, measured.dy) == pytest.approx((stored.dx, stored.dy), abs=0.03)
    assert measured.scale == pytest.approx(stored.scale, rel=0.05)
    assert measured.scatter == pytest.approx(stored.scatter, abs=0.08)
    assert measured.faces >= 45
