"""Reads .npz and .npy files that anybody may have written: nothing in them is executed, and none takes more memory than
it may. Whatever is wrong with one is a `ValueError` of one line."""

import contextlib
import math
import os
import sys
import warnings

import numpy as np

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
