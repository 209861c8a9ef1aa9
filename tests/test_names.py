"""Names on their way out."""

import os
from pathlib import Path

import pytest

from kdloss.names import from_cell, library_path, printable, to_cell


def test_what_is_shown_is_one_printable_line():
    assert printable("a\tb\n 人 é\x1b[31m\udcff\u202e\\") == r"a b 人 é\x1b[31m\udcff\u202e" + "\\"


@pytest.mark.parametrize("name", ["=1", "+1", "-1", "@a", "\ta", "\ra"])
def test_a_cell_is_no_formula(name):
    assert to_cell(name) == f"'{name}"
    for own in (name, f"'{name}", f"''{name}"):
        assert from_cell(to_cell(own)) == own


def test_other_names_stay_as_they_are():
    for name in ("", "a=1.jpg", "'a'", "007"):
        assert to_cell(name) == from_cell(name) == name


def test_libraries_get_paths_in_utf_8(tmp_path):
    for name in ("人.txt", os.fsdecode(b"\xff.txt")):
        with library_path(tmp_path / name) as path:
            Path(path).write_text(path.encode().decode()[-4:])
        assert (tmp_path / name).read_text() == ".txt"
