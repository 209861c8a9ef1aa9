"""The errors that a user can mend, how a command shows them, and how it ends when a signal stops it."""

import contextlib
import functools
import os
import signal
import sys
import threading

from kdloss.machine import quiet_libraries


class UserError(ValueError):
    """A mistake the user can mend.

    The message is one line: what, what was found, what was expected, what to do.
    """


class DataError(UserError):
    """A data set, a face or a folder of faces is not what it should be."""


class CheckpointError(UserError):
    """A model file is damaged, of another landmark scheme, or of another data set."""


class ConfigError(UserError):
    """Options that do not fit together, or a value out of range."""


class Terminated(BaseException):
    """SIGTERM asked the process to end. Like `KeyboardInterrupt` no `Exception`: no handler of errors keeps it."""


_RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
# How a command ends that a signal stopped: what it says, and the exit status that shells expect.
STOPPED = {KeyboardInterrupt: ("interrupted", 130), Terminated: ("terminated", 143)}


def exits_on_user_error(main):
    """Wraps a command's ``main(argv) -> int``: a `UserError` is printed in one line and exits with 2.

    Network libraries stay quiet in it. Ctrl-C and SIGTERM let it remove what it has half written, and exit with 130 and
    143.
    """

    @functools.wraps(main)
    def wrapper(argv=None):
        try:
            with _terminated_in_order():
                quiet_libraries()
                try:
                    return main(argv)
                finally:
                    sys.stdout.flush()  # a reader that has gone is noticed here, not at exit
        except UserError as error:
            print("error: " + " ".join(str(error).split()), file=sys.stderr)
            return 2
        except PermissionError as error:
            if error.filename is None:
                raise
            print(f"error: {error.filename}: permission denied: give another, or the right to use it", file=sys.stderr)
            return 2
        except (KeyboardInterrupt, Terminated) as stop:
            said, status = STOPPED[type(stop)]
            print(f"{said}: {stop}" if stop.args else said, file=sys.stderr)
            return status
        except BrokenPipeError:
            # The reader (head, less) has gone. What is left in the buffer must not fail once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141

    return wrapper


@contextlib.contextmanager
def _terminated_in_order():
    """SIGTERM raises `Terminated` within; by itself it would end Python without a clean-up."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(*_):
    raise Terminated


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
