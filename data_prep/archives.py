"""Unpacks the archives that data sets come in (.zip, .tar, .tar.gz, .tgz) into a new folder, and nowhere else."""

import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

from kdloss.errors import DataError
from kdloss.files import new_folder

_BLOCK = 1 << 20


def unpack(archives, out, most_bytes=100e9):
    """Unpacks archives into the new folder ``out``, all or nothing; returns the number of files and of their bytes.

    Unpacked they may hold ``most_bytes`` in total, and no more than is free on the disk. Standard error shows each one.

    Raises:
        UserError: ``out`` exists; an archive is damaged, encrypted, one of several parts, or of another kind; a member
            would lie outside ``out``, or is a link or a device; all together are too large.
    """
    out, files, written = Path(out), 0, 0
    if out.exists():
        raise DataError(f"{out}: exists already: give another --out")
    with new_folder(out) as work:
        room = min(most_bytes, shutil.disk_usage(work).free)
        for archive in map(Path, archives):
            print(f"unpacking {archive}", file=sys.stderr, flush=True)
            if not archive.is_file():
                raise DataError(f"{archive}: no such file: expected an archive")
            if not os.access(archive, os.R_OK):
                raise DataError(f"{archive}: permission denied: give another, or make it readable")
            try:
                of_zip = zipfile.is_zipfile(archive)
                for name, size in _members_of_zip(archive) if of_zip else _members_of_tar(archive):
                    if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
                        raise ValueError(f"{name[:100]!r} leads out of the folder")
                    files, written = files + (not name.endswith("/")), written + size
                    if written > room:
                        limit = "--most-gb" if room == most_bytes else "the free space of the disk"
                        raise ValueError(f"unpacked, it would exceed {room / 1e9:g} GB: see {limit}")
                if of_zip:
                    shutil.unpack_archive(archive, work, "zip")
                else:
                    shutil.unpack_archive(archive, work, "tar", filter="data")
            except Exception as error:  # decoders raise errors of any kind at damaged files
                if isinstance(error, OSError) and error.errno:
                    raise
                reason = " ".join(str(error).split())[:200]
                raise DataError(f"{archive}: not unpacked ({reason}): expected a whole .zip or .tar archive") from error
        shutil.rmtree(work / "__MACOSX", ignore_errors=True)
    return files, written


def _members_of_zip(path):
    with zipfile.ZipFile(path) as archive:
        yield from ((info.filename, info.file_size) for info in archive.infolist())


def _members_of_tar(path):
    with tarfile.open(path) as archive:
        for member in archive:
            if not (member.isreg() or member.isdir()):
                raise ValueError(f"{member.name[:100]!r} is a link or a device")
            yield (member.name, member.size) if member.isreg() else (f"{member.name}/", 0)
        # tarfile takes a damaged header for the end, and gzip checks its data only when all of it has been read.
        archive.fileobj.seek(archive.offset)
        end = archive.fileobj.read(_BLOCK)
        if len(end) < tarfile.BLOCKSIZE or end.strip(b"\0"):
            raise ValueError("the end is damaged or missing")
        while archive.fileobj.read(_BLOCK):
            pass
