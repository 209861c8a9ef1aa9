"""Faces that can be evaluated, and evaluations."""

import numpy as np
import pytest

from kdloss.data.geometry import BoxPolicy
from kdloss.evaluation.evaluation import evaluate_predicted


class FixedPoints:
    """A network that answers the same unit points (N, 2) for every crop."""

    input_shape = (None, 32, 32, 3)

    def __init__(self, unit):
        self.unit = np.float32(unit)

    def predict_on_batch(self, images):
        return np.stack([self.unit] * len(images))


@pytest.fixture(scope="session")
def faces_300w(make_prepared):
    """Eight test faces in the 300-W layout, all in the common subset: a partial set without challenging faces."""
    return make_prepared("300w", subsets=lambda i: ("common",))


@pytest.fixture(scope="session")
def two_evaluations(make_prepared):
    """Two models on nine faces; the second finds no face in one of them."""
    prepared = make_prepared("300w", test=9, subsets=lambda i: ("common",))
    truth = prepared.source_points[prepared.indices("test")]
    rng = np.random.default_rng(1)
    # The farther down the list, the worse.
    noise = rng.normal(0, 1, truth.shape) * np.arange(1, 10)[:, None, None] / 2
    missing = truth + 2 * noise
    missing[4] = np.nan
    return [
        evaluate_predicted(prepared, truth + noise, label="good", box=BoxPolicy()),
        evaluate_predicted(prepared, missing, label="bad", missing="fail"),
    ]
