"""Comparisons of models against numbers worked out by hand, and the pictures against the numbers."""

import dataclasses
import json
import math

import numpy as np
import pytest

from kdloss.data.geometry import BoxPolicy
from kdloss.errors import ConfigError, DataError
from kdloss.evaluation import metrics, plots
from kdloss.evaluation.comparison import compare, comparison_lines, comparison_tables, distinct_labels
from kdloss.evaluation.evaluation import evaluate_predicted
from kdloss.evaluation.tables import protocol_text
from tests.evaluation.test_tables import shown

EXACT = {"rel": 0, "abs": 1e-9}
BOX = BoxPolicy.parse("gt:1.25")


def shifted(prepared, fractions, label, *, towards=(1.0, 0.0), missing="fail", **protocol):
    """An `Evaluation` whose i-th face is off by ``fractions[i]`` of its inter-ocular distance; NaN: no prediction."""
    truth = prepared.source_points[prepared.indices("test")]
    length = metrics.normaliser(truth, prepared.scheme, "interocular")
    points = truth + (np.array(fractions) * length)[:, None, None] * np.array(towards)
    return evaluate_predicted(prepared, points, label=label, missing=missing, **({"box": BOX} | protocol))


A = [0.02, 0.03, 0.04, 0.05, 0.06, 0.12, 0.12, 0.01]
B = [0.03, 0.03, 0.05, 0.04, 0.09, 0.13, 0.09, 0.11]


def test_a_pair_has_the_numbers_that_it_was_made_of(faces_300w):
    a, b = shifted(faces_300w, A, "a"), shifted(faces_300w, B, "b", towards=(0.0, 1.0))
    found = compare([b, a])
    (pair,) = found["pairs"]
    difference = np.array(A) - np.array(B)
    assert (pair["model"], pair["against"], found["reference"]) == ("a", "b", "b")
    assert (pair["n"], pair["n_found"], found["n"]) == (8, 8, 8)
    assert pair["difference"] == pytest.approx(100 * difference.mean(), **EXACT)
    assert pair["median_difference"] == pytest.approx(-1, **EXACT)
    low, high = metrics.paired_bootstrap(a.errors, b.errors, seed=0)
    assert (pair["low"], pair["high"]) == pytest.approx((100 * low, 100 * high), **EXACT)
    assert pair["settled"] is False
    assert (pair["wins"], pair["losses"], pair["ties"]) == (5, 2, 1)
    # Shifts at right angles: the predictions lie a hypotenuse apart.
    assert pair["distance"] == pytest.approx(100 * np.mean([math.hypot(*both) for both in zip(A, B, strict=True)]))
    assert pair["parts"] == pytest.approx(dict.fromkeys(faces_300w.scheme.parts, 100 * difference.mean()), **EXACT)
    assert pair["failures"] == pytest.approx({"both": 12.5, "model_only": 12.5, "against_only": 12.5})
    facts = {"n": 8, "left_out": 0, "missing": 0, "fr10": 25.0, "box": "gt:1.25", "flip_test": False}
    assert found["models"]["a"] | {"nme": None} == facts | {"nme": None, "protocol": protocol_text(a.metrics)}
    assert found["models"]["a"]["nme"] == pytest.approx(100 * np.mean(A), **EXACT)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_every_pair_the_reference_first(faces_300w):
    x, y, z = (shifted(faces_300w, np.array(A) * scale, name) for scale, name in ((1, "x"), (1.5, "y"), (2, "z")))
    found = compare([y, x, z], seed=4)
    assert [(pair["model"], pair["against"]) for pair in found["pairs"]] == [("x", "y"), ("z", "y"), ("z", "x")]
    assert found["reference"] == "y"
    expected = [100 * np.mean(A) * factor for factor in (-0.5, 0.5, 1)]
    assert [pair["difference"] for pair in found["pairs"]] == pytest.approx(expected, **EXACT)
    low, high = metrics.paired_bootstrap(z.errors, x.errors, seed=4)
    assert (found["pairs"][2]["low"], found["pairs"][2]["high"]) == pytest.approx((100 * low, 100 * high), **EXACT)
    assert all(pair["settled"] for pair in found["pairs"])
    assert compare([y, x, z], seed=4) == found


def test_each_subset_has_its_own_interval(faces_300w):
    a, b = shifted(faces_300w, A, "a"), shifted(faces_300w, B, "b")
    (pair,) = compare([b, a], seed=4)["pairs"]
    names = [name for name in ("common", "challenging") if faces_300w.table[f"subset_{name}"][a.rows].any()]
    assert names
    assert list(pair["subsets"]) == [*names, "full"]
    assert pair["subsets"]["full"] == {key: pair[key] for key in ("n", "difference", "low", "high")}
    for name in names:
        member = faces_300w.table[f"subset_{name}"][a.rows].astype(bool)
        low, high = metrics.paired_bootstrap(a.errors[member], b.errors[member], seed=4)
        difference = np.mean(a.errors[member] - b.errors[member])
        expected = {"n": member.sum(), "difference": 100 * difference, "low": 100 * low, "high": 100 * high}
        assert pair["subsets"][name] == pytest.approx(expected, **EXACT)


def test_a_face_without_prediction_loses_but_has_no_difference(faces_300w):
    nan = np.nan
    a = shifted(faces_300w, [nan, nan, 0.04, 0.05, 0.06, 0.12, 0.12, 0.01], "a")
    b = shifted(faces_300w, [nan, 0.03, nan, 0.04, 0.09, 0.13, 0.09, 0.11], "b")
    found = compare([b, a])
    (pair,) = found["pairs"]
    assert (pair["n"], pair["n_found"]) == (8, 5)
    assert (pair["wins"], pair["losses"], pair["ties"]) == (4, 3, 1)
    assert pair["difference"] == pytest.approx(100 * np.mean(np.array(A[3:]) - np.array(B[3:])), **EXACT)
    assert pair["distance"] == pytest.approx(100 * np.mean(np.abs(np.array(A[3:]) - np.array(B[3:]))), **EXACT)
    # a fails on 0, 1, 5, 6; b on 0, 2, 5, 7.
    assert pair["failures"] == pytest.approx({"both": 25.0, "model_only": 25.0, "against_only": 25.0})
    assert found["models"]["a"]["missing"] == 2
    assert found["models"]["a"]["nme"] == pytest.approx(100 * np.mean(A[2:]), **EXACT)
    assert any("2 of b, 2 of a" in note and "count as failures" in note for note in found["notes"])


def test_faces_that_one_lacks_are_left_out_and_said(faces_300w):
    skipping = [0.02, np.nan, *A[2:]]
    a, b = shifted(faces_300w, skipping, "a", missing="skip"), shifted(faces_300w, B, "b")
    assert len(a.rows) == 7
    found = compare([a, b])
    assert found["n"] == 7
    assert {label: facts["left_out"] for label, facts in found["models"].items()} == {"a": 0, "b": 1}
    kept = np.array(A)[[0, *range(2, 8)]], np.array(B)[[0, *range(2, 8)]]
    assert found["pairs"][0]["difference"] == pytest.approx(100 * np.mean(kept[1] - kept[0]), **EXACT)
    assert "only the 7 faces that every model has are compared; left out: 1 of b" in found["notes"]


def test_faces_are_matched_by_name_not_by_place(faces_300w):
    a, b = shifted(faces_300w, A, "a"), shifted(faces_300w, B, "b")
    order = np.random.default_rng(0).permutation(8)
    turned = dataclasses.replace(b, rows=b.rows[order], points=b.points[order])
    assert compare([a, turned])["pairs"] == compare([a, b])["pairs"]


def test_labels_become_distinct():
    assert distinct_labels(["a", "b", "a", "a (2)", "a"]) == ["a", "b", "a (2)", "a (2) (2)", "a (3)"]


def test_what_makes_a_comparison_doubtful_is_said(faces_300w, make_prepared):
    other = shifted(faces_300w, B, "b", box=BoxPolicy.parse("paper"), flip=True)
    notes = compare([shifted(faces_300w, A, "a"), other])["notes"]
    assert notes == [
        "8 of 689 official faces, so these numbers are of a partial set",
        "the models differ in more than weights, in crops: a gt:1.25, b paper",
        "the models differ in more than weights, in mirror test: a no, b yes",
        "bootstrap intervals of fewer than 30 faces are too narrow",
    ]
    rendered = make_prepared("cofw", synthetic=True)
    found = compare([shifted(rendered, A, "a"), shifted(rendered, B, "b")])
    assert found["notes"][-1] == "the faces are SYNTHETIC (rendered)"
    assert all("8 SYNTHETIC faces" in table.title for table in comparison_tables(found))


def test_other_faces_are_refused(faces_300w, make_prepared):
    a = shifted(faces_300w, A, "a")
    val = dataclasses.replace(a, label="v", metrics=a.metrics | {"protocol": a.metrics["protocol"] | {"split": "val"}})
    for other, words in (
        (shifted(make_prepared("cofw"), B, "b"), r"b was measured on another data set \(cofw\) than a \(300w\): "),
        (shifted(make_prepared("300w", test=8, train=21), B, "b"), "b was measured on another content hash"),
        (val, r"v was measured on another split \(val\) than a \(test\)"),
    ):
        with pytest.raises(DataError, match=f"^comparison: {words}"):
            compare([a, other])
    with pytest.raises(ConfigError, match="comparison: found 1, expected two models or more"):
        compare([a])


def test_tables_and_lines_show_what_was_found(faces_300w):
    found = compare([shifted(faces_300w, B, "b"), shifted(faces_300w, A, "a"), shifted(faces_300w, [0.2] * 8, "far")])
    pairs, parts, models = comparison_tables(found)
    low, high = (f"{found['pairs'][0][end]:+.3f}" for end in ("low", "high"))
    first, second, _ = shown(pairs)
    bounds = {"difference": "-1.500", "low": low, "high": high, "excludes zero": "no"}
    counts = {"better": "5", "worse": "2", "equal": "1", "faces": "8"}
    failures = dict.fromkeys(("both fail, %", "first fails, %", "second fails, %"), "12.50")
    assert first.items() >= ({"pair": "a against b"} | bounds | counts | failures).items()
    assert (second["pair"], second["excludes zero"]) == ("far against b", "yes")
    assert shown(parts)[2] == {"pair": "far against a"} | dict.fromkeys(faces_300w.scheme.parts, "+14.375")
    model = shown(models)[1]
    assert (model["model"], model["NME, %"]) == ("a", "5.62")
    assert model["protocol"].startswith("300-W test 8/689*, ocular, gt:1.25, ")
    for table in (pairs, parts, models):
        assert "300-W, test split, 8 real faces, normalised by interocular" in table.title
    assert set(found["notes"]) < set(pairs.notes)
    near, _ = comparison_lines(found)
    assert near.startswith(f"a against b: -1.500 NME points [{low}, {high}], the interval includes zero; ")


def test_names_of_any_length_and_with_signs_of_formulas_are_drawn_as_they_are(faces_300w):
    long = "a$^$b, a very long name of a run folder that somebody gave it in order to remember what it was about"
    a, b = shifted(faces_300w, A, long), shifted(faces_300w, B, "_mine.npz")
    figure = plots.differences_figure(compare([a, b]))
    assert plots.figure_bytes(figure, dpi=40).startswith(b"\x89PNG")  # a collapsed layout would warn
    assert figure.axes[0].get_position().width > 0.5
