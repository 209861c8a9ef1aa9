"""The table of a prepared folder as columns, however long it is."""

import csv

import numpy as np
import pytest

from kdloss import prepared
from kdloss.errors import DataError
from kdloss.prepared import read_table

NAMES = ["name", "split", "source", "group", "box_x", "box_y", "box_width", "box_height", "subset_blur"]
ROWS = [
    ["a.png", "train", "x", "g", "1.5", "-2", "3", "4e2", "0"],
    ['odd, "name"', "test", "longer source", "", "", "", "", "", "1"],
    ["a much longer name than the others.png", "val", "x", "g", "0.1", "2", "3", "4", "0"],
]


def write(path, rows, names=NAMES):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


@pytest.mark.parametrize("lines", [1, 2, 3, 4096])
def test_columns_are_the_same_in_blocks_of_any_length(tmp_path, monkeypatch, lines):
    monkeypatch.setattr(prepared, "_LINES", lines)
    table = read_table(write(tmp_path / "table.csv", ROWS))
    assert [*table] == NAMES
    for number, name in enumerate(NAMES[:4]):
        assert table[name].tolist() == [row[number] for row in ROWS]
    np.testing.assert_array_equal(table["box_x"], [1.5, np.nan, 0.1])
    assert table["box_height"].dtype == np.float64
    assert table["subset_blur"].tolist() == [False, True, False]


@pytest.mark.parametrize("row", [["a.png", "train"], [*ROWS[0], "more"]])
def test_a_row_of_another_length_is_damage(tmp_path, row):
    with pytest.raises(DataError, match=r"table\.csv: damaged"):
        read_table(write(tmp_path / "table.csv", [*ROWS, row]))
