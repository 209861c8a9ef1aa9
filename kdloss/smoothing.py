"""The One-Euro filter: landmarks of a film that stand still where the face does and follow where it moves.

A low-pass filter whose cutoff grows with the speed. Still landmarks lose their jitter; moving ones hardly lag.

Reference:
    Casiez, Roussel and Vogel, "1 Euro filter: a simple speed-based low-pass filter for noisy input in interactive
    systems", CHI 2012, algorithm 1.
"""

import math

import numpy as np


class OneEuroFilter:
    """Filters arrays of one shape, each number by itself.

    Args:
        min_cutoff: Hz, the cutoff at rest: less of it, less jitter.
        beta: Hz by units a second, how much the cutoff grows with the speed: more of it, less lag.
        derivative_cutoff: Hz, of the filter of the speed; 1 as in the paper.
        longest_gap: seconds; after a longer time without values the filter begins anew.
    """

    def __init__(self, min_cutoff, beta, derivative_cutoff=1.0, longest_gap=math.inf):
        self.min_cutoff, self.beta, self.derivative_cutoff = min_cutoff, beta, derivative_cutoff
        self.longest_gap = longest_gap
        self._time = None

    def filter(self, values, time, unit=1.0):
        """
        Args:
            values: an array, always of the same shape.
            time: seconds, later than that of the last call.
            unit: speeds count in ``unit``\\ s a second. The side of the face, so that one ``beta`` serves faces of
                every size.

        Returns:
            The filtered values, float64.

        Raises:
            ValueError: the time is not later.
        """
        values = np.asarray(values, np.float64)
        if self._time is not None and time <= self._time:
            raise ValueError(f"time {time} s: expected one after {self._time} s")
        if self._time is None or time - self._time > self.longest_gap:
            self._values, self._speed = values, np.zeros_like(values)
        else:
            passed = time - self._time
            speed = (values - self._values) / (passed * unit)
            self._speed = self._speed + _alpha(self.derivative_cutoff, passed) * (speed - self._speed)
            cutoff = self.min_cutoff + self.beta * np.abs(self._speed)
            self._values = self._values + _alpha(cutoff, passed) * (values - self._values)
        self._time = time
        return self._values.copy()


def _alpha(cutoff, passed):
    """The weight of a new value ``passed`` seconds after the last one, equation 6 of the paper."""
    return 1 / (1 + 1 / (2 * np.pi * cutoff * passed))
