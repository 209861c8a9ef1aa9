"""Ctrl-C between two steps instead of within one, so that what was done until then is kept."""

import contextlib
import signal
import threading


class Interruption:
    """Whether Ctrl-C was pressed: `asked`."""

    asked = False

    def __call__(self, *_):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


@contextlib.contextmanager
def deferred_interrupt():
    """Yields an `Interruption`; who looks at it between steps ends in order, and then `KeyboardInterrupt` is raised. A
    second Ctrl-C interrupts at once. In threads other than the main one nothing is deferred."""
    interruption = Interruption()
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, interruption) if main else None
    try:
        yield interruption
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
    if interruption.asked:
        raise KeyboardInterrupt
