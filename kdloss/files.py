"""Files and folders: written whole or not at all, held by one process at a time, and read within bounds."""

import contextlib
import errno
import fcntl
import functools
import hashlib
import math
import os
import platform
import re
import shutil
import stat
import sys
import warnings
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np

from kdloss.errors import ConfigError, FullDisk, UserError
from kdloss.names import TEXT

_HOST = re.sub(r"[^\w-]", "-", platform.node())
# .NAME.HOST-PID.partial, then the suffix of NAME: many libraries choose the format by it.
_PARTIAL = re.compile(rf"\..+\.{re.escape(_HOST)}-(\d+)\.partial(\.[^.]+)?")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_FULL = 1 << 16  # with fewer free bytes, a disk counts as full
MOST_BYTES = 300 * 10**6  # of an input that is read whole
_END = 1 << 15
_LONG_NAME = 100  # bytes; file systems allow 255, and unfinished files have longer names
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@contextlib.contextmanager
def replacing(path, durable=False):
    """Yields a temporary sibling of ``path``, which replaces it if the block succeeds and is removed otherwise.

    The sibling has the same suffix. Missing folders are made; a `UserError` says why the file cannot be written.
    ``durable`` flushes the content to the disk first: even a power cut then leaves either the old file or the new one.
    Use it for the results of hours of work.
    """
    with _sibling(Path(path)) as work:
        yield work
        if durable:
            with open(work, "rb") as file:
                os.fsync(file)


@contextlib.contextmanager
def new_folder(path):
    """As `replacing`, for a folder that does not exist yet."""
    with _sibling(Path(path)) as work:
        _remove(work)  # left by a process that had the same number
        work.mkdir()
        yield work


def write_whole(path, content, durable=False):
    """Writes a text (as UTF-8) or bytes to ``path``, whole or not at all; see `replacing`."""
    with replacing(path, durable) as work:
        work.write_bytes(content.encode(**TEXT) if isinstance(content, str) else content)


@contextlib.contextmanager
def explained(path):
    """Turns a full disk, or an `OSError` from writing to ``path`` within the block, into a `UserError`.

    On a full disk libraries raise errors of many kinds, some while they handle that of the disk, or say only that they
    wrote fewer bytes than they had; what they remove then makes room.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if any(map(_says_full, _with_causes(error))) or _is_full(Path(path).parent):
            raise FullDisk(f"{path}: no space left on the disk: make room, then run the same command again") from error
        if isinstance(error, OSError):
            raise UserError(f"{path}: cannot be written ({error.strerror or error}): give another place") from error
        raise


def require_place(path, flag="--out", *, folder=True):
    """Checks that a folder, or else a file, can be made at a path; if not, a `ConfigError` begins with the flag."""
    start = Path(path) if folder else Path(path).parent
    nearest = next(place for place in (start, *start.absolute().parents) if place.exists())
    if not nearest.is_dir():
        problem = f"{nearest} is no folder"
    elif not folder and Path(path).is_dir():
        problem = "it is a folder, expected the name of a file"
    elif not os.access(nearest, os.W_OK):
        problem = f"{nearest} is protected"
    else:
        return
    raise ConfigError(f"{flag} {path}: cannot be written ({problem}): give another place")


def require_replaceable(targets, inputs, written=None, flag="--out"):
    """Checks that files which a command writes replace nothing that a user may miss; if not, a `ConfigError` says what.

    Args:
        targets: their paths.
        inputs: files that the command reads, and must not replace; those that are not there do not count.
        written: pattern of bytes that is found near the beginning or the end of each file that earlier results wrote;
            other files are not replaced. None: any file may be replaced.
        flag: what chose the targets, for the message.
    """
    identities = {_identity(path) for path in inputs} - {None}
    for target in map(Path, targets):
        found = _identity(target)
        if found in identities:
            raise ConfigError(f"{flag}: {target} would be overwritten, which this command reads: give another place")
        if found and written and not target.is_dir() and not written.search(_both_ends(target)):
            raise ConfigError(f"{flag}: {target} exists, and no earlier results: move it away, or give another place")


def remove_leftovers(folder):
    """Removes unfinished files directly in a folder whose processes, on this machine, no longer run.

    `replacing` and `new_folder` call it once for each folder that they write into. The folder need not exist.
    """
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            partial = _PARTIAL.fullmatch(entry.name)
            if partial and not _runs(int(partial[1])):
                _remove(Path(entry.path))


@contextlib.contextmanager
def held(folder):
    """Locks an existing folder for this process while the block runs. The lock ends with the process at the latest.

    Raises a `UserError` if another process, or another block of this one, holds the folder. On file systems without
    locks nothing is held.
    """
    with _locked(folder) as mine:
        if not mine:
            raise UserError(f"{folder}: another process works there: wait until it is done, or give another folder")
        yield


def is_held(folder):
    """True if a process holds an existing folder."""
    with _locked(folder) as mine:
        return not mine


def open_input(path, most_bytes=math.inf):
    """Opens a regular file of ``most_bytes`` at most for reading bytes; an `OSError` that says so at anything else.

    Whoever names a file that others wrote may name a device without end, a pipe that waits, or a file full of holes.
    """
    status = os.stat(path)
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):  # opening a folder raises its own error
        raise OSError(errno.EINVAL, "no regular file", str(path))
    if status.st_size > most_bytes and stat.S_ISREG(status.st_mode):
        found, expected = (f"{size / 1e6:.0f} MB" for size in (status.st_size, most_bytes))
        raise OSError(errno.EFBIG, f"{found}, expected {expected} at most", str(path))
    return open(path, "rb")


def read_input(path, most_bytes=MOST_BYTES):
    """The bytes of a file; errors as in `open_input`."""
    with open_input(path, most_bytes) as file:
        return file.read()


def read_text(path, encoding="utf-8", errors="strict"):
    """The text of a file of `MOST_BYTES` at most; errors as in `open_input`, and a `UnicodeError`."""
    return read_input(path).decode(encoding, errors)


def is_hidden(path):
    """Whether a path (text, with /) leads to or through a hidden file or folder (``.x``, ``__MACOSX``): never data."""
    return any(part == "__MACOSX" or (part[0] == "." and part != "..") for part in PurePosixPath(path).parts)


def data_files(folder):
    """Yields the paths of all files in a folder and below it, in order. Links are followed, hidden files are none."""
    seen = {os.path.realpath(folder)}
    for here, folders, files in os.walk(folder, followlinks=True):
        real = {name: os.path.realpath(os.path.join(here, name)) for name in sorted(folders) if not is_hidden(name)}
        folders[:] = [name for name, path in real.items() if path not in seen]
        seen.update(real.values())
        yield from (Path(here, name) for name in sorted(files) if not is_hidden(name))


def read_npz(path, most_bytes):
    """The arrays of an .npz, name -> array; a `ValueError` if it is damaged or unpacks to more than ``most_bytes``.

    A small file can unpack to gigabytes, so its size is checked first.
    """
    with _damage_is_value_error(), open_input(path) as file, zipfile.ZipFile(file) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > most_bytes:
            raise ValueError(f"holds {size / 1e6:.0f} MB unpacked, expected {most_bytes / 1e6:.0f} MB at most")
        arrays = {}
        for name in archive.namelist():
            with archive.open(name) as member:
                array = np.lib.format.read_array(member, allow_pickle=False)
            # Any number of empty texts takes no room in the file, but a lot in memory once they are used.
            if array.size and not array.itemsize:
                raise ValueError(f"{name[:40]!r} in it holds {array.size} values of no bytes")
            arrays[name.removesuffix(".npy")] = array
        return arrays


def read_npy(path):
    """The array of an .npy; a `ValueError` if it is no .npy of plain numbers or texts, or cut short."""
    return np.array(map_npy(path))


def map_npy(path):
    """As `read_npy`, by memory map: parts of the file are read when they are used."""
    with _damage_is_value_error(), open_input(path) as file:
        shape, fortran_order, dtype = npy_header(file)
        start, found = file.tell(), os.fstat(file.fileno()).st_size
        expected = start + math.prod(shape) * dtype.itemsize
        if found != expected:
            raise ValueError(f"found {found} bytes, expected {expected}")
        if not math.prod(shape):  # an empty file can't be mapped
            return np.empty(shape, dtype)
        return np.memmap(file, dtype, "r", start, shape, "F" if fortran_order else "C")


def npy_header(file):
    """Shape, whether in Fortran order, and type of the array in an open .npy; a `ValueError` if it has none.

    The file is left where the data begins.
    """
    with _damage_is_value_error():
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise ValueError(f"found .npy format {version}, expected one of {', '.join(map(str, _HEADERS))}")
        shape, fortran_order, dtype = _HEADERS[version](file)
        # numpy would map objects, and divide by the size of a value.
        if dtype.hasobject or not dtype.itemsize or not all(0 <= length <= sys.maxsize for length in shape):
            raise ValueError(f"found shape {shape} of {dtype}, expected plain numbers")
        return shape, fortran_order, dtype


@contextlib.contextmanager
def _damage_is_value_error():
    """Turns all that archives, decompressors and parsers raise for damaged bytes into a `ValueError` of one line."""
    try:
        with warnings.catch_warnings(action="error"):  # numpy warns of headers that it did not write
            yield
    except Exception as error:
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from error


_remove_leftovers_once = functools.cache(remove_leftovers)


@contextlib.contextmanager
def _sibling(path):
    if path.name in ("", ".."):
        raise ConfigError(f"{path}: cannot be written: give the place a name, from another folder")
    name = os.fsencode(path.stem)
    stem = path.stem if len(name) < _LONG_NAME else hashlib.sha256(name).hexdigest()
    work = path.with_name(f".{stem}.{_HOST}-{os.getpid()}.partial{path.suffix}")
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


def _identity(path):
    """What tells a file from all others, by whatever name; None if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _both_ends(path):
    """The first and the last bytes of a file; nothing of what is no regular file."""
    if not os.path.isfile(path):
        return b""
    with open(path, "rb") as file:
        first = file.read(_END)
        file.seek(max(0, os.fstat(file.fileno()).st_size - _END))
        return first + file.read(_END)


def _runs(process):
    try:
        os.kill(process, 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)  # another error: it belongs to another user
    return True


def _with_causes(error):
    """An exception, and those while whose handling it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _says_full(error):
    return getattr(error, "errno", None) in _NO_SPACE or os.strerror(errno.ENOSPC) in str(error)


def _is_full(folder):
    with contextlib.suppress(OSError):
        return shutil.disk_usage(folder).free < _FULL
    return False


@contextlib.contextmanager
def _locked(folder):
    """Tries to lock the folder; yields whether this process now has the lock."""
    handle, mine = os.open(folder, os.O_RDONLY | os.O_CLOEXEC), True
    try:
        with contextlib.suppress(OSError):  # the file system has no locks
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                mine = False
        yield mine
    finally:
        os.close(handle)
