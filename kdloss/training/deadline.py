"""Work that is done in pieces: when a piece must end."""

import time


class OutOfTime(Exception):
    """A piece of work has ended with its state saved; the same call again goes on."""


class Deadline:
    """A point in time before which the next step must be done.

    Args:
        minutes: from now; None: there is none.
    """

    def __init__(self, minutes=None):
        self._end = None if minutes is None else time.monotonic() + 60 * minutes

    def leaves(self, seconds):
        """Whether a step that takes this long can still be done."""
        return self._end is None or time.monotonic() + seconds <= self._end
