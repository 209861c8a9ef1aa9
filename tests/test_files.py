"""Files and folders appear whole or not at all, and what a killed process had begun is removed."""

import errno
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from kdloss.errors import UserError
from kdloss.files import (
    held,
    is_held,
    map_npy,
    new_folder,
    open_input,
    read_npz,
    read_text,
    remove_leftovers,
    replacing,
    write_whole,
)
from tests.conftest import REPOSITORY


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_appears_whole(tmp_path, durable):
    path = tmp_path / "new" / "a.npy"
    with replacing(path, durable) as work:
        assert work.suffix == ".npy"
        np.save(work, np.arange(3), allow_pickle=False)
        assert not path.exists()
    assert np.load(path, allow_pickle=False).tolist() == [0, 1, 2]
    write_whole(path, b"other", durable)
    assert path.read_bytes() == b"other"
    assert names(path.parent) == ["a.npy"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_fails_leaves_the_file_before(tmp_path, error):
    def fail(place):
        place.write_text("half")
        raise error

    write_whole(tmp_path / "a.txt", "before")
    with pytest.raises(error), replacing(tmp_path / "a.txt") as work:
        fail(work)
    with pytest.raises(error), new_folder(tmp_path / "folder") as work:
        fail(work / "b.txt")
    assert (tmp_path / "a.txt").read_text() == "before"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "new" / "a.b") as work:
        (work / "c.txt").write_text("c")
        assert not (tmp_path / "new" / "a.b").exists()
    assert names(tmp_path / "new") == ["a.b"]
    assert (tmp_path / "new" / "a.b" / "c.txt").read_text() == "c"
    with (
        pytest.raises(UserError, match=r"a\.b: cannot be written \(Directory not empty\)"),
        new_folder(tmp_path / "new" / "a.b") as work,
    ):
        (work / "d.txt").write_text("d")
    assert names(tmp_path / "new" / "a.b") == ["c.txt"]


KILLED = """
import os, signal, sys
from pathlib import Path
from kdloss.files import new_folder, replacing

with replacing(Path(sys.argv[1]) / "file.txt") as file, new_folder(Path(sys.argv[1]) / "folder") as folder:
    file.write_text("half")
    (folder / "part.txt").write_text("half")
    if sys.argv[2] == "waits":
        print("ready", flush=True)
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run([*command, "at once"], cwd=REPOSITORY, check=False).returncode == -signal.SIGKILL
    left = names(tmp_path)
    assert len(left) == 2
    assert all(name.startswith(".f") and ".partial" in name for name in left)
    (tmp_path / ".hidden.txt").write_text("mine")
    (tmp_path / ".file.elsewhere-1.partial.txt").write_text("of another machine")
    living = subprocess.Popen([*command, "waits"], cwd=REPOSITORY, stdin=-1, stdout=-1, text=True)
    assert living.stdout.readline() == "ready\n"
    write_whole(tmp_path / "file.txt", "whole")
    kept = [".file.elsewhere-1.partial.txt", ".hidden.txt", "file.txt"]
    assert [name for name in names(tmp_path) if f"-{living.pid}.partial" not in name] == kept
    assert len(names(tmp_path)) == len(kept) + 2
    living.communicate("")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == kept
    remove_leftovers(tmp_path / "absent")


def test_errors_say_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/a\.txt: cannot be written \((Not a directory|File exists)\): give"):
        write_whole(tmp_path / "file" / "a.txt", "")
    for number in (errno.ENOSPC, errno.EDQUOT):
        with (
            pytest.raises(UserError, match=r"a\.txt: no space left on the disk: make room"),
            replacing(tmp_path / "a.txt"),
        ):
            raise OSError(number, os.strerror(number))
    for first in (OSError(errno.ENOSPC, "full"), RuntimeError(f"write failed: {os.strerror(errno.ENOSPC)}")):
        # As zipfile, which fails once more where it closes what it could not write; the disk has room again.
        later = ValueError("an open handle")
        later.__context__ = first
        with pytest.raises(UserError, match=r"a\.txt: no space left on the disk"), replacing(tmp_path / "a.txt"):
            raise later
    with pytest.raises(UserError, match="as it is"), replacing(tmp_path / "a.txt"):
        raise UserError("as it is")


@pytest.mark.parametrize("write", [np.save, np.savez, lambda path, array: path.write_bytes(array.tobytes())])
def test_a_full_disk_is_one_clear_line_and_keeps_what_was_there(small_disk, write):
    path = small_disk / "state.npz"
    write_whole(path, b"the last good state")
    noise = np.random.default_rng(0).integers(0, 256, 1 << 20, dtype=np.uint8)
    with pytest.raises(UserError) as raised, replacing(path) as work, open(work, "wb") as file:
        write(work if write is not np.save else file, noise)
    assert str(raised.value) == f"{path}: no space left on the disk: make room, then run the same command again"
    assert path.read_bytes() == b"the last good state"
    assert names(small_disk) == ["state.npz"]


def test_a_held_folder_is_refused_until_it_is_released(tmp_path):
    with held(tmp_path):
        assert is_held(tmp_path)
        with pytest.raises(UserError, match="another process works there: wait until it is done"), held(tmp_path):
            pass
    assert not is_held(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_regular_files_of_a_bounded_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(5 * 10**9)
    (tmp_path / "text").write_bytes("\ufeffa".encode())
    for place in (tmp_path / "pipe", "/dev/zero"):
        for read in (open_input, read_text):
            with pytest.raises(OSError, match="no regular file"):
                read(place)
        for read in (lambda path: read_npz(path, 1), map_npy):
            with pytest.raises(ValueError, match="no regular file"):
                read(place)
    with pytest.raises(OSError, match="5000 MB, expected 300 MB at most"):
        read_text(tmp_path / "holes")
    with pytest.raises(IsADirectoryError):
        read_text(tmp_path)
    assert read_text(tmp_path / "text", "utf-8-sig") == "a"


def test_unfinished_files_of_long_names_have_shorter_ones(tmp_path):
    write_whole(tmp_path / f"{'a' * 250}.json", "b")
    assert len(names(tmp_path)[0]) == 255


def test_the_folder_that_one_works_in_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in (".", ".."):
        with pytest.raises(UserError, match="give the place a name"), new_folder(place):
            pass
