"""Metrics against loops that follow the definitions word by word, and against closed forms."""

import math

import numpy as np
import pytest

from kdloss.data.schemes import SCHEMES, LandmarkScheme
from kdloss.errors import ConfigError, DataError
from kdloss.evaluation import metrics

EXACT = {"rel": 0, "abs": 1e-9}


def random_points(scheme, n, seed):
    return np.random.default_rng(seed).uniform(0, 200, (n, scheme.num_points, 2))


def loop_normaliser(face, name, kind):
    def mean(indices):
        return [sum(float(face[i][axis]) for i in indices) / len(indices) for axis in (0, 1)]

    if kind == "box":
        sides = [max(p[axis] for p in face) - min(p[axis] for p in face) for axis in (0, 1)]
        return math.sqrt(sides[0] * sides[1])
    if kind == "interocular":
        a, b = {"29": (8, 9), "68": (36, 45), "98": (60, 72)}[name]
        return math.dist(face[a], face[b])
    pupils = {"29": ([16], [17]), "68": (range(36, 42), range(42, 48)), "98": ([96], [97])}[name]
    return math.dist(mean(pupils[0]), mean(pupils[1]))


@pytest.mark.parametrize("threshold", [0.08, 0.10])
def test_an_error_on_the_threshold_is_no_failure(threshold):
    errors = np.array([np.nextafter(threshold, 0), threshold, np.nextafter(threshold, 1)])
    assert [metrics.failure_rate([error], threshold) for error in errors] == [0, 0, 100]
    assert metrics.failure_rate(errors, threshold) == pytest.approx(100 / 3, **EXACT)
    assert metrics.auc(errors, threshold) == pytest.approx(0, **EXACT)
    x, y = metrics.ced(errors)
    assert y[np.flatnonzero(x <= threshold)[-1]] == pytest.approx(2 / 3, **EXACT)


@pytest.mark.parametrize("threshold", [0.08, 0.10])
def test_faces_without_prediction_are_failures_and_have_no_nme(threshold):
    errors = np.array([0.02, np.inf, 0.04, np.inf])
    assert metrics.failure_rate(errors, threshold) == pytest.approx(50, **EXACT)
    assert metrics.auc(errors, threshold) == pytest.approx((2 - 0.06 / threshold) / 4, **EXACT)
    assert metrics.auc(errors, threshold) == pytest.approx(metrics.auc([0.02, 9, 0.04, 9], threshold), **EXACT)
    assert metrics.nme(errors) == pytest.approx(3, **EXACT)
    x, y = metrics.ced(errors)
    assert y[np.isfinite(x)] == pytest.approx([0.25, 0.5], **EXACT)


def loop_measures(errors, threshold):
    """NME, FR and AUC as their definitions say: count, and add up the steps of the distribution one by one."""
    failures = 0
    for error in errors:
        failures += error > threshold
    area, reached = 0.0, 0.0
    for below, error in enumerate(sorted(errors)):
        area += (min(error, threshold) - reached) * below / len(errors)
        reached = min(error, threshold)
    area += (threshold - reached) * (len(errors) - failures) / len(errors)
    return 100 * sum(errors) / len(errors), 100 * failures / len(errors), area / threshold


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("kind", metrics.NORMALISERS)
def test_all_measures_equal_loops_over_faces_points_and_axes(name, kind):
    scheme, n = SCHEMES[name], 60
    truth = random_points(scheme, n, 2)
    rng = np.random.default_rng(3)
    # From near perfect to far off, whatever the face's normaliser: both thresholds lie among the errors.
    lengths = [loop_normaliser(face, name, kind) for face in truth]
    scale = np.array(lengths)[:, None, None] * rng.uniform(0, 0.12, (n, 1, 1))
    predicted = truth + scale * rng.normal(size=truth.shape)
    errors = [
        sum(map(math.dist, points, face)) / scheme.num_points / length
        for points, face, length in zip(predicted, truth, lengths, strict=True)
    ]
    found = metrics.image_errors(predicted, truth, scheme, kind)
    assert found == pytest.approx(errors, **EXACT)
    for threshold in (0.08, 0.10):
        nme, fr, area = loop_measures(errors, threshold)
        assert 0 < fr < 100
        assert metrics.nme(found) == pytest.approx(nme, **EXACT)
        assert metrics.failure_rate(found, threshold) == pytest.approx(fr, **EXACT)
        assert metrics.auc(found, threshold) == pytest.approx(area, **EXACT)


def test_schemes_without_eyes_have_only_the_box():
    scheme = LandmarkScheme.plain(5)
    assert metrics.available_normalisers(scheme) == ("box",)
    assert metrics.available_normalisers(SCHEMES["68"]) == ("interocular", "interpupil", "box")
    with pytest.raises(ConfigError, match="names no eyes"):
        metrics.normaliser(np.zeros((1, 5, 2)), scheme, "interocular")


def test_two_points_as_normaliser():
    scheme, truth = SCHEMES["68"], random_points(SCHEMES["68"], 3, 0)
    pair = "nose_bridge_0:chin"
    expected = np.linalg.norm(truth[:, 27] - truth[:, 8], axis=-1)
    np.testing.assert_allclose(metrics.normaliser(truth, scheme, pair), expected)
    assert metrics.available_normalisers(scheme, truth, pair) == (pair, *metrics.NORMALISERS)
    truth[1, 8] = np.nan
    assert metrics.available_normalisers(scheme, truth)[0] == "interocular"
    for kind, match in {
        pair: "not all faces have its points: give one of interocular",
        "outer": "expected interocular, interpupil, box, or the names of two points as A:B",
        "chin:chin": "expected interocular",
        "chin:nose_bride_0": "no point nose_bride_0: it has nose_bridge_0, ",
    }.items():
        with pytest.raises(ConfigError, match=match):
            metrics.available_normalisers(scheme, truth, kind)


def test_a_face_without_extent_is_no_silent_infinity():
    truth = random_points(SCHEMES["29"], 3, 0)
    truth[1] = 5.0
    with pytest.raises(DataError, match=r"zero for 1 of 3 faces \(the first: face 1\)"):
        metrics.image_errors(truth, truth, SCHEMES["29"], "box")


def test_bootstrap_interval_of_a_normal_difference():
    rng = np.random.default_rng(0)
    base, difference = rng.uniform(0.02, 0.1, 2000), rng.normal(0.01, 0.02, 2000)
    low, high = metrics.paired_bootstrap(base + difference, base, n=4000, seed=3)
    centre, half = difference.mean(), 1.96 * difference.std() / math.sqrt(2000)
    assert low == pytest.approx(centre - half, abs=0.1 * half)
    assert high == pytest.approx(centre + half, abs=0.1 * half)
    assert (low, high) == metrics.paired_bootstrap(base + difference, base, n=4000, seed=3)
    assert (low, high) != metrics.paired_bootstrap(base + difference, base, n=4000, seed=4)


def test_bootstrap_is_paired():
    # The errors differ widely from face to face, the models by the same on every face: the interval has no width.
    errors = np.random.default_rng(0).uniform(0, 1, 50)
    assert metrics.paired_bootstrap(errors + 0.25, errors, n=200) == pytest.approx((0.25, 0.25), **EXACT)
    with pytest.raises(DataError, match="pairs"):
        metrics.paired_bootstrap(errors, errors[:-1])
