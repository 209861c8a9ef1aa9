"""The one exception family for mistakes a user can mend, and how a command line shows them and ends."""

import contextlib
import functools
import os
import signal
import sys
import threading


class UserError(ValueError):
    """A mistake the user can mend.

    The message is one line: what, what was found, what was expected, what to do.
    """


class Terminated(BaseException):
    """SIGTERM asked the process to end. Like `KeyboardInterrupt` no `Exception`: no handler of errors keeps it."""


# How a command ends that a signal stopped: what it says, and the exit status that shells expect.
STOPPED = {KeyboardInterrupt: ("interrupted", 130), Terminated: ("terminated", 143)}


def exits_on_user_error(main, before=None):
    """Wraps a command's ``main(argv) -> int``: a `UserError` is printed in one line and exits with 2.

    ``before()`` is called first. Ctrl-C and SIGTERM let it remove what it has half written, and exit with 130 and 143.
    """

    @functools.wraps(main)
    def wrapper(argv=None):
        try:
            with _terminated_in_order():
                if before:
                    before()
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
