"""Ctrl-C and SIGTERM between two steps instead of within one, so that what was done until then is kept."""

import contextlib
import signal
import threading

from asm.errors import Terminated

_RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


class Interruption:
    """Whether a signal has asked to stop, and which: its ``number``, or None."""

    number = None

    @property
    def asked(self):
        """True once it has."""
        return self.number is not None

    def __call__(self, number, _frame):
        if self.asked:
            raise _RAISED[number]
        self.number = number

    def stop(self, *said):
        """Ends the work as the signal would have: raises its exception, with a line for the user if there is one."""
        raise _RAISED[self.number](*said)


@contextlib.contextmanager
def deferred_interrupt():
    """Yields an `Interruption`; who looks at it between steps ends in order, and then the signal's exception is raised:
    `KeyboardInterrupt` or `Terminated`. A second signal interrupts at once. In threads other than the main one nothing
    is deferred, nor is a signal that the process ignores."""
    interruption = Interruption()
    before = {}
    if threading.current_thread() is threading.main_thread():
        deferred = [number for number in _RAISED if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, interruption) for number in deferred}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interruption.asked:
        interruption.stop()
