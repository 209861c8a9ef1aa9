"""``python -m kdloss.export``: files that yield what the network yields, and refusals in one line."""

import re
from pathlib import Path

import numpy as np
import pytest

from kdloss import export, pretrained
from kdloss.inference.metadata import read_metadata
from kdloss.models.checkpoint import read_card
from tests.training.tiny_chain import SIZE

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxruntime")

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
    found, _ = export.FORMATS[form][2](made, images)
    expected = student[0].predict_on_batch(images.astype("float32"))
    assert SIZE * np.abs(found - expected).max() < 2 * most
    card = read_metadata(made)
    assert card.pop("source_sha256") == pretrained.describe(run / "best.keras")["sha256"]
    exported = card.pop("export")
    assert (exported["format"], exported["precision"]) == (form, precision)
    assert f"{SIZE}, {SIZE}, 3" in exported["input"]["image"]
    assert list(exported["outputs"]) == ["points"]
    assert "(B, 68, 2)" in exported["outputs"]["points"]
    assert set(exported["packages"]) == {"kdloss", "keras", "tensorflow"}
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
