"""What a detector costs a model: the same faces in its boxes, calibrated or as they come, and in the model's own."""

import json

import numpy as np
import pytest

from kdloss import evaluate
from kdloss.data.geometry import BoxPolicy, FaceCrop, landmark_box
from kdloss.evaluation.detector_boxes import (
    detect_faces,
    detector_line,
    detector_record,
    evaluate_beside,
)
from kdloss.evaluation.evaluation import LoadedModel, evaluate_loaded
from kdloss.inference.detectors import DETECTORS, Detector
from tests.evaluation.conftest import FixedPoints

BOX = BoxPolicy("gt", 1.25)
SHIPPED = "mobilenetv2-300w"  # the command tells the size of the file of a network


class Half(Detector):
    """Sees boxes of half the side of the true landmark boxes and off by a tenth, and not the faces in ``blind``."""

    name = "half"

    def __init__(self, prepared, blind=()):
        self.prepared, self.blind = prepared, blind

    def detect(self, image):
        row = next(i for i in range(len(self.prepared)) if np.array_equal(self.prepared.faces[i], image))
        if row in self.blind:
            return np.empty((0, 6))
        x, y, width, height = BoxPolicy("gt", 1.0).grow(landmark_box(self.prepared.points[row].astype(np.float64)))
        side = width * 0.7
        return np.array([[x + 0.15 * width + 0.1 * side, y + 0.15 * height, side, side, 0.0, 1.0]])


@pytest.fixture
def loaded():
    """A network of points in the middle half of its crop, whatever that shows."""
    unit = np.random.default_rng(3).uniform(-0.25, 0.25, (68, 2))
    return LoadedModel(FixedPoints(unit), BOX, "middle", {"path": SHIPPED, "sha256": None})


def test_a_shared_difference_costs_nothing_once_calibrated(faces_300w, loaded):
    rows = faces_300w.indices("test")
    faces = detect_faces(faces_300w, rows, Half(faces_300w, blind=rows[:2]), BOX)
    assert faces.found.tolist() == [False, False, *[True] * 6]
    assert faces.calibrated[2:, :4] == pytest.approx(faces_300w.boxes(BOX)[rows[2:]], abs=1e-3)

    main = evaluate_loaded(faces_300w, loaded, boxes=faces.calibrated, detector="half", missing="skip")
    again, own = evaluate_beside(main, faces, split="test")
    usual = evaluate_loaded(faces_300w, loaded)
    assert main.rows.tolist() == own.rows.tolist()
    assert main.errors == pytest.approx(usual.errors[2:], abs=1e-5)
    assert own.errors == pytest.approx(usual.errors[2:], abs=1e-9)
    assert [one.metrics["protocol"]["box"] for one in (main, own)] == ["half as gt:1.25", "gt:1.25"]

    record = detector_record(faces, main, [again, own])
    assert record["nme"]["policy"] == pytest.approx(own.metrics["subsets"]["full"]["nme_interocular"])
    assert record["median"]["again"] == pytest.approx(100 * np.median(again.errors))
    assert record["calibration"] == faces.calibration.to_json()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    line = detector_line(record)
    assert line.startswith("Detector half: 6 of 8 faces found, 2 missed; interocular NME of those found ")


def test_the_command_prints_and_records_it(faces_300w, loaded, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(DETECTORS, "half", lambda **_: Half(faces_300w, blind=faces_300w.indices("test")[:1]))
    monkeypatch.setattr(DETECTORS["half"], "takes_model", False, raising=False)
    monkeypatch.setattr(evaluate, "check_checkpoint", lambda *_: loaded.box)
    monkeypatch.setattr(evaluate, "load_checkpoint", lambda *_: loaded)
    what = ["--dataset", "300w", "--data", str(faces_300w.path), "--checkpoint", "any", "--out", str(tmp_path)]
    assert evaluate.main([*what, "--detector", "half", "--report"]) == 0
    found = json.loads((tmp_path / "metrics.json").read_text())
    text = capsys.readouterr().out
    line = detector_line(found["detector"])
    assert "7 of 8 faces found, 1 missed" in line
    for said in ("Detector half: 7 of 8 faces found", "the same faces in gt:1.25"):
        assert said in text
    assert "7 of 8 faces found, 1 missed" in (tmp_path / "report.html").read_text()
    assert found["subsets"]["full"]["nme_interocular"] == pytest.approx(found["detector"]["nme"]["calibrated"])
    # A model in its own boxes has none of it.
    assert evaluate.main(what) == 0
    assert "detector" not in json.loads((tmp_path / "metrics.json").read_text())


@pytest.mark.parametrize(("reach", "moves"), [(0.4, True), (0.2, False)])
def test_faces_are_read_once_more_around_the_landmarks_found(faces_300w, loaded, reach, moves):
    """Unless those are so far off that the box around them is of something else."""
    loaded.model.unit = np.random.default_rng(3).uniform(-reach, reach, loaded.model.unit.shape).astype(np.float32)
    faces = detect_faces(faces_300w, faces_300w.indices("test"), Half(faces_300w), BOX)
    main = evaluate_loaded(faces_300w, loaded, boxes=faces.calibrated, detector="half")
    again = evaluate_beside(main, faces)[0]
    assert np.allclose(again.points, main.points) != moves
    if moves:
        crops = [FaceCrop.from_box(box, 32) for box in faces.calibrated]
        boxes = np.stack([BOX.grow(landmark_box(crop.inverse_unit(loaded.model.unit))) for crop in crops])
        expected = evaluate_loaded(faces_300w, loaded, boxes=boxes)
        assert again.points == pytest.approx(expected.points, abs=1e-2)
