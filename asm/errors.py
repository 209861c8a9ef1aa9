"""The one exception family for mistakes a user can mend, and how a command line shows them."""

import functools
import os
import sys


class UserError(ValueError):
    """A mistake the user can mend.

    The message is one line: what, what was found, what was expected, what to do.
    """


def exits_on_user_error(main):
    """Wraps a command's ``main(argv) -> int``: a `UserError` is printed in one line and exits with 2."""

    @functools.wraps(main)
    def wrapper(argv=None):
        try:
            return main(argv)
        except UserError as error:
            print("error: " + " ".join(str(error).split()), file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:
            # The reader (head, less) has gone. What is left in the buffer must not fail once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141

    return wrapper
