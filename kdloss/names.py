"""Names on their way out: to terminals and logs, to text files and tables, and to libraries.

A name of a file is any bytes but ``/`` and zero: not only valid UTF-8, but also line ends, control sequences of
terminals, and formulas of spreadsheets. Python holds bytes that are no UTF-8 as surrogates.
"""

import contextlib
import os
import re
import tempfile

# How text files are written: what is no valid text becomes \\udcXX.
TEXT = {"encoding": "utf-8", "errors": "backslashreplace"}
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def printable(text):
    """A text as one line for terminals and logs, with \\ escapes for all that is not printable."""
    line = " ".join(str(text).split())
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)


def to_cell(name):
    """A name as a cell of a CSV table, with ' before what a spreadsheet would compute; `from_cell` takes it away."""
    return f"'{name}" if _FORMULA.match(name) else name


def from_cell(cell):
    """The name that `to_cell` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


@contextlib.contextmanager
def library_path(path):
    """Yields an absolute path of a file for a library: the path itself or, if that is no UTF-8, a link to it.

    Libraries in C++ take other paths badly, or even end the process. The link is gone after the block.
    """
    path = os.path.abspath(path)
    if path.encode(errors="replace").decode() == path:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        suffix = os.path.splitext(path)[1]
        link = os.path.join(folder, f"link{suffix if suffix.isascii() else ''}")
        os.symlink(path, link)
        yield link


def counted(number, noun):
    """A number with its noun: ``1 face``, ``2 faces``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
