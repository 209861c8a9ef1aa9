"""Commands that are killed at random moments, or run out of disk, end in the files of an undisturbed run.

``KDLOSS_KILLS=10 pytest -s tests/test_kills.py`` tries each command ten times, instead of once, and prints counts.
"""

import csv
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow
TRIES = int(os.environ.get("KDLOSS_KILLS", "1"))
# What no two runs have in common: times in JSON and tables, with the hashes of files that hold some; files of other
# forms that hold some are compared by name alone.
TIMES = ("seconds", "milliseconds", "date", "date_saved", "sha256")
TIMED = (".html", ".md", ".png", "results.json")
UNUSED = ("config.json", "progress.npy")  # in a .keras file what nothing reads, and in a state the seconds so far
SHIPPED = "mobilenetv2-300w/int8.tflite"
TRAINING = ["--arch", "tiny", "--recipe", "cpu", "--weights", "none", "--heatmap-loss", "none", "--image-size", "32"]
TRAINING += ["--batch-size", "4", "--ema", "0.9", "--epochs", "3", "--out", "out"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the commands read: photographs and a film, and what `execute` makes."""
    folder, astronaut = tmp_path_factory.mktemp("given"), pytest.importorskip("skimage.data").astronaut()
    (folder / "photographs").mkdir()
    film = cv2.VideoWriter(str(folder / "film.mp4"), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 25, (160, 160))
    for number in range(4):
        picture = np.ascontiguousarray(astronaut[30:190, 150 + number : 310 + number])
        Image.fromarray(picture).save(folder / "photographs" / f"{number}.png")
        film.write(np.ascontiguousarray(picture[..., ::-1]))
    film.release()
    return folder


def commands(folder):
    """Name -> module and words of each command, in an order in which they make what others read; they write ``out``."""
    out = ["--out", "out"]
    data, student = ["--dataset", "300w", "--data", folder / "faces"], ["--checkpoint", folder / "student"]
    training = [*data, *TRAINING]
    teachers = [f"--{kind}={folder / kind / 'best.keras'}" for kind in ("tough", "tolerant")]
    predict = ["kdloss.predict", "--out", "out", "--checkpoint", SHIPPED, "--threads", "1"]
    reproduce = ["kdloss.reproduce", *data, "--recipe", "smoke", "--out", "out"]
    return {
        "raw": [
            "data_prep.__main__",
            "synthetic",
            "--layout",
            "300w",
            "--count",
            20,
            "--test-count",
            6,
            "--out",
            "out",
        ],
        "prepare": ["data_prep.__main__", "300w", "--source", folder / "raw", "--size", 64, "--processes", 1, *out],
        "training": ["kdloss.train_teacher", "--kind", "tough", *training],
        "tolerant": ["kdloss.train_teacher", "--kind", "tolerant", *training],
        "teachers' points": ["kdloss.train_student", *training, *teachers, "--teacher-views", 4],
        "evaluate": ["kdloss.evaluate", *data, *student, "--out", "out"],
        "predict on a folder": [*predict, folder / "photographs"],
        "predict on a film": [*predict, folder / "film.mp4"],
        "export": ["kdloss.export", *student, "--format", "litert", "--out", "out/student.tflite"],
        "publish": ["tools.publish", *data, *student, "--name", "tiny", "--out", "out"],
        "chain": [*reproduce, "--no-ablation"],
        "study": [*reproduce, "--study", "distillation"],
    }


@pytest.fixture(scope="module")
def execute(folder):
    """Runs a command of a name in a folder; returns its exit status, the seconds it took, and what it said."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "TF_DETERMINISTIC_OPS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "tests.killed_commands"]
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, **pipes) as process:

        def execute(name, place, seconds=0):
            place.mkdir(exist_ok=True)
            module, *words = map(str, commands(folder)[name])
            log = folder / "log"
            task = {"module": module, "words": words, "folder": str(place), "log": str(log), "seconds": seconds}
            print(json.dumps(task), file=process.stdin, flush=True)
            answer = json.loads(process.stdout.readline())
            return answer["status"], answer["seconds"], log.read_text(encoding="utf-8", errors="replace")

        makes = {"raw": "raw", "prepare": "faces", "training": "tough", "tolerant": "tolerant"}
        for name, made in (makes | {"teachers' points": "student"}).items():
            status, _, said = execute(name, folder / "makes")
            assert status == 0, said
            (folder / "makes" / "out").rename(folder / made)
        yield execute
        process.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(execute, tmp_path_factory):
    """Files, seconds and bytes of a command that is left alone, by name; two such runs end in the same files."""
    found = {}

    def undisturbed(name):
        if name not in found:
            twins = []
            for _ in range(2):
                folder = tmp_path_factory.mktemp("undisturbed")
                status, seconds, said = execute(name, folder / "place")
                assert status == 0, said
                twins.append(contents(folder / "place"))
            assert_equal(folder / "place", twins[0], name)
            size = sum(file.stat().st_size for file in (folder / "place" / "out").rglob("*") if file.is_file())
            found[name] = twins[0], seconds, size
        return found[name]

    return undisturbed


def contents(folder):
    """Name -> contents of the files in a folder, without times."""
    found = {}
    for file in sorted(folder.rglob("*")):
        # Other names in each process have TensorBoard's files, and with each teacher's file, folders of its points.
        if file.is_file() and "tensorboard" not in file.parts:
            name = re.sub(r"(views|labels)-[0-9a-f]+", r"\1", str(file.relative_to(folder)))
            found.setdefault(name, []).append(content(file.name, file.read_bytes()))
    return {name: sorted(parts, key=str) for name, parts in found.items()}


def content(name, data):
    suffix = Path(name).suffix
    if name.endswith(TIMED):
        return None
    if name == "history.csv":
        return [timeless(row) for row in csv.DictReader(io.StringIO(data.decode()))]
    if suffix in (".keras", ".npz"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: content(name, archive.read(name)) for name in archive.namelist() if name not in UNUSED}
    if suffix == ".h5":
        arrays = {}
        with h5py.File(io.BytesIO(data)) as file:
            file.visititems(lambda path, of: arrays.update({path: of[()].tobytes()} if hasattr(of, "dtype") else {}))
        return arrays
    if suffix in (".json", ".jsonl"):
        return [timeless(json.loads(line)) for line in (data.splitlines() if suffix == ".jsonl" else [data])]
    return data


def timeless(value):
    if isinstance(value, dict):
        return {name: timeless(of) for name, of in value.items() if name not in TIMES}
    return [timeless(of) for of in value] if isinstance(value, list) else value


def assert_equal(folder, expected, why):
    found = contents(folder)
    assert found.keys() == expected.keys(), why
    assert [file for file, part in expected.items() if part != found[file]] == [], why


@pytest.mark.parametrize("name", [name for name in commands(Path()) if name not in ("raw", "tolerant")])
def test_a_killed_command_ends_in_the_same_files(name, execute, undisturbed, tmp_path):
    (expected, seconds, _), rng, killed = undisturbed(name), random.Random(f"{name} {TRIES}"), 0
    for number in range(TRIES):
        folder, moments = tmp_path / f"{number}" / "place", []
        folder.parent.mkdir()
        for _ in range(1 + number % 2):
            moments.append(round(rng.uniform(0.01, 0.95) * seconds, 3))
            status, _, said = execute(name, folder, moments[-1])
            assert status in (0, -signal.SIGPROF), said
            killed += status != 0
        status, _, said = execute(name, folder)
        # A command may have been done when it was killed, and then refuses to replace what is there.
        assert status == 0 or (status == 2 and re.search("^error: .* exists already: .*$", said)), (moments, said)
        assert_equal(folder, expected, moments)
    print(f"\n{name}: {seconds:.2f} s, {TRIES} tries, {killed} kills survived")


@pytest.mark.parametrize("name", ["training", "export", "publish"])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(name, execute, undisturbed, small_disk):
    (expected, _, size), folder, rng = undisturbed(name), small_disk / "place", random.Random(name)

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(small_disk)], check=True)

    for room in sorted(rng.randrange(4096, size // 2) for _ in range(TRIES)):
        resize(room)
        status, _, said = execute(name, folder)
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        assert status == 2
        assert len(lines) == 1
        assert "no space left on the disk: make room, then run the same command again" in lines[0]
        assert "Traceback" not in said
    resize(10**8)
    assert execute(name, folder)[0] == 0
    assert_equal(folder, expected, name)
