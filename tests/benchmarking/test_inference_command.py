"""``kdloss.benchmark inference``: what it prints and writes. How long anything takes is nobody's to assert."""

import functools
import json
import os
import shutil
import signal
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from kdloss import benchmark
from kdloss.__main__ import main as kdloss
from kdloss.benchmark import main
from kdloss.benchmarking import inference_command, networks
from kdloss.benchmarking.flags import thread_counts
from kdloss.benchmarking.networks import Network, trained
from kdloss.benchmarking.runtimes import RUNTIMES, USUAL, usual_runtimes
from kdloss.benchmarking.tables import inference_tables
from kdloss.benchmarking.worker import Job, Worker
from kdloss.deploy.litert import export_litert, litert_function
from kdloss.errors import CheckpointError, ConfigError
from kdloss.evaluation.table import text_table
from kdloss.models import architectures, build_model, published_student
from kdloss.models.regressors import HEAD
from kdloss.schemes import SCHEMES
from kdloss.training.checkpoint import save_model
from tests.training.tiny_chain import ARCH, SIZE

QUICK = ["--rounds", "5", "--images", "2", "--batch-size", "3", "--processes", "0"]
LITERT = ["--runtime", "litert"]


@pytest.fixture(scope="module")
def model(tiny_networks):
    return build_model(ARCH, 29, SIZE)


@pytest.fixture(scope="module")
def litert_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("litert") / "tiny.tflite"
    export_litert(model, path)
    return path


@pytest.fixture
def run(model, tmp_path):
    """A run folder with a trained student of 29 points."""
    card = {"arch": ARCH, "dataset": "cofw", "scheme": SCHEMES["29"].to_json(), "image_size": SIZE, "box": "gt:1.25"}
    save_model(tmp_path / "student" / "best.keras", model, card)
    (tmp_path / "student" / "config.json").touch()
    return tmp_path / "student"


def _macs(side, points):
    """Of the tiny network: two convolutions of stride 2, from 3 channels to 8 to 16, and the head."""
    return (side // 2) ** 2 * 8 * (9 * 3) + (side // 4) ** 2 * 16 * (9 * 8) + 16 * 2 * points


def _check_spreads(rows):
    assert rows[0]["reference_ms_of_rounds"] == rows[0]["ms_of_rounds"]
    for row in rows:
        ms, first = row["ms_of_rounds"], row["reference_ms_of_rounds"]
        if row["model"] == rows[0]["model"]:  # another network has rounds of its own
            assert first == rows[0]["ms_of_rounds"]
        ratios = [a / b for a, b in zip(ms, first, strict=True)]
        rates = row["images_per_second_of_rounds"]
        for name, values in (("ms", ms), ("ratio", ratios), ("images_per_second", rates)):
            expected = {"median": statistics.median(values), "low": min(values), "high": max(values)}
            assert row[name] == pytest.approx(expected)


def test_the_usual_runtimes(tmp_path, capsys):
    file = tmp_path / "new" / "inference.json"
    words = ["--arch", ARCH, "--image-size", "32", "--threads", "1", "--json", str(file), *QUICK]
    assert kdloss(["benchmark", "inference", *words]) == 0
    record = json.loads(file.read_text(encoding="utf-8"))
    parameters = build_model(ARCH, 68, 32).count_params()
    assert record["models"] == [
        {
            "label": "tiny, 32 px",
            "arch": ARCH,
            "image_size": 32,
            "points": 68,
            "parameters": parameters,
            "macs": _macs(32, 68),
            "checkpoint": None,
        }
    ]
    assert [(row["runtime"], row["threads"]) for row in record["rows"]] == [(name, 1) for name in USUAL]
    assert [(file["model"], file["runtime"]) for file in record["files"]] == [("tiny, 32 px", name) for name in USUAL]
    assert all(3.9 * parameters < 1e6 * file["megabytes"] < 4 * parameters + 100_000 for file in record["files"])
    assert all(file["memory"] is None and file["accuracy"] is None for file in record["files"])
    assert all(len(row["ms_of_rounds"]) == 5 for row in record["rows"])
    _check_spreads(record["rows"])
    timed = {"threads": [1], "rounds": 5, "images": 2, "batch_size": 3}
    assert record["settings"] == timed | {"processes": 0, "dataset": None, "split": None}
    assert set(record["runtimes"]) == {"tensorflow", "ai-edge-litert", "onnxruntime"}
    assert record["command"] == f"python -m kdloss.benchmark inference {' '.join(words)}"
    assert {"processor", "cores", "packages", "backend"} <= set(record["machine"])
    printed = capsys.readouterr().out
    assert "\n\n".join(map(text_table, inference_tables(record))) in printed
    assert "random weights" in printed
    assert f"wrote {file}" in printed


def test_several_networks_and_threads(run, litert_file, monkeypatch, capsys, tmp_path):
    # Export takes seconds, and is the test's above.
    copied = replace(RUNTIMES["litert"], write=lambda model, path, representative: shutil.copy(litert_file, path))
    monkeypatch.setitem(RUNTIMES, "litert", copied)
    words = ["--arch", ARCH, "--image-size", "32", "32", "--points", "5", "--checkpoint", str(run), *QUICK]
    words += ["--threads", "1", "2", "1"]
    assert main(["inference", *words, *LITERT, "--json", str(tmp_path / "a.json")]) == 0
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    labels = ["tiny, 32 px", "tiny, 32 px (2)", "student, 32 px"]
    assert [model["label"] for model in record["models"]] == labels
    assert [(model["points"], model["image_size"]) for model in record["models"]] == [(5, 32), (5, 32), (29, 32)]
    assert [model["macs"] for model in record["models"]] == [_macs(32, 5), _macs(32, 5), _macs(32, 29)]
    checkpoint = record["models"][2]["checkpoint"]
    assert (checkpoint["path"], len(checkpoint["sha256"])) == (str(run / "best.keras"), 16)
    assert [(row["model"], row["threads"]) for row in record["rows"]] == [(name, n) for name in labels for n in (1, 2)]
    _check_spreads(record["rows"])
    assert checkpoint["sha256"][:8] in capsys.readouterr().out


def test_litert_runs_the_same_network(litert_file, model):
    image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3)).astype("float32")
    points = litert_function(litert_file, threads=1)(image)
    np.testing.assert_allclose(points, model.predict_on_batch(image), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arch", "resnet"], "unknown architecture 'resnet': expected one of mobilenetv2, "),
        (["--arch", ARCH, "--image-size", "31"], "image size is 31: expected an even number"),
        (["--arch", ARCH, "--image-size", "0"], "image size is 0: expected"),
        (["--arch", ARCH, "--points", "0"], "number of points is 0: expected"),
        (["--checkpoint", "absent"], "absent: no such checkpoint: "),
        (["--threads", "1", "0"], "--threads 0: expected 1 at least"),
        (["--threads", "1", "two"], "--threads 1 two: expected numbers, or all"),
        (["--processes", "-1"], "--processes -1: expected 0 at least"),
        (["--data", "faces"], "--data faces: of which data set?"),
        (["--plot", "a.png"], "--plot: accuracy needs trained networks and faces: "),
        (["--plot", "a.png", "--dataset", "300w"], "--plot: accuracy needs trained networks and faces: "),
        (
            ["--plot", "a.jpg", "--dataset", "300w", "--checkpoint", "x"],
            "--plot a.jpg: expected a name that ends in .png",
        ),
        (["--dataset", "300w", "--data", "nowhere"], "--data nowhere: no such folder: "),
        (["--rounds", "4"], "--rounds 4: expected 5 at least"),
        (["--images", "0"], "--images 0: expected 1 at least"),
        (["--batch-size", "0"], "--batch-size 0: expected 1 at least"),
    ],
)
def test_wrong_options(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["inference", *words]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1


def test_no_checkpoint_of_this_project(run, capsys, tmp_path):
    (tmp_path / "damaged.keras").write_bytes((run / "best.keras").read_bytes()[:500])
    shutil.copy(Path(__file__), tmp_path / "text.keras")
    (tmp_path / "published.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    for name in ("damaged.keras", "text.keras", "published.h5"):
        assert main(["inference", "--checkpoint", str(tmp_path / name)]) == 2
        assert capsys.readouterr().err.startswith(f"error: {tmp_path / name}: damaged")


def test_a_published_student(tmp_path, monkeypatch):
    monkeypatch.setattr(published_student, "build_model", functools.cache(build_model))
    model = published_student.build_model("mobilenetv2", 5, 224)
    with h5py.File(tmp_path / "authors.h5", "w") as file:
        for layer in model.layers:
            name = "O_L" if layer.name == HEAD else layer.name
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            for weight in layer.weights:
                file[f"{name}/{'depthwise_kernel' if depthwise else weight.name}:0"] = weight.numpy()
    described = trained(tmp_path / "authors.h5").describe()
    assert (described["label"], described["arch"]) == ("authors, 224 px", "mobilenetv2")
    assert (described["image_size"], described["points"]) == (224, 5)
    assert described["checkpoint"]["kind"] == "published student"


@pytest.mark.parametrize(
    ("runtime", "module", "error"),
    [
        ("litert", "ai_edge_litert", "ai-edge-litert is not installed: pip install '.[litert]'"),
        ("litert-int8", "ai_edge_quantizer", "ai-edge-quantizer is not installed: pip install '.[litert]'"),
        ("onnx", "onnxruntime", "onnxruntime is not installed: pip install '.[onnx]'"),
        ("onnx-int8", "tf2onnx", "tf2onnx is not installed: pip install '.[onnx]'"),
    ],
)
def test_what_is_not_installed_says_what_to_type(runtime, module, error, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["inference", "--runtime", "keras", runtime]) == 2
    assert capsys.readouterr().err == f"error: {error}, or leave it out of --runtime\n"


def test_nobody_has_to_install_what_was_not_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found, lines = usual_runtimes()
    assert found == ["keras", "litert"]
    assert lines == ["left out: ONNX fp32, which is not installed: pip install '.[onnx]', or leave it out of --runtime"]


def test_threads(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 6}, raising=False)
    args = benchmark._parser().parse_args(["inference"])
    assert thread_counts(args.threads) == [1, 3]


def test_all_architectures(monkeypatch):
    built = []

    def fresh(arch, points, size):
        built.append(arch)
        return Network(f"{arch}, {size} px", arch, build_model(ARCH, 5, SIZE))

    monkeypatch.setattr(networks, "fresh", fresh)
    args = benchmark._parser().parse_args(["inference", "--arch", "all", "--image-size", "64", "96"])
    plans = inference_command._plans(args, None)
    assert [plan.described["arch"] for plan in plans] == [arch for arch in architectures() for _ in range(2)]
    assert len({plan.described["label"] for plan in plans}) == len(plans)
    # None is kept: each is made anew when its turn comes.
    before = len(built)
    assert plans[3].network().label == plans[3].described["label"]
    assert built[before:] == [architectures()[1]]


def test_other_back_ends_are_refused(monkeypatch, capsys):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    assert main(["inference", "--arch", ARCH]) == 2
    assert capsys.readouterr().err.startswith("error: KERAS_BACKEND=jax: Keras needs tensorflow")


def test_a_process_that_the_system_ends_is_one_clear_line(litert_file):
    job = Job("tiny", SIZE, "litert", litert_file)
    with Worker(2) as worker:
        assert len(worker.seconds(job, 1, 3)) == 3
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(ConfigError, match=r"the process with 2 threads was ended by signal 9, .* --batch-size"):
            worker.seconds(job, 1, 3)


def test_a_job_that_is_closed_opens_its_file_anew(litert_file, tmp_path):
    job = Job("tiny", SIZE, "litert", shutil.copy(litert_file, tmp_path))
    with Worker(1) as worker:
        worker.seconds(job, 1, 1)
        Path(job.file).unlink()
        worker.seconds(job, 1, 1)
        worker.close(job)
        with pytest.raises(CheckpointError, match="no LiteRT file, or damaged"):
            worker.seconds(job, 1, 1)


def test_a_run_that_fails_says_so(tmp_path):
    job = Job("tiny", SIZE, "no such runtime", tmp_path / "absent.tflite")
    with Worker(1) as worker, pytest.raises(RuntimeError, match="the process with 1 threads failed, see above"):
        worker.seconds(job, 1, 1)


def test_tables_tell_of_accelerators_and_leave_out_what_does_not_apply():
    model = {"label": "a", "arch": "a", "image_size": 64, "points": 5, "parameters": 2_500_000, "macs": 1_250_000}
    spread = {"median": 2.0, "low": 1.0, "high": 3.0}
    row = {"model": "a", "runtime": "keras", "threads": 1, "ms": spread, "ratio": spread, "images_per_second": spread}
    file = {"model": "a", "runtime": "keras", "megabytes": 9.87, "memory": None, "accuracy": None}
    record = {
        "models": [model | {"checkpoint": {"path": "a.keras", "sha256": "0123456789abcdef"}}],
        "files": [file],
        "rows": [row],
        "settings": {"rounds": 5, "images": 2, "batch_size": 4, "processes": 0, "dataset": None},
        "runtimes": {"tensorflow": "9.9"},
        "machine": {"processor": "", "platform": "Linux", "cores": 2, "accelerators": ["GPU:0"]},
    }
    networks, files, times = map(text_table, inference_tables(record))
    assert "2.50" in networks
    assert "1.2 " in networks
    assert "01234567" in networks
    assert "random" not in networks
    assert files.splitlines()[2].split() == ["network", "runtime", "file", "MB"]
    assert files.splitlines()[4].split() == ["a", "Keras", "9.87"]
    assert "Linux, 2 cores; tensorflow 9.9" in times
    assert "Keras ran on GPU:0: CUDA_VISIBLE_DEVICES=-1" in times
    assert times.splitlines()[4].split() == ["a", "Keras", "1", "2.00", "1.00", "3.00", "2.000", "2.0"]
