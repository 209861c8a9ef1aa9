"""Jitter and lag are measured as they were made."""

import json
import runpy
import subprocess
import sys
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


@pytest.mark.slow
def test_smoothing_costs_lag_and_takes_jitter(tmp_path):
    words = ["--detector", "blazeface", "--periods", "1", "--json", str(tmp_path / "a.json")]
    done = subprocess.run([sys.executable, str(SCRIPT), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["tables"]["jitter"]["rows"]
    _, followed, smoothed = ([float(cell) for cell in row[2:]] for row in rows)
    assert followed[0] == smoothed[0] == 100
    assert smoothed[1] < followed[1]
    assert smoothed[2] > followed[2]
