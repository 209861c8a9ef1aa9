"""The One-Euro filter: numbers worked out by hand, and what it must do to any signal."""

import numpy as np
import pytest

from kdloss.tracking import OneEuroFilter


def filtered(one_euro, values, times, unit=1.0):
    return np.array([one_euro.filter(value, time, unit) for value, time in zip(values, times, strict=True)])


def test_three_samples_worked_out_by_hand():
    # A step of time of 1 / (2 pi) makes the weight of a new value cutoff / (cutoff + 1).
    step = 1 / (2 * np.pi)
    one_euro = OneEuroFilter(min_cutoff=1.0, beta=1 / np.pi)
    # Second: speed 2 pi, filtered by a half: pi; cutoff 2, weight 2/3. Third: speed (1 - 2/3) 2 pi, filtered
    # pi/3 + pi/2; cutoff 1 + 5/6, weight 11/17: 2/3 + 11/51.
    assert filtered(one_euro, [0.0, 1.0, 1.0], [0.0, step, 2 * step]) == pytest.approx([0, 2 / 3, 15 / 17], abs=1e-12)


def test_each_number_is_filtered_by_itself_and_a_constant_stays():
    rng = np.random.default_rng(0)
    signal, times = rng.normal(size=(20, 2)), np.cumsum(rng.uniform(0.01, 0.1, 20))
    signal[:, 1] = 3.7
    together = filtered(OneEuroFilter(1.0, 0.5), signal, times)
    assert np.array_equal(together[:, 0], filtered(OneEuroFilter(1.0, 0.5), signal[:, 0], times))
    assert np.array_equal(together[:, 1], signal[:, 1])


def test_the_unit_makes_it_blind_to_the_size_of_the_picture():
    rng = np.random.default_rng(1)
    signal, times = np.cumsum(rng.normal(size=(30, 2)), axis=0), np.arange(30) / 30
    small = filtered(OneEuroFilter(1.0, 5.0), signal, times, unit=10.0)
    assert filtered(OneEuroFilter(1.0, 5.0), 8 * signal, times, unit=80.0) == pytest.approx(8 * small, rel=1e-12)
    assert not np.allclose(filtered(OneEuroFilter(1.0, 5.0), signal, times), small)


def test_speed_lets_it_follow_and_rest_takes_jitter_away():
    times, noise = np.arange(200) / 25, np.random.default_rng(2).normal(0, 0.01, 200)
    still = filtered(OneEuroFilter(1.0, 20.0), noise, times)
    assert np.diff(still, 2)[20:].std() < np.diff(noise, 2)[20:].std() / 4
    moving = 2 * times
    behind = moving - filtered(OneEuroFilter(1.0, 20.0), moving, times)
    assert 0 < behind[-1] < 2 * 0.01  # by less than 10 ms
    assert (moving - filtered(OneEuroFilter(1.0, 0.0), moving, times))[-1] > 2 * 0.1


def test_begins_anew_after_a_gap_and_wants_time_to_pass():
    one_euro = OneEuroFilter(1.0, 1.0, longest_gap=0.5)
    one_euro.filter(0.0, 0.0)
    assert 0 < one_euro.filter(1.0, 0.5) < 1
    assert one_euro.filter(5.0, 1.01) == 5.0
    assert one_euro.filter(5.0, 1.02) == 5.0
    with pytest.raises(ValueError, match="expected one after"):
        one_euro.filter(5.0, 1.02)
