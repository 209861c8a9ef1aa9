"""Errors of predicted landmarks, and the measures of the field: NME, FR, AUC. Pure numpy, float64 throughout.

The error ``e_i`` of image i is the mean distance between its predicted and true points, divided by a normaliser. NME is
the mean of ``e_i``, FR@t the share of images with ``e_i > t``, AUC@t the area under the cumulative error distribution
up to t, divided by t. All three take the ``e_i``, so subsets and models share one code path. A face without prediction
has an infinite error: FR and AUC count it as a failure, NME leaves it out. A point whose truth is unknown (NaN) has
no error, and no mean counts it.
"""

import difflib

import numpy as np

from kdloss.data.geometry import landmark_box
from kdloss.errors import ConfigError, DataError

NORMALISERS = ("interocular", "interpupil", "box")


def available_normalisers(scheme, truth=None, chosen=None):
    """The normalisers that a `LandmarkScheme` allows; the first is the default, or ``chosen``.

    With ``truth`` (n, N, 2), only those whose points are known in all of these faces.

    Raises:
        ConfigError: ``chosen`` is none of the scheme's, or needs a point that is not known in all faces.
    """
    named = {"interocular": scheme.ocular, "interpupil": scheme.pupils, "box": True}
    kinds = tuple(kind for kind in NORMALISERS if named[kind])
    if chosen:
        check_normaliser(scheme, chosen)
        kinds = tuple(dict.fromkeys((chosen, *kinds)))
    if truth is None:
        return kinds
    known = tuple(kind for kind in kinds if np.isfinite(normaliser(truth, scheme, kind)).all())
    if chosen and chosen not in known:
        raise ConfigError(f"normaliser {chosen}: not all faces have its points: give one of {', '.join(known)}")
    return known


def check_normaliser(scheme, kind):
    """Raises a `ConfigError` unless ``kind`` is a normaliser of a `LandmarkScheme`."""
    if kind in NORMALISERS:
        if kind not in available_normalisers(scheme):
            raise ConfigError(f"normaliser {kind}: scheme {scheme.name} names no eyes: use box, or two points as A:B")
        return
    pair = kind.split(":")
    if len(pair) != 2 or pair[0] == pair[1]:
        raise ConfigError(f"normaliser {kind}: expected {', '.join(NORMALISERS)}, or the names of two points as A:B")
    if unknown := [name for name in pair if name not in scheme.names]:
        alike = ", ".join(difflib.get_close_matches(unknown[0], scheme.names, n=6, cutoff=0))
        raise ConfigError(f"normaliser {kind}: scheme {scheme.name} has no point {unknown[0]}: it has {alike}")


def normaliser(points, scheme, kind):
    """The length (...) float64 that errors of (..., N, 2) points of a `LandmarkScheme` are divided by, pixels.

    ``kind`` is ``interocular`` (outer eye corners), ``interpupil`` (annotated pupils, or means of the eyes' points),
    ``box`` (sqrt(w h) of the landmark box) or the names of two points, ``A:B``; ``points`` are the true ones.

    Raises:
        ConfigError: an unknown kind, or the scheme names no eyes.
    """
    check_normaliser(scheme, kind)
    points = np.asarray(points, np.float64)
    if kind == "box":
        return np.sqrt(np.prod(landmark_box(points)[..., 2:], axis=-1))
    if kind == "interocular":
        right, left = (points[..., index, :] for index in scheme.ocular)
    elif kind not in NORMALISERS:
        right, left = (points[..., scheme.names.index(name), :] for name in kind.split(":"))
    else:
        right, left = (points[..., list(side), :].mean(axis=-2) for side in scheme.pupils)
    return np.linalg.norm(right - left, axis=-1)


def point_errors(predicted, truth, scheme, kind):
    """Distance of each point to its truth, divided by the normaliser of its image.

    Args:
        predicted, truth: (n, N, 2), pixels of the same images.
        scheme, kind: see `normaliser`.

    Returns:
        (n, N) float64, a fraction (0.05 is five percent); NaN where the truth is unknown.

    Raises:
        DataError: the normaliser of a face is zero.
    """
    length = normaliser(truth, scheme, kind)
    if np.any(length <= 0):
        bad = np.flatnonzero(length <= 0)
        raise DataError(f"{kind} normaliser: zero for {len(bad)} of {len(length)} faces (the first: face {bad[0]})")
    distance = np.linalg.norm(np.asarray(predicted, np.float64) - np.asarray(truth, np.float64), axis=-1)
    return distance / length[:, None]


def image_errors(predicted, truth, scheme, kind):
    """(n,) float64: the mean of `point_errors` over the known points of each image."""
    return mean_of_known(point_errors(predicted, truth, scheme, kind), axis=1)


def mean_of_known(values, axis):
    """The mean along an axis of the values that are not NaN; NaN where there is none."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0).sum(axis=axis) / known.sum(axis=axis)


def nme(errors):
    """Mean of errors (of images or points) in percent, without the infinite ones of faces that have no prediction."""
    errors = np.asarray(errors, np.float64)
    found = errors[np.isfinite(errors)]
    if not len(found):
        raise DataError(f"NME: none of {len(errors)} faces has a prediction")
    return float(100 * found.mean())


def failure_rate(errors, threshold):
    """Percent of images whose error is above ``threshold`` (a fraction) or NaN. An error equal to it is no failure."""
    return float(100 * np.mean(~(np.asarray(errors) <= threshold)))


def auc(errors, threshold):
    """Area under the cumulative error distribution up to ``threshold``, divided by ``threshold``: 0 to 1.

    It is exact, without bins: each image adds ``max(0, threshold - e_i)`` to the area.
    """
    return float(1 - np.mean(np.minimum(errors, threshold)) / threshold)


def ced(errors):
    """The cumulative error distribution: sorted errors (n,), and the share (n,) of images at or below each."""
    ordered = np.sort(np.asarray(errors, np.float64))
    return ordered, np.arange(1, len(ordered) + 1) / len(ordered)


def paired_bootstrap(errors_a, errors_b, n=10000, seed=0):
    """The 95 % percentile interval of the mean difference of two models on the same images.

    Args:
        errors_a, errors_b: (m,) errors of both models, image by image.
        n, seed: how often the images are drawn with replacement, and the seed of the draws.

    Returns:
        (low, high) of mean(a - b), which hold 95 % of the draws. If zero lies outside, the models differ.

    Raises:
        DataError: different numbers of images.
    """
    if np.shape(errors_a) != np.shape(errors_b) or np.ndim(errors_a) != 1 or not len(errors_a):
        raise DataError(f"paired bootstrap: found {np.shape(errors_a)} and {np.shape(errors_b)} errors, expected pairs")
    difference = np.asarray(errors_a, np.float64) - np.asarray(errors_b, np.float64)
    rng = np.random.default_rng(seed)
    means = np.empty(n)
    rows = max(1, 1_000_000 // len(difference))  # keeps the table of draws small for large test sets
    for start in range(0, n, rows):
        draws = rng.integers(len(difference), size=(min(rows, n - start), len(difference)))
        means[start : start + rows] = difference[draws].mean(axis=1)
    tail = (1 - 0.95) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
