"""``python -m kdloss.export``: files that yield what the network yields, and refusals in one line."""

import re
from pathlib import Path

import numpy as np
import pytest

from kdloss import export, pretrained
from kdloss.deploy.savedmodel import read_savedmodel
from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.metadata import read_metadata
from kdloss.inference.onnx_reader import OnnxModel
from kdloss.models.checkpoint import read_card
from tests.training.tiny_chain import SIZE

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxruntime")

READ = {
    "litert": lambda file, images: LiteRTModel(file).read(images),
    "onnx": lambda file, images: OnnxModel(file).read(images),
    "savedmodel": read_savedmodel,
}
DIFFERENCE = re.compile(r"points: (\S+) px .* on average, (\S+) px at most, of 32 \(on (\d+) (.*) faces\)")


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("form", "precision", "file", "most"),
    [
        ("litert", "fp32", "student-fp32.tflite", 1e-3),
        pytest.param("litert", "int8", "student-int8.tflite", 1.0, marks=pytest.mark.slow),
        ("onnx", "fp16", "student-fp16.onnx", 0.05),
        pytest.param("onnx", "int8", "student-int8.onnx", 1.0, marks=pytest.mark.slow),
        ("savedmodel", "fp32", "student-savedmodel", 1e-3),
    ],
)
def test_what_it_writes_and_prints(form, precision, file, most, run, student, faces, workplace, capsys):
    words = ["--checkpoint", str(run), "--format", form, "--precision", precision]
    assert export.main(words + ["--data", str(faces.path)] * (precision == "int8")) == 0
    assert [path.name for path in (workplace / "runs" / "exported").iterdir()] == [file]
    wrote, points = capsys.readouterr().out.splitlines()
    assert wrote.startswith(f"wrote runs/exported/{file}: ")
    mean, largest, count, which = DIFFERENCE.fullmatch(points).groups()
    assert float(mean) <= float(largest) < most
    assert (int(count), which) == ((9, "300w training") if precision == "int8" else (16, "rendered"))
    images, made = np.asarray(faces.faces[:4][:, :SIZE, :SIZE]), f"runs/exported/{file}"
    found, _ = READ[form](made, images)
    expected = student[0].predict_on_batch(images.astype("float32"))
    assert SIZE * np.abs(found - expected).max() < 2 * most
    card = read_metadata(made)
    assert card.pop("source_sha256") == pretrained.describe(run / "best.keras")["sha256"]
    assert (card["export"]["format"], card.pop("export")["precision"]) == (form, precision)
    assert card.pop("calibrated_on", None) == (faces.manifest["content"] if precision == "int8" else None)
    assert card == read_card(run)


def test_a_repeated_command_keeps_its_file(run, workplace, capsys):
    """The first one may have been killed between the writing and the comparison."""
    words = ["--checkpoint", str(run), "--format", "onnx"]
    assert export.main(words) == 0
    made = Path("runs/exported/student-fp32.onnx")
    before = made.read_bytes()
    first = capsys.readouterr().out.splitlines()
    assert export.main([*words, "--out", str(made)]) == 0
    again = capsys.readouterr().out.splitlines()
    assert again == ["made before " + first[0].removeprefix("wrote "), first[1]]
    assert made.read_bytes() == before
    assert export.main([*words, "--precision", "fp16", "--out", str(made)]) == 2
    assert "student-fp32.onnx: exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--out": "there.onnx"}, "there.onnx: exists already: remove it, or give another --out"),
        ({}, "runs/exported/student-fp32.onnx: exists already"),
        ({"--precision": "int8", "--data": "absent"}, "--data absent: no such folder"),
        ({"--out": "there.onnx/a.onnx"}, "--out there.onnx/a.onnx: cannot be written (there.onnx is no folder)"),
    ],
)
def test_refused(changes, message, run, workplace, capsys):
    (workplace / "runs" / "exported").mkdir(parents=True)
    for name in ("there.onnx", "runs/exported/student-fp32.onnx"):
        Path(name).write_text("mine")
    options = {"--checkpoint": str(run), "--format": "onnx"} | changes
    assert export.main([word for option in options.items() for word in option]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1
    found = {path.name: path.read_text() for path in workplace.rglob("*.*")}
    assert found == {"there.onnx": "mine", "student-fp32.onnx": "mine"}


def test_a_failure_leaves_nothing(run, workplace, monkeypatch):
    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kdloss.deploy.onnx._halved", fails)
    words = ["--checkpoint", str(run), "--format", "onnx", "--precision", "fp16", "--out", "student.onnx"]
    assert export.main(words) == 130
    assert not list(workplace.iterdir())
