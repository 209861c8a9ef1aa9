"""metrics.json: its keys, its numbers on constructed errors, and what it says of sets that are not whole."""

import json

import numpy as np
import pytest

from kdloss.data.geometry import BoxPolicy, FaceCrop
from kdloss.errors import DataError
from kdloss.evaluation import metrics
from kdloss.evaluation.evaluation import mean_shape_predictions
from kdloss.evaluation.protocol import evaluate_points

VALUES = {"nme_interocular", "nme_interpupil", "nme_box", "fr10", "fr08", "auc10", "auc08"}


def shifted(prepared, rows, fractions):
    """Predictions whose error is exactly the given fraction of each face's inter-ocular distance."""
    truth = prepared.source_points[rows]
    length = metrics.normaliser(truth, prepared.scheme, "interocular")
    angle = np.linspace(0, 6, len(rows))
    step = (np.asarray(fractions) * length)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return truth + step[:, None, :]


def test_numbers_keys_and_protocol(faces_300w):
    rows = faces_300w.indices("test")
    fractions = [0.01, 0.02, 0.03, 0.04, 0.05, 0.085, 0.095, 0.2]
    box = BoxPolicy.parse("gt:1.3")
    checkpoint = {"path": "best.keras", "sha256": "0123"}
    predictions = shifted(faces_300w, rows, fractions)
    found = evaluate_points(faces_300w, rows, predictions, split="test", box=box, checkpoint=checkpoint)
    full = found["subsets"]["full"]
    assert set(full) == VALUES | {"n", "official_n", "complete"}
    assert full["nme_interocular"] == pytest.approx(100 * np.mean(fractions), abs=1e-9)
    assert full["fr10"] == pytest.approx(100 / 8, abs=1e-9)
    assert full["fr08"] == pytest.approx(300 / 8, abs=1e-9)
    assert full["auc10"] == pytest.approx(1 - np.mean(np.minimum(fractions, 0.1)) / 0.1, abs=1e-9)
    assert full["auc08"] == pytest.approx(1 - np.mean(np.minimum(fractions, 0.08)) / 0.08, abs=1e-9)
    for kind in ("interpupil", "box"):
        errors = metrics.image_errors(predictions, faces_300w.source_points[rows], faces_300w.scheme, kind)
        assert full[f"nme_{kind}"] == pytest.approx(100 * errors.mean(), abs=1e-9)
        assert abs(full[f"nme_{kind}"] - full["nme_interocular"]) > 0.01
    assert found["dataset"] == "300w"
    expected = {"split": "test", "normaliser": "interocular", "box": "gt:1.3", "box_source": "gt", "box_scale": 1.3}
    expected |= {"thresholds": [0.10, 0.08], "flip_test": False, "occluded_points": "counted", "synthetic": False}
    expected |= {"n": 8, "official_n": 689, "complete": False, "checkpoint": checkpoint}
    assert {key: found["protocol"][key] for key in expected} == expected
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_partial_and_absent_subsets_are_said(faces_300w):
    rows = faces_300w.indices("test")
    found = evaluate_points(faces_300w, rows, faces_300w.source_points[rows], split="test")
    assert list(found["subsets"]) == ["common", "challenging", "full"]
    assert found["subsets"]["challenging"] == {"n": 0, "official_n": 135, "complete": False} | dict.fromkeys(VALUES)
    assert found["notes"] == [
        "common: 8 of 554 official faces, so its numbers are of a partial set",
        "challenging: 0 of 135 official faces, absent",
        "full: 8 of 689 official faces, so its numbers are of a partial set",
    ]
    assert found["protocol"]["box"] == "not stated"
    assert found["protocol"]["missing"] == {"n": 0, "counted": "none missing"}
    assert found["visibility"] is None
    assert found["subsets"]["full"]["nme_interocular"] == 0


def test_subsets_hold_their_own_faces(make_prepared):
    prepared = make_prepared("wflw", test=6, subsets=lambda i: ("pose", "blur") if i < 2 else ("blur",) * (i == 5))
    rows = prepared.indices("test")
    found = evaluate_points(prepared, rows, shifted(prepared, rows, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), split="test")
    nme = {name: values["nme_interocular"] for name, values in found["subsets"].items() if values["n"]}
    assert nme == pytest.approx({"pose": 15, "blur": 30, "full": 35}, abs=1e-9)
    # Any choice and order of rows: the subsets follow.
    some = evaluate_points(prepared, rows[[5, 0]], shifted(prepared, rows[[5, 0]], [0.6, 0.1]), split="test")
    assert some["subsets"]["pose"]["nme_interocular"] == pytest.approx(10, abs=1e-9)
    assert some["subsets"]["pose"]["n"] == 1


def test_a_whole_set_is_complete_and_a_rendered_one_is_not(make_prepared):
    def evaluate(**options):
        prepared = make_prepared("cofw", test=507, train=2, **options)
        rows = prepared.indices("test")
        return evaluate_points(prepared, rows, prepared.source_points[rows], split="test")

    real, rendered = evaluate(), evaluate(synthetic=True)
    assert real["subsets"]["full"]["complete"] is True
    assert real["notes"] == []
    assert rendered["subsets"]["full"]["complete"] is False
    assert rendered["protocol"]["synthetic"] is True
    assert "SYNTHETIC" in rendered["notes"][0]


def test_parts_and_points(faces_300w):
    rows = faces_300w.indices("test")
    predictions = faces_300w.source_points[rows].copy()
    length = metrics.normaliser(predictions, faces_300w.scheme, "interocular")
    predictions[:, 0:17, 1] += 0.05 * length[:, None]
    found = evaluate_points(faces_300w, rows, predictions, split="test")
    assert list(found["points"]) == list(faces_300w.scheme.names)
    assert list(found["points"].values()) == pytest.approx([5] * 17 + [0] * 51, abs=1e-9)
    assert found["parts"] == pytest.approx({"jaw": 5, "brows": 0, "nose": 0, "eyes": 0, "mouth": 0}, abs=1e-9)
    assert found["subsets"]["full"]["nme_interocular"] == pytest.approx(5 * 17 / 68, abs=1e-9)


def test_occluded_points_and_faces_by_occlusion(make_prepared):
    # Face i of 6 has 3 i of 29 points occluded: 0, 3 (10.3 %), 6 (20.7 %), 9 (31.0 %), 12, 15.
    prepared = make_prepared("cofw", test=6, occluded=3)
    rows = prepared.indices("test")
    truth = prepared.source_points[rows]
    length = metrics.normaliser(truth, prepared.scheme, "interocular")
    predictions = truth.copy()
    predictions[..., 1] += np.where(prepared.occluded[rows], 0.05, 0.02) * length[:, None]
    found = evaluate_points(prepared, rows, predictions, split="test")
    assert found["visibility"] == pytest.approx({"visible": 2, "occluded": 5}, abs=1e-9)
    subsets = found["subsets"]
    counts = {"occluded <10%": 1, "occluded 10-30%": 2, "occluded >30%": 3, "full": 6}
    assert {name: values["n"] for name, values in subsets.items()} == counts
    assert subsets["occluded <10%"]["nme_interocular"] == pytest.approx(2, abs=1e-9)
    expected = np.mean([2 + 3 * share / 29 for share in (9, 12, 15)])
    assert subsets["occluded >30%"]["nme_interocular"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("missing", "n", "fr10", "auc10", "counted"), [
    ("skip", 6, 100 / 6, (5 * 0.6 + 0) / 6, "left out"),
    ("fail", 8, 300 / 8, (5 * 0.6 + 0) / 8, "as failures"),
])  # fmt: skip
def test_missing_faces(faces_300w, missing, n, fr10, auc10, counted):
    rows = faces_300w.indices("test")
    predictions = shifted(faces_300w, rows, [0.04] * 5 + [0.2] * 3)
    predictions[[6, 7]] = np.nan
    found = evaluate_points(faces_300w, rows, predictions, split="test", missing=missing)
    full = found["subsets"]["full"]
    assert full["n"] == n
    assert full["nme_interocular"] == pytest.approx(100 * (5 * 0.04 + 0.2) / 6, abs=1e-9)
    assert full["fr10"] == pytest.approx(fr10, abs=1e-9)
    assert full["auc10"] == pytest.approx(auc10, abs=1e-9)
    assert found["protocol"]["missing"] == {"n": 2, "counted": counted}
    assert found["notes"][0].startswith("2 faces without prediction")
    assert np.mean(list(found["points"].values())) == pytest.approx(full["nme_interocular"], abs=1e-9)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_subset_of_missing_faces_alone_fails_without_an_nme(make_prepared):
    prepared = make_prepared("300w", subsets=lambda i: ("challenging" if i == 3 else "common",))
    rows = prepared.indices("test")
    predictions = prepared.source_points[rows]
    predictions[3] = np.nan
    found = evaluate_points(prepared, rows, predictions, split="test", missing="fail")["subsets"]["challenging"]
    assert (found["n"], found["nme_interocular"], found["fr10"], found["auc10"]) == (1, None, 100, 0)
    found = evaluate_points(prepared, rows, predictions, split="test", missing="skip")["subsets"]["challenging"]
    assert found["n"] == 0
    assert found["fr10"] is None


def test_validation_faces_have_no_official_count(faces_300w):
    rows = faces_300w.indices("val")
    found = evaluate_points(faces_300w, rows, faces_300w.source_points[rows], split="val")
    assert list(found["subsets"]) == ["full"]
    assert found["subsets"]["full"]["official_n"] is None
    assert found["protocol"]["complete"] is None


def test_bad_predictions(faces_300w):
    rows = faces_300w.indices("test")
    good = faces_300w.source_points[rows]
    with pytest.raises(DataError, match=r"found shape \(8, 67, 2\), expected \(8, 68, 2\)"):
        evaluate_points(faces_300w, rows, good[:, :67], split="test")
    bad = good.copy()
    bad[3, 5, 1] = np.nan
    with pytest.raises(DataError, match="1 of 8 faces hold NaN"):
        evaluate_points(faces_300w, rows, bad, split="test")


@pytest.mark.parametrize("text", ["gt:1.25", "paper", "dataset:1.1"])
def test_mean_shape_is_the_same_in_every_box(faces_300w, text):
    policy = BoxPolicy.parse(text)
    rows = faces_300w.indices("test")
    points = mean_shape_predictions(faces_300w, rows, policy)
    boxes = faces_300w.boxes(policy)

    def unit(row, source):
        matrix = faces_300w.to_image[row]
        crop = (source - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
        return FaceCrop.from_box(boxes[row], 32).unit_points(crop)

    train = faces_300w.indices("train")
    expected = np.mean([unit(row, faces_300w.source_points[row]) for row in train], axis=0)
    for row, face in zip(rows, points, strict=True):
        assert unit(row, face) == pytest.approx(expected, abs=1e-9)
