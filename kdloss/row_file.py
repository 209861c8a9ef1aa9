"""A .npy file of which single rows are read: nothing of it stays in memory, however large it is.

A memory map would do the same, but the system counts its pages as memory of the process, and a training touches all.
"""

import math
import os
import weakref
from collections.abc import Sequence

import numpy as np

from asm.array_files import npy_header


class RowFile(Sequence):
    """The rows of an array on disk, read-only. Any number of threads may read at a time.

    Attributes:
        shape, dtype: of the whole array.
    """

    def __init__(self, path):
        """Opens a file and reads its header.

        Raises:
            OSError: it cannot be read.
            ValueError: it is no .npy of numbers in C order, or longer or shorter than its header says.
        """
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)
        with open(self._file, "rb", closefd=False) as file:
            self.shape, fortran_order, self.dtype = npy_header(file)
            self._start = file.tell()
        if not self.shape or fortran_order:
            order = " in Fortran order" if fortran_order else ""
            raise ValueError(f"found shape {self.shape} of {self.dtype}{order}, expected rows")
        self._row_shape = self.shape[1:]
        self._row_bytes = math.prod(self._row_shape) * self.dtype.itemsize
        found, expected = os.fstat(self._file).st_size, self._start + len(self) * self._row_bytes
        if found != expected:
            raise ValueError(f"found {found} bytes, expected {expected}")

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        """Row ``key``, an array of the shape of a row; or the rows of a slice, stacked."""
        if isinstance(key, slice):
            rows = [self[number] for number in range(*key.indices(len(self)))]
            return np.stack(rows) if rows else np.empty((0, *self._row_shape), self.dtype)
        number = key.__index__()
        row = os.pread(self._file, self._row_bytes, self._place(number))
        if len(row) < self._row_bytes:
            raise self._cut_short()
        return np.frombuffer(row, self.dtype).reshape(self._row_shape)

    def read_part(self, number, part):
        """Row ``number``, of which no more is read than ``part``, a slice of its first axis: the rest is of any values.

        A crop that shows a part of a picture need not wait for all of it. Rows that are read one after the other are
        better read whole: the system reads ahead.
        """
        row = np.empty(self._row_shape, self.dtype)
        before = part.start * self._row_bytes // len(row)
        if os.preadv(self._file, [row[part]], self._place(number) + before) < row[part].nbytes:
            raise self._cut_short()
        return row

    def _place(self, number):
        """Where a row begins in the file."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"{self.path}: no row {number} of {len(self)}")
        return self._start + number % len(self) * self._row_bytes

    def _cut_short(self):
        return OSError(f"{self.path}: was cut short while it was read")
