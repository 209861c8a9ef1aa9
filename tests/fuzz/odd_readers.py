"""Readers that do all that a reader must not do, to see that each is noticed."""

import os
import signal
import time
import warnings

from hypothesis import strategies as st

from asm.errors import UserError
from tests.fuzz.reader import Reader


def _begin(folder):
    return [b"12345678" * 4]


def _read(folder):
    first = (folder / "file").read_bytes()[:1]
    if first == b"r":
        raise UserError("refused")
    if first == b"e":
        raise KeyError("crash")
    if first == b"w":
        warnings.warn("odd", stacklevel=1)
    if first == b"m":
        bytearray(b"x") * (1200 << 20)
    if first == b"s":
        os.kill(os.getpid(), signal.SIGSEGV)
    if first == b"h":
        time.sleep(60)


READERS = (
    Reader("odd", "file", _begin, _read, st.sampled_from([b"a", b"r", b"e", b"w", b"m", b"s", b"h"])),
    Reader("plain", "file", _begin, lambda folder: None, st.binary(max_size=30)),
)
