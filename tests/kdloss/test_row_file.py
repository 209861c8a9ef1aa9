"""Rows of an array on disk: those that numpy reads, from any number of threads, and no memory taken for good."""

import gc
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kdloss.prepared import RowFile


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path, array):
    np.save(tmp_path / "rows.npy", array)
    return tmp_path / "rows.npy"


def test_rows_are_those_that_were_saved(path, array):
    rows = RowFile(path)
    assert (rows.shape, rows.dtype, len(rows)) == (array.shape, np.uint8, 12)
    for number in (0, 11, -1, -12, np.int64(3)):
        np.testing.assert_array_equal(rows[number], array[number])
    np.testing.assert_array_equal(np.stack([*rows]), array)
    for part in (slice(None), slice(2, 9, 3), slice(None, None, -1), slice(5, 5), slice(-3, 40)):
        assert rows[part].shape == array[part].shape
        np.testing.assert_array_equal(rows[part], array[part])


@pytest.mark.parametrize("part", [slice(0, 5), slice(1, 3), slice(4, 5), slice(2, 2)])
def test_a_part_of_a_row_is_read_where_it_belongs(path, array, part):
    rows = RowFile(path)
    for number in (0, 7, -1):
        found = rows.read_part(number, part)
        assert (found.shape, found.dtype) == (array.shape[1:], array.dtype)
        np.testing.assert_array_equal(found[part], array[number, part])
    for number in (12, -13):
        for read in (rows.__getitem__, lambda number: rows.read_part(number, part)):
            with pytest.raises(IndexError, match=r"no row .* of 12"):
                read(number)


def test_rows_of_numbers_and_of_none_are_read(tmp_path):
    for array in (np.arange(6.0), np.zeros((0, 4), np.float32), np.arange(24).reshape(2, 3, 4)):
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(RowFile(tmp_path / "a.npy")[:], array)


def test_many_threads_read_at_once(path, array):
    rows, numbers = RowFile(path), np.random.default_rng(1).integers(0, 12, 2000)
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda number: np.array_equal(rows[number], array[number]), numbers))


@pytest.mark.parametrize("change", [b"\0", -1])
def test_a_file_longer_or_shorter_than_it_says_is_refused(path, change):
    content = path.read_bytes()
    path.write_bytes(content + change if isinstance(change, bytes) else content[:change])
    with pytest.raises(ValueError, match=rf"found {path.stat().st_size} bytes, expected {len(content)}"):
        RowFile(path)


@pytest.mark.parametrize("array", [np.array([{}]), np.asfortranarray(np.zeros((3, 2))), np.float64(3)])
def test_what_has_no_rows_of_numbers_is_refused(tmp_path, array):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=r"expected (rows|plain numbers)"):
        RowFile(tmp_path / "a.npy")


def test_a_file_that_shrinks_while_it_is_open_is_an_error_and_no_crash(path, array):
    rows = RowFile(path)
    os.truncate(path, path.stat().st_size - 30)
    with pytest.raises(OSError, match="was cut short while it was read"):
        rows[11]
    np.testing.assert_array_equal(rows.read_part(11, slice(0, 2))[:2], array[11, :2])
    with pytest.raises(OSError, match="was cut short while it was read"):
        rows.read_part(11, slice(1, 5))


def test_the_file_is_closed_with_its_last_user(path):
    def opened():
        links = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
        return sum(os.path.realpath(link) == str(path.resolve()) for link in links)

    rows = RowFile(path)
    assert opened() == 1
    del rows
    gc.collect()
    path.write_bytes(b"no array, as long as one may be")
    with pytest.raises(ValueError, match="magic string"):
        RowFile(path)
    gc.collect()
    assert opened() == 0
