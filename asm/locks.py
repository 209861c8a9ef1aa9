"""One process at a time in a folder."""

import contextlib
import fcntl
import os

from asm.errors import UserError


@contextlib.contextmanager
def held(folder):
    """Holds a folder for this process while the block runs. However the process ends, the folder is free again.

    On file systems without locks nothing is held.

    Args:
        folder: an existing folder.

    Raises:
        UserError: another process, or another block of this one, holds it.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if not _lock(handle):
            raise UserError(f"{folder}: another process works there: wait until it is done, or give another folder")
        yield
    finally:
        os.close(handle)


def is_held(folder):
    """True if a process holds an existing folder."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return not _lock(handle)
    finally:
        os.close(handle)


def _lock(handle):
    """False if somebody else has the lock."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
