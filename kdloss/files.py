"""Files and folders that are written whole or not at all, and folders in which one process works at a time."""

import contextlib
import errno
import fcntl
import functools
import math
import os
import platform
import re
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np

from kdloss.errors import ConfigError, UserError

_HOST = re.sub(r"[^\w-]", "-", platform.node())
# .NAME.HOST-PID.partial and the suffix of NAME, from which many writers choose their format
_PARTIAL = re.compile(rf"\..+\.{re.escape(_HOST)}-(\d+)\.partial(\.[^.]+)?")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
# With less than this many bytes left, a disk is full.
_FULL = 1 << 16


@contextlib.contextmanager
def replacing(path, durable=False):
    """Yields a temporary sibling of ``path`` that takes its place when the block ends well, and is removed otherwise.

    The sibling keeps the suffix. Missing folders are made. ``durable`` waits until the content is on the disk before it
    takes its place, so that a power cut, too, leaves the old file or the new one: for what hours of work went into.

    Raises:
        UserError: it can't be written there.
    """
    with _sibling(Path(path)) as temporary:
        yield temporary
        if durable:
            _flush(temporary)


@contextlib.contextmanager
def new_folder(path):
    """As `replacing`, for a folder that is not there yet."""
    with _sibling(Path(path)) as work:
        _remove(work)  # of a process that had this number before
        work.mkdir()
        yield work


def write_whole(path, content, durable=False):
    """Writes a text (as UTF-8) or bytes to ``path``, whole or not at all; see `replacing`."""
    with replacing(path, durable) as work:
        work.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextlib.contextmanager
def explained(path):
    """Says of an error in writing to ``path``, within, what the user needs to know.

    On a full disk libraries raise errors of many kinds, or say only that fewer bytes went out than they had.

    Raises:
        UserError: there is no space left, or an `OSError` came.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if getattr(error, "errno", None) in _NO_SPACE or _is_full(Path(path).parent):
            raise UserError(f"{path}: no space left on the disk: make room, then run the same command again") from error
        if isinstance(error, OSError):
            raise UserError(f"{path}: cannot be written ({error.strerror or error}): give another place") from error
        raise


def remove_leftovers(folder):
    """Removes what processes of this machine that no longer live had begun to write directly in a folder.

    Nothing but `replacing` and `new_folder` makes files of such names, and a file that a living process writes stays.
    Both call it for each folder before they first write into it. The folder need not exist.
    """
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            begun = _PARTIAL.fullmatch(entry.name)
            if begun and not _lives(int(begun[1])):
                _remove(Path(entry.path))


@contextlib.contextmanager
def held(folder):
    """Holds an existing folder for this process while the block runs, however it ends.

    On file systems without locks nothing is held.

    Raises:
        UserError: another process, or another block of this one, holds it.
    """
    with _locked(folder) as mine:
        if not mine:
            raise UserError(f"{folder}: another process works there: wait until it is done, or give another folder")
        yield


def is_held(folder):
    """True if a process holds an existing folder."""
    with _locked(folder) as mine:
        return not mine


_remove_leftovers_once = functools.cache(remove_leftovers)


@contextlib.contextmanager
def _sibling(path):
    work = path.with_name(f".{path.stem}.{_HOST}-{os.getpid()}.partial{path.suffix}")
    try:
        with explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers_once(os.path.abspath(path.parent))
            yield work
            os.replace(work, path)
    finally:
        _remove(work)


def _remove(path):
    shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        path.unlink()


def _flush(path):
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _lives(process):
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)  # else it is somebody else's
    return True


def _is_full(folder):
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < _FULL
    return False


@contextlib.contextmanager
def _locked(folder):
    """Yields whether this process has the lock of the folder now."""
    handle, mine = os.open(folder, os.O_RDONLY | os.O_CLOEXEC), True
    try:
        with contextlib.suppress(OSError):  # without locks nobody has it
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                mine = False
        yield mine
    finally:
        os.close(handle)


_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npz(path, most_bytes):
    """The arrays of an .npz, name -> array.

    Args:
        path: of the file.
        most_bytes: how much its members may hold together, unpacked: compressed zeros take a thousandth of that.

    Raises:
        ValueError: unreadable, no .npz of plain arrays, or larger.
    """
    # numpy leaves the file of a damaged archive open.
    with damage_is_value_error(), open(path, "rb") as file:
        if file.read(2) != b"PK":
            raise ValueError("no .npz archive")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            size = sum(info.file_size for info in archive.zip.infolist())
            if size > most_bytes:
                raise ValueError(f"holds {size / 1e6:.0f} MB unpacked, expected {most_bytes / 1e6:.0f} MB at most")
            arrays = {name: archive[name] for name in archive.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name[:40]!r} in it is no array")
        # Texts of no length take no memory in the file and any in use.
        if array.size and not array.itemsize:
            raise ValueError(f"{name[:40]!r} in it holds {array.size} values of no bytes")
    return arrays


def read_npy(path):
    """The array of an .npy.

    Raises:
        ValueError: unreadable, no .npy of plain numbers or texts, or not as long as its header says.
    """
    return np.array(map_npy(path))


def map_npy(path):
    """The same by memory map: only what is used of it is read."""
    with damage_is_value_error(), open(path, "rb") as file:
        shape, fortran_order, dtype = npy_header(file)
        start, found = file.tell(), os.fstat(file.fileno()).st_size
        expected = start + math.prod(shape) * dtype.itemsize
        if found != expected:
            raise ValueError(f"found {found} bytes, expected {expected}")
        if not math.prod(shape):  # no bytes can be mapped
            return np.empty(shape, dtype)
        return np.memmap(file, dtype, "r", start, shape, "F" if fortran_order else "C")


def npy_header(file):
    """Shape, whether in Fortran order, and type of the array in an open .npy; the file is left where it begins."""
    with damage_is_value_error():
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"found .npy format {version}, expected one of {', '.join(map(str, _HEADERS))}")
        shape, fortran_order, dtype = _HEADERS[version](file)
        # numpy maps objects and divides by the size of a value.
        if dtype.hasobject or not dtype.itemsize or not all(0 <= length <= sys.maxsize for length in shape):
            raise ValueError(f"found shape {shape} of {dtype}, expected plain numbers")
        return shape, fortran_order, dtype


@contextlib.contextmanager
def damage_is_value_error():
    """Turns whatever archives, decompressors and parsers raise of damaged bytes into a `ValueError` of one line."""
    try:
        with warnings.catch_warnings(action="error"):  # numpy warns of headers that it did not write
            yield
    except Exception as error:
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from error


def require_place(path, flag="--out", *, folder=True):
    """Checks that a folder, or else a file, can be made at a path; raises `ConfigError`, which begins with the flag."""
    start = Path(path) if folder else Path(path).parent
    nearest = next(place for place in (start, *start.absolute().parents) if place.exists())
    wrong = "" if nearest.is_dir() else f"{nearest} is no folder"
    wrong = wrong or ("" if folder or not Path(path).is_dir() else "it is a folder, expected the name of a file")
    if wrong := wrong or ("" if os.access(nearest, os.W_OK) else f"{nearest} is protected"):
        raise ConfigError(f"{flag} {path}: cannot be written ({wrong}): give another place")
