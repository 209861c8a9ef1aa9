"""What a reader is to the fuzzer, and what may come of one input."""

import random
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis.strategies import SearchStrategy

from asm.errors import UserError
from tests.fuzz.mutations import mutated

MOST_SECONDS = 5
MOST_BYTES = 1 << 30
ACCEPTED, REFUSED = "accepted", "refused"


@dataclass(frozen=True)
class Reader:
    """A reader of files that anybody may have written.

    Args:
        name: of the reader.
        file: name of the file that is fuzzed, within the reader's folder.
        begin: (folder) -> writes whatever else the folder needs; returns bytes of valid files, some.
        read: (folder) -> reads it as a command does; `UserError` is its way to refuse it.
        structured: strategy of bytes of files that are nearly right.
        share: how many inputs it gets, relative to others.
    """

    name: str
    file: str
    begin: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]
    structured: SearchStrategy[bytes]
    share: float = 1.0


@dataclass(frozen=True)
class Crash:
    """An input that a reader neither read nor refused in order.

    Args:
        kind: class of the exception, ``warning``, ``slow``, ``memory``, ``killed``.
        place: the innermost line of the project that was running.
        text: what it said.
    """

    kind: str
    place: str
    text: str


def outcome(reader, folder, content):
    """Has a reader read one input: `ACCEPTED`, `REFUSED` or a `Crash`."""
    (folder / reader.file).write_bytes(content)
    _peak()
    before, started = _resident("VmRSS"), time.process_time()
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            result = _read(reader, folder)
    except BaseException as error:  # whatever it is, it is a finding
        if isinstance(error, KeyboardInterrupt):
            raise
        return Crash(type(error).__name__, _place(error.__traceback__), str(error)[:300])
    if seen:
        return Crash("warning", f"{Path(seen[0].filename).name}:{seen[0].lineno}", str(seen[0].message)[:300])
    if (seconds := time.process_time() - started) > MOST_SECONDS:
        return Crash("slow", "", f"{seconds:.1f} s of the processor")
    if (grown := _peak() - before) > MOST_BYTES:
        return Crash("memory", "", f"{grown / 1e6:.0f} MB")
    return result


def mutant(valid, seed):
    """A damaged one of valid files, which depends on the seed alone."""
    rng = random.Random(seed)
    return mutated(rng.choice(valid), valid, rng)


def _read(reader, folder):
    try:
        reader.read(folder)
    except UserError as error:
        if not str(error).strip():
            raise AssertionError("refused without a word") from error
        return REFUSED
    return ACCEPTED


def _peak():
    """The peak of resident memory since the last call, bytes."""
    peak = _resident("VmHWM")
    Path("/proc/self/clear_refs").write_text("5")
    return peak


def _resident(name):
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text[text.index(name) :].split(None, 2)[1])


def _place(trace):
    frames = traceback.extract_tb(trace)
    own = [frame for frame in frames if "/tests/" not in frame.filename and "site-packages" not in frame.filename]
    own = [frame for frame in own if any(f"/{part}/" in frame.filename for part in ("asm", "data_prep", "kdloss"))]
    chosen = (own or frames)[-1]
    return f"{Path(chosen.filename).name}:{chosen.lineno}"
