"""The errors that a user can fix, how a command shows them, and how a command ends when a signal stops it."""

import contextlib
import functools
import os
import signal
import sys
import threading

from asm import ShapeError
from kdloss.machine import quiet_libraries
from kdloss.names import printable


class UserError(ValueError):
    """A mistake that the user can fix. The message is one line: what, found, expected, what to do."""


class DataError(UserError):
    """A data set, a face or a folder of faces is missing, damaged or of the wrong kind."""


class CheckpointError(UserError):
    """A model file is damaged, or made for another landmark scheme or data set."""


class ConfigError(UserError):
    """Options that do not fit together, or a value out of range."""


class FullDisk(UserError):
    """No space is left on the disk of a file to write."""


class Terminated(BaseException):
    """SIGTERM asked the process to end. As with `KeyboardInterrupt`, ``except Exception`` does not catch it."""


# What commands show in one line. `asm` has an error of its own because it knows nothing of this package.
USER_ERRORS = (UserError, ShapeError)
# Exception -> what a command prints when a signal stops it, and the exit status that shells expect.
_STOPPED = {KeyboardInterrupt: ("interrupted", 130), Terminated: ("terminated", 143)}
_RAISED = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}


def exits_on_user_error(main):
    """Wraps a command's ``main(argv) -> int``: one of `USER_ERRORS` is printed in one line, and the status is 2.

    The network libraries that the command imports stay quiet. After Ctrl-C or SIGTERM the command removes its
    unfinished files and returns 130 or 143.
    """

    def ended(argv):
        try:
            with _sigterm_raises():
                quiet_libraries()
                return main(argv)
        except USER_ERRORS as error:
            line, status = f"error: {error}", 2
        except PermissionError as error:
            if error.filename is None:
                raise
            line, status = f"error: {error.filename}: permission denied: give another, or the right to use it", 2
        except RecursionError:
            line, status = "error: folders, or values in a file, lie too deep in one another: give flatter ones", 2
        except (KeyboardInterrupt, Terminated) as stop:
            word, status = _STOPPED[type(stop)]
            line = f"{word}: {stop}" if stop.args else word
        print(printable(line), file=sys.stderr)
        return status

    @functools.wraps(main)
    def wrapper(argv=None):
        _mend_streams()
        try:
            try:
                return ended(argv)
            finally:
                sys.stdout.flush()  # a closed pipe raises here, not at exit
        except BrokenPipeError:
            # The reader (head, less) has gone. Without this, flushing the rest of a buffer at exit would fail again.
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except BrokenPipeError:
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            return 141

    return wrapper


def _mend_streams():
    """Standard output and error take any text, and are there even if the caller closed them."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The number must not go to a file that is opened later: C code writes to it.
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
        elif number and hasattr(stream := getattr(sys, name), "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def deferred_interrupt():
    """Yields an `Interruption`, which notes the first SIGINT or SIGTERM instead of raising its exception.

    The block looks at it between steps and ends in order; then `KeyboardInterrupt` or `Terminated` is raised. A second
    signal interrupts at once. Nothing is deferred outside the main thread, and ignored signals stay ignored.
    """
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


class Interruption:
    """The signal that asked the process to stop: its ``number``, or None if none did."""

    number = None

    @property
    def asked(self):
        return self.number is not None

    def __call__(self, number, _frame):
        if self.asked:
            raise _RAISED[number]
        self.number = number

    def stop(self, *message):
        """Raises the exception of the signal, with a line for the user if there is one."""
        raise _RAISED[self.number](*message)


@contextlib.contextmanager
def _sigterm_raises():
    """Within the block SIGTERM raises `Terminated`; by default it ends Python without any clean-up."""

    def terminate(*_):
        raise Terminated

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
