"""``faces.npy`` while it is made: by any number of processes at a time, each face in its place."""

import io
import os
from pathlib import Path

import numpy as np

from kdloss.errors import DataError


class FacesFile:
    """``faces.npy`` while it grows: faces are written to their places in any order."""

    def __init__(self, path, size):
        """Opens it, or makes it; see `resize`."""
        self.path, self.size, self.face_bytes = Path(path), size, 3 * size * size
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._start = len(self._header(0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self._file)

    def resize(self, count):
        """Makes room for ``count`` faces, no more; those that are there stay."""
        os.ftruncate(self._file, self._start + count * self.face_bytes)
        self._write(self._header(count), 0)

    def put(self, number, pixels):
        """Writes the pixels of a face, bytes."""
        self._write(pixels, self._start + number * self.face_bytes)

    def get(self, number):
        """The pixels of a face, bytes; fewer than it has where the file is too short."""
        return os.pread(self._file, self.face_bytes, self._start + number * self.face_bytes)

    def _write(self, content, offset):
        content = memoryview(content)
        try:
            while content:
                written = os.pwrite(self._file, content, offset)
                content, offset = content[written:], offset + written
        except OSError as error:
            raise DataError(
                f"{self.path}: cannot be written ({error.strerror}): make room, or give another --out"
            ) from error

    def _header(self, count):
        # numpy leaves room for the first axis to grow: headers of all counts are equally long.
        header = io.BytesIO()
        shape = (count, self.size, self.size, 3)
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        return header.getvalue()
