"""Accuracy of each file beside its costs, in the table, the JSON and the picture."""

import json

import numpy as np
import pytest
from PIL import Image

from kdloss.benchmark import main
from kdloss.benchmarking.accuracy_plot import MARKERS, accuracy_figure
from kdloss.benchmarking.networks import PATTERNS, fresh, trained
from kdloss.benchmarking.runtimes import RUNTIMES
from kdloss.benchmarking.tables import inference_tables
from kdloss.deploy.litert import export_litert
from kdloss.deploy.onnx import export_onnx
from kdloss.evaluation.evaluation import evaluate_checkpoint
from kdloss.evaluation.plots import PALETTE
from kdloss.evaluation.table import text_table
from kdloss.schemes import SCHEMES
from kdloss.training.checkpoint import load_model
from tests.training.tiny_chain import ARCH, SIZE

QUICK = ["--rounds", "5", "--images", "1", "--batch-size", "1", "--processes", "0", "--threads", "1"]
ALL = list(RUNTIMES)


@pytest.fixture(scope="module")
def record(student, faces, tmp_path_factory):
    """Of the trained student and a network with random weights in every runtime, by the command."""
    folder = tmp_path_factory.mktemp("record")
    words = ["--checkpoint", str(student), "--arch", ARCH, "--image-size", str(SIZE), "--runtime", *ALL, *QUICK]
    words += ["--dataset", "300w", "--data", str(faces.path), "--json", str(folder / "a.json")]
    assert main(["inference", *words, "--plot", str(folder / "a.png")]) == 0
    with Image.open(folder / "a.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 500
    return json.loads((folder / "a.json").read_text(encoding="utf-8"))


def test_every_file_of_a_trained_network_is_measured_by_the_protocol(record, student, faces):
    trained_files = [file for file in record["files"] if file["model"] == "student, 32 px"]
    assert [file["runtime"] for file in trained_files] == ALL
    expected = evaluate_checkpoint(faces, student).metrics["subsets"]["full"]["nme_interocular"]
    for file in trained_files:
        found = file["accuracy"]
        assert found["nme"] == found["subsets"]["full"]["nme_interocular"]
        assert found["nme"] == pytest.approx(expected, rel=1e-4 if "int8" not in file["runtime"] else 0.05)
        assert (found["protocol"]["split"], found["protocol"]["n"], found["protocol"]["box"]) == ("test", 6, "gt:1.25")


def test_random_weights_have_no_accuracy(record):
    random = [file for file in record["files"] if file["model"] == "tiny, 32 px"]
    assert [file["runtime"] for file in random] == ALL
    assert all(file["accuracy"] is None for file in random)


def test_the_table_has_the_accuracy_and_fits(record):
    text = text_table(inference_tables(record)[1])
    (line,) = [line for line in text.splitlines() if line.startswith("student, 32 px  Keras")]
    keras = record["files"][len(ALL)]
    assert line.split()[-1] == f"{keras['accuracy']['nme']:.2f}"
    assert "NME: 300w, 6 rendered test faces, interocular" in text
    assert "int8 of random weights" in text
    assert all(len(line) <= 120 for table in inference_tables(record) for line in text_table(table).splitlines())


def test_the_picture_holds_each_trained_file_at_its_place(record):
    figure = accuracy_figure(record)
    (axes,) = figure.axes
    drawn = [container.lines[0] for container in axes.containers]
    assert {line.get_marker() for line in drawn} == set(MARKERS.values())
    times = {row["runtime"]: row["ms"]["median"] for row in record["rows"] if row["model"] == "student, 32 px"}
    files = {file["runtime"]: file for file in record["files"] if file["accuracy"]}
    expected = {(MARKERS[name], times[name], file["accuracy"]["nme"]) for name, file in files.items()}
    assert {(line.get_marker(), *line.get_xydata()[0]) for line in drawn} == expected
    assert axes.get_xscale() == "log"
    networks, runtimes = ([text.get_text() for text in legend.get_texts()] for legend in figure.legends)
    assert networks == ["student, 32 px"]
    assert runtimes == [RUNTIMES[name].title for name in ALL]


def test_networks_are_told_apart_and_no_legend_covers_another():
    spread = {"median": 2.0, "low": 1.0, "high": 3.0}
    protocol = {"dataset": "300w", "n": 554, "split": "test", "normaliser": "interocular", "synthetic": False}
    names = [f"a network with a name of that length, {number} px" for number in range(9)]
    record = {
        "rows": [{"model": name, "runtime": run, "threads": 2, "ms": spread} for name in names for run in ALL],
        "files": [
            {"model": name, "runtime": run, "accuracy": {"nme": 4.0 + number, "protocol": protocol}}
            for number, name in enumerate(names)
            for run in ALL
        ],
    }
    figure = accuracy_figure(record)
    figure.canvas.draw()  # lays it out
    boxes = [legend.get_window_extent() for legend in figure.legends] + [figure.axes[0].get_tightbbox()]
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 for box in boxes)
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines if len(line.get_xdata()) > 2}
    assert len(looks) == 9
    assert {colour for colour, _ in looks} == set(PALETTE)
    assert "2 threads" in figure.axes[0].get_xlabel()


def test_what_decides_the_scales_of_8_bits(student, faces):
    network = trained(student, faces.scheme)
    assert len(list(network.representative(faces))) == 17  # the training faces
    for images in (network.representative(None), fresh(ARCH, 68, SIZE).representative(faces)):
        assert np.shape(images) == (PATTERNS, 1, SIZE, SIZE, 3)
        assert np.std(images) > 10


@pytest.mark.parametrize(("runtime", "export"), [("litert-fp16", export_litert), ("onnx", export_onnx)])
def test_an_exported_file_is_measured_as_it_is(runtime, export, student, faces, tmp_path):
    model, card = load_model(student)
    file = tmp_path / f"mine{RUNTIMES[runtime].suffix}"
    export(model, file, "fp16" if runtime.endswith("fp16") else "fp32", card=card)
    words = ["--checkpoint", str(file), "--runtime", "keras", *QUICK, "--json", str(tmp_path / "a.json")]
    assert main(["inference", *words, "--dataset", "300w", "--data", str(faces.path)]) == 0
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    (described,), (measured,), (row,) = record["models"], record["files"], record["rows"]
    assert (described["arch"], described["image_size"], described["points"]) == (ARCH, SIZE, 68)
    assert (described["parameters"], described["checkpoint"]["path"]) == (None, str(file))
    assert (row["runtime"], measured["runtime"], 1e6 * measured["megabytes"]) == (runtime, runtime, file.stat().st_size)
    expected = evaluate_checkpoint(faces, student).metrics["subsets"]["full"]["nme_interocular"]
    assert measured["accuracy"]["nme"] == pytest.approx(expected, rel=1e-4)


def test_exported_files_that_do_not_fit(student, faces, tmp_path, capsys):
    model, card = load_model(student)
    export_litert(model, tmp_path / "silent.tflite")
    export_litert(model, tmp_path / "other.tflite", card=card | {"scheme": SCHEMES["29"].to_json()})
    for name, message in (("silent", "does not say which landmarks it reads"), ("other", "trained for the 29 points")):
        words = ["--checkpoint", str(tmp_path / f"{name}.tflite"), "--dataset", "300w", "--data", str(faces.path)]
        assert main(["inference", *words, *QUICK]) == 2
        errors = capsys.readouterr().err.splitlines()
        assert message in errors[-1]
