"""``kdloss.benchmark inference``: its record, tables and picture. No test asserts how long anything takes."""

import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdloss.__main__ import main as kdloss
from kdloss.deploy.runtimes import RUNTIMES
from kdloss.deploy.timing import peak_megabytes, worker
from kdloss.deploy.timing_report import MARKERS, accuracy_figure, record_tables
from kdloss.errors import ConfigError
from kdloss.evaluation.evaluation import evaluate_checkpoint
from kdloss.evaluation.tables import json_table, terminal_width, text_table
from kdloss.models import build_model
from tests.training.tiny_chain import ARCH, SIZE

QUICK = ["--rounds", "5", "--images", "2", "--processes", "0", "--threads", "1"]
ALL = list(RUNTIMES)


def _run(words, folder, *more):
    """The record of the command."""
    file = folder / "new" / "record.json"
    assert kdloss(["benchmark", "inference", *QUICK, *map(str, words), "--json", str(file), *more]) == 0
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def record(run, faces, tmp_path_factory):
    """The record of the trained student and of a network with random weights, in every runtime."""
    folder = tmp_path_factory.mktemp("record")
    words = ["--checkpoint", run, "--arch", ARCH, "--image-size", SIZE, "--runtime", *ALL]
    record = _run([*words, "--dataset", "300w", "--data", faces.path, "--plot", folder / "a.png"], folder)
    with Image.open(folder / "a.png") as picture:
        assert (picture.format, min(picture.size) > 500) == ("PNG", True)
    return record


def _macs(side, points):
    """MACs of the tiny network: two convolutions of stride 2, from 3 channels to 8 to 16, and the head."""
    return (side // 2) ** 2 * 8 * (9 * 3) + (side // 4) ** 2 * 16 * (9 * 8) + 16 * 2 * points


def test_networks_threads_memory_and_tables(run, tmp_path, capsys):
    words = ["--arch", ARCH, "--image-size", "32", "32", "--checkpoint", run]
    record = _run(words, tmp_path, "--runtime", "litert", "--threads", "1", "2", "1", "--processes", "1")
    labels, parameters = ["tiny, 32 px", "tiny, 32 px (2)", "student, 32 px"], build_model(ARCH, 68, 32).count_params()
    assert [model["label"] for model in record["models"]] == labels
    described = {"arch": ARCH, "image_size": 32, "points": 68, "parameters": parameters, "macs": _macs(32, 68)}
    assert record["models"][0] == {"label": labels[0], "checkpoint": None} | described
    checkpoint = record["models"][2]["checkpoint"]
    assert (checkpoint["path"], len(checkpoint["sha256"])) == (str(run / "best.keras"), 16)
    assert [(row["model"], row["threads"]) for row in record["rows"]] == [(name, n) for name in labels for n in (1, 2)]
    for file in record["files"]:
        assert 3.9 * parameters < 1e6 * file["megabytes"] < 4 * parameters + 100_000
        assert 20 < file["memory"]["peak"][0] < 500  # TensorFlow alone takes more
        assert 0 <= file["memory"]["above_runtime"][0] < file["memory"]["peak"][0]
    for row in record["rows"]:
        ms, first = row["ms_of_rounds"], row["reference_ms_of_rounds"]
        ratios = [a / b for a, b in zip(ms, first, strict=True)]
        for name, values in (("ms", ms), ("ratio", ratios)):
            assert len(values) == 5
            assert row[name] == {"median": statistics.median(values), "low": min(values), "high": max(values)}
    timed = {"threads": [1, 2], "rounds": 5, "images": 2, "processes": 1}
    assert record["settings"] == timed | {"dataset": None}
    assert set(record["runtimes"]) == {"ai-edge-litert"}
    printed, tables = capsys.readouterr().out, record_tables(record)
    assert "\n\n".join(text_table(table, terminal_width()) for table in tables.values()) in printed
    assert checkpoint["sha256"][:8] in printed
    # The JSON holds the tables for documents: the same ones, with the command.
    notes = [*tables["times"].notes, f"`{record['command']}`, {record['date']}"]
    assert record["command"].startswith("python -m kdloss.benchmark inference --rounds 5")
    shown = {name: json_table(table) for name, table in tables.items()}
    assert record["tables"] == shown | {"times": shown["times"] | {"notes": notes}}


def test_an_exported_file_is_measured_as_it_is(exported, run, faces, tmp_path):
    file = exported("litert", "fp16", card=True)
    record = _run(["--checkpoint", file, "--runtime", "keras", "--dataset", "300w", "--data", faces.path], tmp_path)
    (described,), (measured,), (row,) = record["models"], record["files"], record["rows"]
    assert (described["arch"], described["image_size"], described["points"]) == (ARCH, SIZE, 68)
    assert (described["parameters"], described["checkpoint"]["path"]) == (None, str(file))
    assert row["runtime"] == measured["runtime"] == "litert-fp16"
    assert 1e6 * measured["megabytes"] == file.stat().st_size
    expected = evaluate_checkpoint(faces, run).metrics["subsets"]["full"]["nme_interocular"]
    assert measured["accuracy"]["nme"] == pytest.approx(expected, rel=1e-4)
    # In 8 bits: only what the command itself quantises has scales from noise.
    measured["runtime"], record["settings"]["dataset"] = "litert-int8", None
    for parameters, warned in ((None, False), (1234, True)):
        described["parameters"] = parameters
        assert ("int8 without --dataset" in " ".join(record_tables(record)["files"].notes)) == warned


@pytest.mark.slow
def test_every_file_of_a_trained_network_is_evaluated(record, run, faces):
    files = [(name, runtime) for name in ("tiny, 32 px", "student, 32 px") for runtime in ALL]
    assert [(file["model"], file["runtime"]) for file in record["files"]] == files
    expected = evaluate_checkpoint(faces, run).metrics["subsets"]["full"]["nme_interocular"]
    for file in record["files"]:
        near = pytest.approx(expected, rel=0.05 if "int8" in file["runtime"] else 1e-4)
        trained = file["model"] == "student, 32 px"
        assert file["accuracy"]["nme"] == near if trained else file["accuracy"] is None
    texts = {name: text_table(table) for name, table in record_tables(record).items()}
    assert "NME: 300w, 6 rendered test faces, interocular" in texts["files"]
    assert "int8 of random weights" in texts["files"]
    assert "random weights: good for costs" in texts["networks"]
    assert all(len(line) <= 120 for text in texts.values() for line in text.splitlines())


@pytest.mark.slow
def test_the_picture_shows_each_trained_file_at_its_place(record):
    figure = accuracy_figure(record)
    (axes,) = figure.axes
    drawn = [container.lines[0] for container in axes.containers]
    times = {row["runtime"]: row["ms"]["median"] for row in record["rows"] if row["model"] == "student, 32 px"}
    files = {file["runtime"]: file for file in record["files"] if file["accuracy"]}
    expected = {(MARKERS[name], times[name], file["accuracy"]["nme"]) for name, file in files.items()}
    assert {(line.get_marker(), *line.get_xydata()[0]) for line in drawn} == expected
    networks, runtimes = ([text.get_text() for text in legend.get_texts()] for legend in figure.legends)
    assert (networks, runtimes) == (["student, 32 px"], [RUNTIMES[name].title for name in ALL])


def test_a_process_that_the_system_ends_is_one_clear_line():
    with (
        worker("the process with 2 threads") as run,
        pytest.raises(ConfigError, match=r"^the process with 2 threads was ended by the system, .*: measure smaller"),
    ):
        run(signal.raise_signal, signal.SIGKILL)


def test_the_peak_keeps_freed_memory_and_leaves_out_that_of_the_parent():
    before, kept = peak_megabytes(), np.ones(60_000_000)  # 480 MB, as TensorFlow and some networks take
    assert peak_megabytes() >= max(before, kept.nbytes / 1e6)
    del kept
    assert peak_megabytes() >= 480
    with worker("one") as run:
        assert run(peak_megabytes) < 300


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for a process as Linux shows it")
def test_no_process_is_left_when_the_command_is_killed():
    code = "import os; from kdloss.deploy.timing import worker\n"
    code += "with worker('one') as run: print(run(os.getpid), flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as parent:
        child = Path("/proc", parent.stdout.readline().strip())
        assert child.name.isdigit()
        parent.kill()
    deadline = time.monotonic() + 20
    while child.exists() and "State:\tZ" not in (child / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_keras_loads_the_shipped_heatmap_network_in_a_process_of_its_own():
    code = "from kdloss.deploy.runtimes import load_keras; from kdloss import pretrained; "
    code += "print(load_keras(pretrained.path('mobilenetv2-300w')).output_shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(None, 68, 2)", done.stderr
