"""Predictions files: round trips, and one clear line for each thing that can be wrong with them."""

import numpy as np
import pytest

from kdloss.errors import DataError
from kdloss.evaluation.predictions import load_predictions, save_predictions


@pytest.fixture
def good(faces_300w):
    rows = faces_300w.indices("test")
    truth = faces_300w.source_points[rows]
    return {"names": faces_300w.table["name"][rows], "points": truth + 2.5, "truth": truth}


def test_round_trip_in_any_order(faces_300w, good, tmp_path):
    rows = faces_300w.indices("test")
    order = np.random.default_rng(0).permutation(len(rows))
    path = tmp_path / "new folder" / "mine.npz"
    save_predictions(path, *(good[key][order] for key in ("names", "points", "truth")))
    points, unused = load_predictions(path, faces_300w, rows)
    assert np.array_equal(points, good["points"])
    assert unused == 0
    fewer, unused = load_predictions(path, faces_300w, rows[::2])
    assert np.array_equal(fewer, good["points"][::2])
    assert unused == 4
    assert [file.name for file in path.parent.iterdir()] == ["mine.npz"]


def test_truth_is_optional(faces_300w, good, tmp_path):
    np.savez(tmp_path / "mine.npz", names=good["names"], points=good["points"].astype(np.float32))
    points, _ = load_predictions(tmp_path / "mine.npz", faces_300w, faces_300w.indices("test"))
    assert points == pytest.approx(good["points"], abs=1e-4)


def drop(arrays, keep):
    return {key: values[keep] for key, values in arrays.items()}


def with_nan(arrays):
    points = arrays["points"].copy()
    points[2, 0, 0] = np.nan
    return arrays | {"points": points}


BAD = {
    "wrong N": (lambda a: a | {"points": a["points"][:, :67]}, "67 points a face, 300w has 68"),
    "missing": (lambda a: drop(a, slice(0, 6)), r"2 of 8 faces are missing \(the first: test/face 6.png\)"),
    "duplicated": (lambda a: drop(a, [0, 1, 2, 3, 4, 5, 6, 7, 3]), r"come twice \(the first: test/face 3.png\)"),
    "NaN": (with_nan, r"1 faces hold NaN or infinite points \(the first: test/face 2.png\)"),
    "other set": (lambda a: a | {"names": np.array([f"cofw/{i}" for i in range(8)])}, r"cofw/0, \.\.\..*another set"),
    "1-based": (lambda a: a | {"truth": a["truth"] + 1}, r"truth is 1.4 px off for 8 of 8 faces.*1-based"),
    "truth shape": (lambda a: a | {"truth": a["truth"][:, :5]}, r"truth has shape \(8, 5, 2\)"),
    "lengths differ": (lambda a: a | {"points": a["points"][:7]}, r"8 names and points \(7, 68, 2\)"),
    "flat points": (lambda a: a | {"points": a["points"].reshape(8, -1)}, r"expected points \(n, N, 2\)"),
    "no names": (lambda a: {"points": a["points"]}, r"no names in it \(found: points\)"),
    "empty": (lambda a: {}, "no names and no points in it"),
    "objects": (lambda a: a | {"points": np.array([{}], dtype=object)}, "plain arrays"),
    "text points": (lambda a: a | {"points": np.array(["x"] * 8)}, "plain arrays"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case, faces_300w, good, tmp_path):
    change, message = BAD[case]
    np.savez(tmp_path / "mine.npz", **change(good))
    with pytest.raises(DataError, match=message) as caught:
        load_predictions(tmp_path / "mine.npz", faces_300w, faces_300w.indices("test"))
    assert str(caught.value).startswith(str(tmp_path / "mine.npz"))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_npz(faces_300w, tmp_path):
    rows = faces_300w.indices("test")
    with pytest.raises(DataError, match="no such file"):
        load_predictions(tmp_path / "absent.npz", faces_300w, rows)
    (tmp_path / "text.npz").write_text("names,points")
    np.save(tmp_path / "array.npy", np.zeros(3))
    whole = tmp_path / "whole.npz"
    save_predictions(whole, ["a"], np.zeros((1, 68, 2)), np.zeros((1, 68, 2)))
    (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:-60])
    (tmp_path / "nothing.npz").touch()
    for name in ("text.npz", "array.npy", "cut.npz", "nothing.npz", "."):
        with pytest.raises(DataError, match=r"not a readable \.npz"):
            load_predictions(tmp_path / name, faces_300w, rows)
