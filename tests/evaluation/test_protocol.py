"""metrics.json: its keys, its numbers on constructed errors, and what it says of sets that are not whole."""

import json

import numpy as np
import pytest

from kdloss.data.geometry import BoxPolicy, FaceCrop, invert, transform_points
from kdloss.evaluation import metrics
from kdloss.evaluation.evaluation import mean_shape_predictions
from kdloss.evaluation.protocol import evaluate_points

VALUES = {"nme_interocular", "nme_interpupil", "nme_box", "fr10", "fr08", "auc10", "auc08"}


def shifted(prepared, fractions, *, rows=None, absent=(), points=slice(None), **protocol):
    """Measures test faces whose points are off by these fractions of the inter-ocular distance, in many directions."""
    rows = prepared.indices("test") if rows is None else rows
    predictions = prepared.source_points[rows].copy()
    length = metrics.normaliser(predictions, prepared.scheme, "interocular")
    angle = np.linspace(0, 6, len(rows))
    step = (np.asarray(fractions) * length)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    predictions[:, points] += step[:, None]
    predictions[list(absent)] = np.nan
    return evaluate_points(prepared, rows, predictions, **{"split": "test"} | protocol)


def test_numbers_keys_and_protocol(faces_300w):
    fractions = [0.01, 0.02, 0.03, 0.04, 0.05, 0.085, 0.095, 0.2]
    checkpoint = {"path": "best.keras", "sha256": "0123"}
    found = shifted(faces_300w, fractions, box=BoxPolicy.parse("gt:1.3"), checkpoint=checkpoint)
    full = found["subsets"]["full"]
    assert set(full) == VALUES | {"n", "official_n", "complete"}
    assert full["nme_interocular"] == pytest.approx(100 * np.mean(fractions), abs=1e-9)
    assert (full["fr10"], full["fr08"]) == pytest.approx((100 / 8, 300 / 8), abs=1e-9)
    assert full["auc10"] == pytest.approx(1 - np.mean(np.minimum(fractions, 0.1)) / 0.1, abs=1e-9)
    assert full["auc08"] == pytest.approx(1 - np.mean(np.minimum(fractions, 0.08)) / 0.08, abs=1e-9)
    truth = faces_300w.source_points[faces_300w.indices("test")]
    distance = np.array(fractions) * metrics.normaliser(truth, faces_300w.scheme, "interocular")
    for kind in ("interpupil", "box"):
        errors = distance / metrics.normaliser(truth, faces_300w.scheme, kind)
        assert full[f"nme_{kind}"] == pytest.approx(100 * errors.mean(), abs=1e-9)
        assert abs(full[f"nme_{kind}"] - full["nme_interocular"]) > 0.01
    assert found["dataset"] == "300w"
    expected = {"split": "test", "normaliser": "interocular", "box": "gt:1.3", "box_source": "gt", "box_scale": 1.3}
    expected |= {"thresholds": [0.10, 0.08], "flip_test": False, "occluded_points": "counted", "synthetic": False}
    expected |= {"n": 8, "official_n": 689, "complete": False, "checkpoint": checkpoint}
    assert {key: found["protocol"][key] for key in expected} == expected
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_partial_and_absent_subsets_are_said(faces_300w):
    found = shifted(faces_300w, [0] * 8)
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
    subsets = shifted(prepared, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])["subsets"]
    nme = {name: values["nme_interocular"] for name, values in subsets.items() if values["n"]}
    assert nme == pytest.approx({"pose": 15, "blur": 30, "full": 35}, abs=1e-9)
    # Any choice and order of rows: the subsets follow.
    some = shifted(prepared, [0.6, 0.1], rows=prepared.indices("test")[[5, 0]])["subsets"]
    assert (some["pose"]["n"], some["pose"]["nme_interocular"]) == pytest.approx((1, 10), abs=1e-9)


def test_a_whole_set_is_complete_and_a_rendered_one_is_not(make_prepared):
    real, rendered = (
        shifted(make_prepared("cofw", test=507, train=2, synthetic=synthetic), [0] * 507) for synthetic in (False, True)
    )
    assert real["subsets"]["full"]["complete"] is True
    assert real["notes"] == []
    assert rendered["subsets"]["full"]["complete"] is False
    assert rendered["protocol"]["synthetic"] is True
    assert "SYNTHETIC" in rendered["notes"][0]


def test_parts_and_points(faces_300w):
    found = shifted(faces_300w, [0.05] * 8, points=slice(17))
    assert list(found["points"]) == list(faces_300w.scheme.names)
    assert list(found["points"].values()) == pytest.approx([5] * 17 + [0] * 51, abs=1e-9)
    assert found["parts"] == pytest.approx({"jaw": 5, "brows": 0, "nose": 0, "eyes": 0, "mouth": 0}, abs=1e-9)
    assert found["subsets"]["full"]["nme_interocular"] == pytest.approx(5 * 17 / 68, abs=1e-9)


def test_occluded_points_and_faces_by_occlusion(make_prepared):
    # Face i of 6 has 3 i of 29 points occluded: 0, 3 (10.3 %), 6 (20.7 %), 9 (31.0 %), 12, 15.
    prepared = make_prepared("cofw", test=6, occluded=3)
    rows = prepared.indices("test")
    predictions = prepared.source_points[rows].copy()
    length = metrics.normaliser(predictions, prepared.scheme, "interocular")
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
    found = shifted(faces_300w, [0.04] * 5 + [0.2] * 3, absent=(6, 7), missing=missing)
    full = found["subsets"]["full"]
    assert full["n"] == n
    assert full["nme_interocular"] == pytest.approx(100 * (5 * 0.04 + 0.2) / 6, abs=1e-9)
    assert (full["fr10"], full["auc10"]) == pytest.approx((fr10, auc10), abs=1e-9)
    assert found["protocol"]["missing"] == {"n": 2, "counted": counted}
    assert found["notes"][0].startswith("2 faces without prediction")
    assert np.mean(list(found["points"].values())) == pytest.approx(full["nme_interocular"], abs=1e-9)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_validation_faces_have_no_official_count(faces_300w):
    rows = faces_300w.indices("val")
    found = shifted(faces_300w, [0] * len(rows), rows=rows, split="val")
    assert list(found["subsets"]) == ["full"]
    assert found["subsets"]["full"]["official_n"] is None
    assert found["protocol"]["complete"] is None


@pytest.mark.parametrize("text", ["gt:1.25", "paper", "dataset:1.1"])
def test_mean_shape_is_the_same_in_every_box(faces_300w, text):
    policy = BoxPolicy.parse(text)
    rows, train, boxes = faces_300w.indices("test"), faces_300w.indices("train"), faces_300w.boxes(policy)

    def unit(row, source):
        crop = transform_points(invert(faces_300w.to_image[row]), source)
        return FaceCrop.from_box(boxes[row], 32).unit_points(crop)

    expected = np.mean([unit(row, faces_300w.source_points[row]) for row in train], axis=0)
    for row, face in zip(rows, mean_shape_predictions(faces_300w, rows, policy), strict=True):
        assert unit(row, face) == pytest.approx(expected, abs=1e-9)
