"""Jitter and lag are measured as they were made."""

import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "jitter.py"


def test_known_noise_and_a_known_lag_are_measured():
    script = runpy.run_path(str(SCRIPT))
    measured, period, eyes = script["measured"], script["PERIOD"], script["OUTER_EYES"]
    rng, angles = np.random.default_rng(0), script["angles"](20 * period)[:, None, None]
    still, amplitude = rng.uniform(0, 100, (68, 2)), rng.uniform(0, 3, (68, 2))
    still[eyes], amplitude[eyes] = [(0, 0), (50, 0)], 0
    late = still + 7 + 0.9 * amplitude * np.sin(angles - 2 * np.pi * 1.5 / period)
    clean = measured(late, still + amplitude * np.sin(angles))
    assert clean == pytest.approx((0, 1.5), abs=0.03)
    noise = rng.normal(0, 0.5 / np.sqrt(2), late.shape)  # a distance of 0.5 pixels, of 50
    noise[:, eyes] = 0
    assert measured(late + noise, still + amplitude * np.sin(angles)) == pytest.approx((1, 1.5), abs=0.03)
