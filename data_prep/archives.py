"""Unpacks the archives that data sets come in (.zip, .tar, .tar.gz, .tgz) into a new folder, and nowhere else.

Members are written one by one, as plain files and folders: no link is made or followed, no owner, permission or device
taken over. What an archive must not hold refuses all of it.
"""

import contextlib
import errno
import functools
import gzip
import re
import shutil
import stat
import tarfile
import zipfile
from pathlib import Path

from asm.atomic import new_folder
from kdloss.errors import DataError

MOST_BYTES = 100e9
_MOST_FILES = 1_000_000
_BLOCK = 1 << 20
# Headers of tar archives that announce more than this are no names.
_LARGEST_READ = 16 << 20
_PART = re.compile(r"\.(\d{2,3}|z\d\d|part\d+(\.rar)?)$", re.IGNORECASE)
_ANEW = "fetch it again from its publisher"
# What macOS adds to archives; several hold the same.
_CLUTTER = ("__MACOSX", ".DS_Store")


def unpack(archives, out, most_bytes=MOST_BYTES):
    """Unpacks archives into one new folder, all of them or nothing.

    Args:
        archives: paths.
        out: the folder to make.
        most_bytes: how much they may hold together, unpacked; the disk's free space is a limit too.

    Returns:
        How many files were written, and their bytes.

    Raises:
        DataError: ``out`` exists; an archive is damaged, encrypted, a part of several, or of another kind; a member
            would lie outside ``out``, is a link or a device, or is there twice; all together are too large.
    """
    out = Path(out)
    if out.exists():
        raise DataError(f"{out}: exists already: give another --out")
    with new_folder(out) as work:
        room, files, written = min(most_bytes, shutil.disk_usage(work).free), 0, 0
        for archive in archives:
            for name, size, blocks in _members(Path(archive)):
                place = work.joinpath(*_inside(archive, name))
                files, written = files + (blocks is not None), written + size
                if written > room or files > _MOST_FILES:
                    raise DataError(_too_much(archive, most_bytes, room, written))
                _write(archive, name, place, blocks)
    return files, written


def _inside(archive, name):
    """The parts of a member's path.

    Raises:
        DataError: it leads out of the folder.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise DataError(f"{archive}: {name[:100]!r} leads out of the folder: not unpacked; {_ANEW}")
    return parts


def _too_much(archive, most_bytes, room, written):
    if written <= room:
        return f"{archive}: with it there are more than {_MOST_FILES} files: no data set of faces has as many"
    if room < most_bytes:
        return f"{archive}: does not fit on the disk, {room / 1e9:.1f} GB are free: make room, or give another --out"
    return f"{archive}: with it {most_bytes / 1e9:g} GB are exceeded, unpacked: give --most-gb if that is meant"


def _write(archive, name, place, blocks):
    try:
        if blocks is None:
            place.mkdir(parents=True, exist_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(place, "xb") as file:
            for block in blocks:
                file.write(block)
    except (FileExistsError, NotADirectoryError):
        raise DataError(
            f"{archive}: {name[:100]!r} is there twice, in it or in an archive before it: {_ANEW}"
        ) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DataError(f"{archive}: {name[:40]!r}... is too long for a name: not unpacked; {_ANEW}") from None
        raise


def _members(path):
    """Name, size in bytes, and an iterator of blocks, None for a folder, of each member.

    Raises:
        DataError: see `unpack`.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file: expected an archive")
    if _PART.search(path.name) or path.with_suffix(".z01").exists():
        raise DataError(f"{path}: a part of an archive in several: join them first (cat NAME.0* > NAME, or zip -s 0)")
    with _readable(path):
        for name, size, opened in _zip_members(path) if zipfile.is_zipfile(path) else _tar_members(path):
            if not any(part in _CLUTTER for part in name.split("/")):
                yield name, size, None if opened is None else _blocks(path, opened)


@contextlib.contextmanager
def _readable(path):
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever a damaged file leads them to
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{path}: damaged, cut short, or no .zip or .tar archive ({reason}): {_ANEW}") from error


def _blocks(path, opened):
    with _readable(path), opened() as file:
        while block := file.read(_BLOCK):
            yield block


def _zip_members(path):
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(_special(path, info.filename))
            if info.flag_bits & 1:
                raise DataError(f"{path}: {info.filename[:100]!r} is encrypted: unpack it with its password, by unzip")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(
                    f"{path}: {info.filename[:100]!r} is packed by method {info.compress_type}: unpack it by unzip"
                )
            name = info.filename.replace("\\", "/")  # as some programs write them
            yield name, info.file_size, None if name.endswith("/") else functools.partial(archive.open, info)


def _tar_members(path):
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else open(path, "rb") as file:
        source = _Source(file)
        with tarfile.open(fileobj=source, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # they would all stay in memory
                if not (member.isreg() or member.isdir()):
                    raise DataError(_special(path, member.name))
                size = member.size if member.isreg() else 0
                yield member.name, size, functools.partial(archive.extractfile, member) if member.isreg() else None
            # tarfile takes a damaged header for the end, too.
            if source.last != bytes(tarfile.BLOCKSIZE):
                raise ValueError("no end where one is expected")
        source.read(_BLOCK)  # gzip checks what it has read at the very end


def _special(path, name):
    return f"{path}: {name[:100]!r} is a link or a device, expected plain files and folders: not unpacked; {_ANEW}"


class _Source:
    """A file for `tarfile`, which would read names of any announced length into memory. ``last``: what it read last."""

    def __init__(self, file):
        self.last, self._file = b"", file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size):
        if not 0 <= size <= _LARGEST_READ:
            raise ValueError(f"a header of {size} bytes")
        self.last = self._file.read(size)
        return self.last
