"""Preparing in several processes: the same bytes as in one, and no process outlives the one that started it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_prep import processes
from data_prep.face import RawDataset
from data_prep.prepare import open_raw
from data_prep.writer import write_prepared
from kdloss.datasets import DATASETS
from kdloss.errors import DataError
from kdloss.prepared import PreparedDataset
from tests.data_prep.many_faces import COUNT, HELD, content, hold, prepare_many, release, write_many_faces

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path, marked):
    return write_many_faces(tmp_path / "raw", marked)


@pytest.fixture
def running(source, tmp_path):
    """``running()`` -> a prepare in two processes that waits for a picture, all other chunks done."""
    started = []

    def start():
        hold(source)
        words = ["folder", "--source", str(source), "--out", str(tmp_path / "out"), "--size", "16", "--processes", "2"]
        run = subprocess.Popen(
            [sys.executable, "-m", "data_prep", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            start_new_session=True,
        )
        started.append(run)
        wait_for(lambda: done_chunks(tmp_path) == [0, 128, 192])
        return run

    yield start
    for run in started:
        run.kill()
        run.wait()
        run.stderr.close()


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def done_chunks(folder):
    return sorted(int(path.stem) for path in folder.glob(".out.preparing/*/chunks/[0-9]*.npz"))


def children(run):
    path = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    return [int(word) for word in path.read_text().split()]


def lives(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_any_number_of_processes_writes_the_same_bytes(source, tmp_path):
    one = prepare_many(source, tmp_path / "one", processes=1)
    assert one == prepare_many(source, tmp_path / "two", processes=2)
    # The same faces from memory, with nothing to go on with: only the manifest says where they came from.
    entries = [*open_raw("folder", source).entries]
    raw = RawDataset(open_raw("folder", source).scheme, entries, warnings=open_raw("folder", source).warnings)
    write_prepared(raw, DATASETS["folder"], tmp_path / "three", source=source, size=16)
    assert one == content(tmp_path / "three")
    prepared = PreparedDataset(tmp_path / "one")
    assert len(prepared) == COUNT - 6
    skipped = prepared.manifest["skipped"]
    names = ["5.png#5", "gone.png", "0.png#20", "0.png#150", "1.png#31", "0.png#20"]
    assert [entry["name"] for entry in skipped] == names
    reasons = [entry["reason"] for entry in skipped]
    assert "not labelled" in reasons[0]
    assert "cannot be read" in reasons[1]
    assert "no point lies inside" in reasons[3]
    assert {reasons[i] for i in (2, 4, 5)} == {"a face of this name came before"}


def test_a_run_whose_processes_were_all_killed_goes_on(source, tmp_path, running, monkeypatch):
    run = running()
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert done_chunks(tmp_path) == [0, 128, 192]
    assert not (tmp_path / "out").exists()
    cut = []
    monkeypatch.setattr("data_prep.chunks._cut_face", counted(cut))
    release(source)
    found = prepare_many(source, tmp_path / "out", processes=1)
    assert cut == [*range(64, 128)]
    assert HELD in cut
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    release(source)
    assert found == prepare_many(source, tmp_path / "other", processes=1)


def counted(cut):
    from data_prep.chunks import _cut_face

    def count(face, number, *others):
        cut.append(number)
        return _cut_face(face, number, *others)

    return count


def test_processes_end_with_the_one_that_started_them(running):
    run = running()
    others = children(run)
    assert len(others) == 2
    run.kill()
    run.wait()
    wait_for(lambda: not any(map(lives, others)), seconds=10)


@pytest.mark.parametrize(("number", "status", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "")])
def test_signals_to_the_whole_group_keep_what_is_done(tmp_path, running, number, status, said):
    run = running()
    others = children(run)
    os.killpg(run.pid, number)
    _, errors = run.communicate(timeout=20)
    assert run.returncode == status, errors
    lines = [line for line in errors.splitlines() if " % " not in line]
    assert lines[0] == f"{tmp_path / 'out'}: what is done is kept: run the same command again to go on"
    assert lines[1].startswith(said)
    assert len(lines) == 2
    assert done_chunks(tmp_path) == [0, 128, 192]
    assert not any(map(lives, others))


def test_a_process_that_is_killed_is_named_and_what_is_done_is_kept(tmp_path, running):
    run = running()
    for other in children(run):
        os.kill(other, signal.SIGKILL)
    _, errors = run.communicate(timeout=20)
    assert run.returncode == 2
    (line,) = [line for line in errors.splitlines() if " % " not in line]
    assert "a process that cuts faces was ended by signal 9, most likely for want of memory" in line
    assert "run the same command again to go on, with fewer --processes" in line
    assert done_chunks(tmp_path) == [0, 128, 192]


def test_what_a_process_finds_is_one_line_and_leaves_nothing(source, tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "json", Lying())
    with pytest.raises(DataError, match=f"found {COUNT} faces, and 7 before: it changes"):
        prepare_many(source, tmp_path / "out", processes=2)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


class Lying:
    """As the module json, but for the number of faces that processes are told."""

    loads = staticmethod(json.loads)

    @staticmethod
    def dumps(job):
        return json.dumps(job | {"total": 7})


def test_processes_are_not_started_for_a_handful_of_faces(source, tmp_path, monkeypatch):
    monkeypatch.setattr("data_prep.writer.cut_in_processes", None)
    monkeypatch.setattr("data_prep.prepare.usable_cores", lambda: 8)
    assert prepare_many(source, tmp_path / "out")
