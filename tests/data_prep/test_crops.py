"""Preparing in several processes: the same bytes as in one, and a stopped run leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep.prepare import prepare
from kdloss.data.prepared import PreparedDataset
from kdloss.errors import UserError
from tests.conftest import REPOSITORY
from tests.data_prep.marked_faces import marked

COUNT = 230  # a process takes 64 at a time


@pytest.fixture
def source(tmp_path):
    """Face 5 is not labelled, 9 has no picture, 70 and 200 repeat a name, 150 lies outside its picture, and 151 does
    both. Face 100 has a picture of its own."""
    folder = tmp_path / "raw"
    folder.mkdir()
    images, annotations = [], []
    for seed in range(10):
        image, points = marked(5, seed)
        Image.fromarray(image).save(folder / f"{seed}.png")
        images.append((f"{seed}.png", points))
    images += [("gone.png", points), ("held.png", points)]
    (folder / "held.png").write_bytes((folder / "0.png").read_bytes())
    for number in range(COUNT):
        image = {9: 10, 100: 11}.get(number, number % 10)
        shift = 500 if number in (150, 151) else number % 7
        table = np.column_stack([images[image][1] + shift, np.full(5, 0 if number == 5 else 2)])
        entry = {"id": {70: 20, 200: 20, 151: 31}.get(number, number), "image_id": image}
        annotations.append(entry | {"keypoints": table.ravel().tolist(), "bbox": [1, 2, 3, number]})
    entries = [{"id": i, "file_name": name} for i, (name, _) in enumerate(images)]
    (folder / "faces.json").write_text(json.dumps({"images": entries, "annotations": annotations}))
    return folder


def prepare_small(source, out, size=16, **options):
    """Prepares the faces; returns the files of the prepared folder, name -> bytes."""
    prepare("folder", source, out, size=size, **options)
    return {path.name: path.read_bytes() for path in sorted(out.iterdir())}


def test_any_number_of_processes_writes_the_same_bytes(source, tmp_path):
    one = prepare_small(source, tmp_path / "one", processes=1)
    assert one == prepare_small(source, tmp_path / "two", processes=2)
    prepared, repeated = PreparedDataset(tmp_path / "one"), "a face of this name came before"
    assert len(prepared) == COUNT - 6
    expected = [("5.png#5", "is labelled"), ("gone.png", "no such picture"), ("0.png#20", repeated)]
    expected += [("0.png#150", "no point lies inside"), ("1.png#31", repeated), ("0.png#20", repeated)]
    for skipped, (name, reason) in zip(prepared.manifest["skipped"], expected, strict=True):
        assert skipped["name"] == name
        assert reason in skipped["reason"]


@pytest.mark.parametrize(
    ("stop", "status", "said"),
    [
        (lambda run, faces: os.killpg(run.pid, signal.SIGINT), 130, "interrupted"),
        (lambda run, faces: os.kill(faces[0], signal.SIGKILL), 2, "most likely for lack of memory: run the same"),
        (lambda run, faces: run.kill(), -signal.SIGKILL, ""),
    ],
    ids=["Ctrl-C", "one killed", "all killed"],
)
def test_a_run_that_is_stopped_says_one_line_and_leaves_nothing(source, tmp_path, stop, status, said):
    words = ["folder", "--source", str(source), "--out", str(tmp_path / "out"), "--size", "16", "--processes", "2"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "data_prep", *words]
    with subprocess.Popen(command, **pipes, cwd=REPOSITORY, start_new_session=True) as run:
        assert " 20 % " in run.stderr.readline() + run.stderr.readline()
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        faces = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
        assert len(faces) == 2
        stop(run, faces)
        lines = [line for line in run.communicate(timeout=20)[1].splitlines() if " % " not in line]
    assert run.returncode == status
    if said:
        (line,) = lines
        assert said in line
    end = time.monotonic() + 10
    while any(map(lives, faces)):
        assert time.monotonic() < end, "processes outlive the one that started them"
        time.sleep(0.02)
    if said:
        assert [path.name for path in tmp_path.iterdir()] == ["raw"]
    prepare_small(source, tmp_path / "out", processes=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]


def lives(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("processes", [1, 2])
def test_a_full_disk_is_one_line_and_leaves_nothing(source, small_disk, processes):
    with pytest.raises(UserError, match="out: no space left on the disk: make room, then run the same command again"):
        prepare_small(source, small_disk / "out", size=48, processes=processes)
    assert list(small_disk.iterdir()) == []


def test_the_old_set_comes_back_if_its_replacement_was_killed_at_the_swap(source, tmp_path):
    before = prepare_small(source, tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.replaced")
    with pytest.raises(UserError, match="exists already"):
        prepare_small(source, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "raw"]
