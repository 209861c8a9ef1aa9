"""Box robustness: exact values for models whose answers are known, and what moves which way."""

import json

import numpy as np
import pytest

from kdloss.data.geometry import BoxPolicy, landmark_box
from kdloss.errors import DataError
from kdloss.evaluation import plots
from kdloss.evaluation.plots import robustness_figure
from kdloss.evaluation.robustness import ROTATIONS, SCALES, SHIFTS, measure_robustness
from tests.evaluation.conftest import FixedPoints

BOX = BoxPolicy("gt", 1.25)


def constant(unit=(0.0, 0.0), points=68):
    """A network that answers one unit point for all landmarks."""
    return FixedPoints(np.tile(unit, (points, 1)))


def expected_nme(prepared, rows, right, down):
    """NME of predictions that put all points of a face so many sides off its box's centre, computed face by face."""
    boxes = BOX.grow(landmark_box(prepared.source_points[rows]))
    errors = []
    for (x, y, width, height), truth in zip(boxes, prepared.source_points[rows], strict=True):
        answer = x + width / 2 + right * width, y + height / 2 + down * height
        away = np.hypot(*(truth - answer).T).mean()
        errors.append(away / np.hypot(*(truth[36] - truth[45])))
    return 100 * np.mean(errors)


@pytest.fixture(scope="module")
def off_centre(faces_300w):
    """The result of a model that always answers the same place, right of the crop's centre and above it."""
    return measure_robustness(constant((0.3, -0.2)), faces_300w, faces_300w.indices("test"), BOX, batch_size=5)


def test_the_centre_of_a_shifted_box_is_where_the_box_went(faces_300w):
    rows = faces_300w.indices("test")[:5]
    result = measure_robustness(constant(), faces_300w, rows, BOX)
    expected = [[expected_nme(faces_300w, rows, dx, dy) for dx in SHIFTS] for dy in SHIFTS]
    assert np.array(result["shift"]["nme"]) == pytest.approx(np.array(expected), abs=1e-5)
    # The centre of a box stays where it is, however the box is scaled and turned.
    assert np.array(result["scale_rotation"]["nme"]) == pytest.approx(np.full((6, 5), result["baseline_nme"]), abs=1e-5)


def test_scale_and_rotation_act_about_the_centre_clockwise(faces_300w, off_centre):
    rows = faces_300w.indices("test")
    for i, scale in enumerate(SCALES):
        for j, degrees in enumerate(ROTATIONS):
            cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
            # y grows downwards: clockwise on the screen takes what is right of the centre to below it.
            right, down = 0.3 * cos + 0.2 * sin, 0.3 * sin - 0.2 * cos
            moved = expected_nme(faces_300w, rows, scale * right, scale * down)
            assert off_centre["scale_rotation"]["nme"][i][j] == pytest.approx(moved, abs=1e-5)


def test_the_summary_weighs_both_grids_the_same_without_the_unperturbed_setting(off_centre):
    baseline, means = off_centre["baseline_nme"], []
    for grid, (i, j), count in (("shift", (3, 3), 48), ("scale_rotation", (2, 2), 29)):
        values = np.array(off_centre[grid]["nme"])
        assert values[i, j] == baseline
        values[i, j] = np.nan
        assert np.isfinite(values).sum() == count
        means.append(np.nanmean(values))
    assert off_centre["robust_nme"] == pytest.approx(np.mean(means), rel=1e-12)
    assert off_centre["robust_ratio"] == pytest.approx(np.mean(means) / baseline, rel=1e-12)


def test_crops_beyond_the_stored_picture_are_counted(faces_300w, off_centre):
    # A stored crop is twice the landmark box: more than 1.25 x 1.3, less than 1.25 x 1.3 turned by 30.
    assert not np.any(off_centre["shift"]["outside"])
    reach = np.array(SCALES)[:, None] * 1.25 * (np.cos(np.radians(ROTATIONS)) + np.abs(np.sin(np.radians(ROTATIONS))))
    assert off_centre["scale_rotation"]["outside"] == (reach > 2).astype(float).tolist()
    assert off_centre["outside"] == pytest.approx(np.sum(reach > 2) / 29 / 2)
    wide = measure_robustness(constant(), faces_300w, faces_300w.indices("test"), BoxPolicy("gt", 1.7))
    assert wide["shift"]["outside"][3] == [1, 1, 0, 0, 0, 1, 1]


def test_it_tells_how_far_it_is_and_what_json_can_hold(faces_300w):
    lines = []
    result = measure_robustness(constant(), faces_300w, faces_300w.indices("test")[:1], BOX, announce=lines.append)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    expected = {"n": 1, "dataset": "300w", "box": "gt:1.25", "normaliser": "interocular", "synthetic": False}
    assert result.items() >= expected.items()
    assert lines[-1] == "box robustness: 78 of 78 settings of 1 faces"


def test_points_without_eyes_are_measured_by_the_box(make_prepared):
    prepared = make_prepared("folder", custom=7, test=2, train=1)
    result = measure_robustness(constant(points=7), prepared, prepared.indices("test"), BOX)
    assert (result["normaliser"], result["baseline_nme"] > 0) == ("box", True)
    with pytest.raises(DataError, match="no faces"):
        measure_robustness(constant(points=7), prepared, [], BOX)


def test_maps_are_drawn_flat_ones_too(off_centre):
    assert f"{off_centre['robust_nme']:.2f} %" in robustness_figure(off_centre).get_suptitle()
    flat = off_centre | {"robust_ratio": None, "baseline_nme": 0.0, "robust_nme": 0.0, "synthetic": True}
    for grid in ("shift", "scale_rotation"):
        zeros = np.zeros_like(off_centre[grid]["nme"]).tolist()
        flat |= {grid: off_centre[grid] | {"nme": zeros, "outside": zeros}}
    figure = robustness_figure(flat)
    assert "8 synthetic faces" in figure.get_suptitle()
    assert plots.figure_bytes(figure, dpi=40).startswith(b"\x89PNG")
