"""The folder in which a prepared set grows: found again, taken by one at a time, and gone when the set is made."""

import os
import types

import pytest

from asm.errors import UserError
from asm.locks import held
from data_prep import chunks, gathering
from data_prep.faces_file import FacesFile
from data_prep.processes import ProcessLost
from data_prep.work_folder import WorkFolder
from kdloss.errors import DataError
from kdloss.prepared import PreparedDataset
from tests.data_prep.many_faces import COUNT, prepare_many, write_many_faces


@pytest.fixture
def source(tmp_path, marked):
    return write_many_faces(tmp_path / "raw", marked)


@pytest.fixture
def cut(monkeypatch):
    """Numbers of the faces that are cut; at ``cut.stop``, if it is set, Ctrl-C is pressed."""

    class Cut(list):
        stop = None

    numbers, original = Cut(), chunks._cut_face

    def cut_face(face, number, *others):
        if number == numbers.stop:
            raise KeyboardInterrupt
        numbers.append(number)
        return original(face, number, *others)

    monkeypatch.setattr(chunks, "_cut_face", cut_face)
    return numbers


@pytest.fixture
def stopped(source, tmp_path, cut):
    """A prepare to ``out`` that was interrupted at face 140: the first two chunks are done."""
    cut.stop = 140
    with pytest.raises(KeyboardInterrupt):
        prepare_many(source, tmp_path / "out", processes=1)
    cut.stop = None
    cut.clear()
    return tmp_path / ".out.preparing"


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_the_same_call_goes_on_with_the_next_chunk(source, tmp_path, stopped, cut, capsys):
    assert stopped.is_dir()
    found = prepare_many(source, tmp_path / "out", processes=1)
    assert cut == [*range(128, COUNT)]
    assert hidden(tmp_path) == []
    assert found == prepare_many(source, tmp_path / "fresh", processes=1)


@pytest.mark.parametrize("damage", ["pixels", "file", "cut"])
def test_a_chunk_that_is_not_what_was_written_is_cut_again(source, tmp_path, stopped, cut, damage):
    (faces,) = stopped.glob("*/set/faces.npy")
    (chunk,) = stopped.glob("*/chunks/000000000.npz")
    if damage == "pixels":
        with FacesFile(faces, 16) as file:
            file.put(3, bytes(3 * 16 * 16))
    else:
        chunk.write_bytes(b"" if damage == "file" else chunk.read_bytes()[:-100])
    found = prepare_many(source, tmp_path / "out", processes=1)
    assert cut == [*range(64), *range(128, COUNT)]
    assert found == prepare_many(source, tmp_path / "fresh", processes=1)


@pytest.mark.parametrize("change", ["size", "scale", "picture"])
def test_another_call_or_another_source_begins_anew(source, tmp_path, stopped, cut, change):
    options = {"size": {"size": 24}, "scale": {"crop_scale": 1.5}, "picture": {}}[change]
    if change == "picture":
        os.utime(source / "3.png", ns=(0, 0))
    prepare_many(source, tmp_path / "out", processes=1, **options)
    assert cut == [*range(COUNT)]
    assert hidden(tmp_path) == []
    assert len(PreparedDataset(tmp_path / "out")) == COUNT - 6


def test_one_process_at_a_time(source, tmp_path, stopped, cut):
    with held(stopped), pytest.raises(UserError, match="another process works there: wait until it is done"):
        prepare_many(source, tmp_path / "out", processes=1)
    assert cut == []
    assert stopped.is_dir()
    assert prepare_many(source, tmp_path / "out", processes=1)


def test_a_set_that_stands_stays_until_the_new_one_is_whole(source, tmp_path, stopped, cut):
    before = prepare_many(source, tmp_path / "out", processes=1)
    cut.stop = 70
    with pytest.raises(KeyboardInterrupt):
        prepare_many(source, tmp_path / "out", size=24, overwrite=True, processes=1)
    cut.stop = None
    with pytest.raises(DataError, match="out: exists already"):
        prepare_many(source, tmp_path / "out", size=24, processes=1)
    assert PreparedDataset(tmp_path / "out").size == 16
    cut.clear()
    assert before != prepare_many(source, tmp_path / "out", size=24, overwrite=True, processes=1)
    assert cut[0] == 64
    assert hidden(tmp_path) == []


@pytest.mark.parametrize(("overwrite", "renames"), [(True, 0), (True, 1), (True, 2), (False, 0), (False, 2)])
def test_a_run_killed_between_the_last_steps_ends_well(source, tmp_path, cut, monkeypatch, overwrite, renames):
    """Before the old set is moved away, between that and the move of the new one, and before the work is removed."""
    out, size = tmp_path / "out", 24
    if overwrite:
        prepare_many(source, out, processes=1)
    left = iter(range(renames))
    with monkeypatch.context() as patch:
        replace = types.SimpleNamespace(replace=lambda *paths: _replaced(paths, next(left, None)))
        patch.setattr("data_prep.work_folder.os", replace)
        patch.setattr(WorkFolder, "_end", lambda self: None)
        if renames == 2:
            patch.setattr("data_prep.writer.WorkFolder.finish", _finished(WorkFolder.finish))
        with pytest.raises(KeyboardInterrupt):
            prepare_many(source, out, size=size, overwrite=overwrite, processes=1)
    assert hidden(tmp_path) == [".out.preparing"]
    cut.clear()
    found = prepare_many(source, out, size=size, overwrite=overwrite, processes=1)
    assert cut == []
    assert hidden(tmp_path) == []
    assert found == prepare_many(source, tmp_path / "fresh", size=size, processes=1)


def _replaced(paths, left):
    if left is None:
        raise KeyboardInterrupt
    os.rename(*paths)


def _finished(finish):
    def and_killed(self):
        finish(self)
        raise KeyboardInterrupt

    return and_killed


@pytest.mark.parametrize("moved", [0, 40, 180])
@pytest.mark.parametrize("damaged", ["", "face", "chunk"])
def test_a_run_killed_while_gaps_are_closed_ends_well(source, tmp_path, cut, monkeypatch, moved, damaged):
    """Faces 5 and on leave their places. A face that is in neither place any more is cut again, with its chunk."""
    put, left = FacesFile.put, iter(range(moved))

    def put_some(self, number, pixels):
        if len(cut) == COUNT and (tmp_path / "begun").exists() and next(left, None) is None:
            raise KeyboardInterrupt
        put(self, number, pixels)

    with monkeypatch.context() as patch:
        patch.setattr("data_prep.writer.close_gaps", begun(tmp_path / "begun"))
        patch.setattr(FacesFile, "put", put_some)
        with pytest.raises(KeyboardInterrupt):
            prepare_many(source, tmp_path / "out", processes=1)
    if damaged == "chunk":
        (path,) = tmp_path.glob(".out.preparing/*/chunks/000000064.npz")
        path.write_bytes(path.read_bytes()[:100])
    if damaged == "face":
        (path,) = tmp_path.glob(".out.preparing/*/set/faces.npy")
        with FacesFile(path, 16) as faces:
            faces.put(229, bytes(3 * 16 * 16))
    cut.clear()
    found = prepare_many(source, tmp_path / "out", processes=1)
    assert bool(cut) == bool(damaged)
    assert found == prepare_many(source, tmp_path / "fresh", processes=1)


def begun(mark, close_gaps=gathering.close_gaps):
    def close(*arguments):
        mark.touch()
        return close_gaps(*arguments)

    return close


def test_an_old_set_comes_back_if_the_new_one_is_given_up(source, tmp_path):
    """A run that was killed between the two renames left no set; one of another key must not lose the old one."""
    before = prepare_many(source, tmp_path / "out", processes=1)
    (tmp_path / ".out.preparing").mkdir()
    (tmp_path / "out").rename(tmp_path / ".out.preparing" / "old")
    with pytest.raises(DataError, match="none of"), WorkFolder(tmp_path / "out", "key").held():
        raise DataError("none of them")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert hidden(tmp_path) == []


def test_what_cannot_be_had_again_never_stays(tmp_path):
    for error in (KeyboardInterrupt, ProcessLost, OSError):
        with pytest.raises(error), WorkFolder(tmp_path / "out").held():
            raise error
        assert hidden(tmp_path) == []


def test_a_full_disk_is_one_line(tmp_path):
    with FacesFile("/dev/full", 16) as faces, pytest.raises(DataError) as caught:
        faces.put(0, bytes(3 * 16 * 16))
    assert "/dev/full: cannot be written (No space left on device): make room, or give" in str(caught.value)
