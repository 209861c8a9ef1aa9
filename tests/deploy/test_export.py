"""``python -m kdloss.export``: files that say what the network says, and one line where that cannot be."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kdloss import __main__ as verbs
from kdloss import export, pretrained
from kdloss.deploy.litert import LiteRTModel
from kdloss.deploy.metadata import read_metadata
from kdloss.deploy.onnx import OnnxModel
from kdloss.deploy.savedmodel import read_savedmodel
from kdloss.training.checkpoint import load_model, read_card
from tests.training.tiny_chain import SIZE

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxruntime")

READ = {
    "litert": lambda file, images: LiteRTModel(file).read(images),
    "onnx": lambda file, images: OnnxModel(file).read(images),
    "savedmodel": read_savedmodel,
}
REPOSITORY = Path(__file__).resolve().parents[2]
DIFFERENCE = re.compile(r"points: (\S+) px .* on average, (\S+) px at most, of 32 \(on (\d+) (.*) faces\)")


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("form", "precision", "file", "most"),
    [
        ("litert", "fp32", "student-fp32.tflite", 1e-3),
        ("litert", "int8", "student-int8.tflite", 1.0),
        ("onnx", "fp16", "student-fp16.onnx", 0.05),
        ("onnx", "int8", "student-int8.onnx", 1.0),
        ("savedmodel", "fp32", "student-savedmodel", 1e-3),
    ],
)
def test_what_it_writes_and_prints(form, precision, file, most, run, faces, workplace, capsys):
    words = ["--checkpoint", str(run), "--format", form, "--precision", precision]
    assert export.main(words + ["--data", str(faces.path)] * (precision == "int8")) == 0
    assert [path.name for path in workplace.iterdir()] == [file]
    wrote, points = capsys.readouterr().out.splitlines()
    assert wrote.startswith(f"wrote {file}: ")
    mean, largest, count, which = DIFFERENCE.fullmatch(points).groups()
    assert float(mean) <= float(largest) < most
    assert (int(count), which) == ((9, "300w training") if precision == "int8" else (16, "rendered"))
    images = np.asarray(faces.faces[:4][:, :SIZE, :SIZE])
    found, _ = READ[form](file, images)
    expected = load_model(run)[0].predict_on_batch(images.astype("float32"))
    assert SIZE * np.abs(found - expected).max() < 2 * most
    card = read_metadata(file)
    assert card.pop("source_sha256") == pretrained.describe(run / "best.keras")["sha256"]
    assert (card["export"]["format"], card.pop("export")["precision"]) == (form, precision)
    assert card.pop("calibrated_on", None) == (faces.manifest["content"] if precision == "int8" else None)
    assert card == read_card(run)


def test_a_command_that_is_repeated_leaves_what_it_made(run, workplace, capsys):
    """As one does that was killed between writing the file and comparing it."""
    words = ["--checkpoint", str(run), "--format", "litert"]
    assert export.main(words) == 0
    before = Path("student-fp32.tflite").read_bytes()
    first = capsys.readouterr().out.splitlines()
    assert export.main([*words, "--out", "student-fp32.tflite"]) == 0
    again = capsys.readouterr().out.splitlines()
    assert again == ["made before " + first[0].removeprefix("wrote "), first[1]]
    assert Path("student-fp32.tflite").read_bytes() == before
    assert export.main([*words, "--precision", "fp16", "--out", "student-fp32.tflite"]) == 2
    assert "student-fp32.tflite: exists already" in capsys.readouterr().err


def test_the_verb(capsys):
    assert verbs.VERBS["export"][0] == "kdloss.export"
    with pytest.raises(SystemExit) as ended:
        verbs.main(["export", "--help"])
    assert ended.value.code == 0
    assert "--precision" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--format": "savedmodel", "--precision": "int8"}, "--precision int8: --format savedmodel knows fp32 alone"),
        ({"--out": "a.bin"}, "--out a.bin: expected a name that ends in .onnx, as --format onnx wants"),
        ({"--out": "there.onnx"}, "there.onnx: exists already: remove it, or give another --out"),
        ({"--checkpoint": "absent"}, "absent: no such checkpoint: give a .keras file"),
        ({"--checkpoint": "broken.keras"}, "broken.keras: damaged, or no checkpoint (File is not a zip file)"),
        ({"--checkpoint": "there.onnx"}, "there.onnx: expected a .keras checkpoint, or a run folder"),
        ({"--precision": "int8"}, "data/300w: no prepared 300w faces there"),
        ({"--precision": "int8", "--data": "absent"}, "--data absent: no such folder"),
        ({"--dataset": "cofw"}, "data/cofw: no prepared cofw faces there"),
        ({"--out": "there.onnx/a.onnx"}, "--out there.onnx/a.onnx: cannot be written (there.onnx is no folder)"),
    ],
)
def test_refused(changes, message, run, workplace, capsys):
    (workplace / "there.onnx").write_text("mine")
    (workplace / "broken.keras").write_text("no zip")
    before = sorted(path.name for path in workplace.iterdir())
    options = {"--checkpoint": str(run), "--format": "onnx"} | changes
    assert export.main([word for option in options.items() for word in option]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1
    assert sorted(path.name for path in workplace.iterdir()) == before
    assert (workplace / "there.onnx").read_text() == "mine"


def test_a_name_that_is_taken_is_spared_without_out_too(run, capsys):
    Path("student-fp32.onnx").write_text("mine")
    assert export.main(["--checkpoint", str(run), "--format", "onnx"]) == 2
    assert capsys.readouterr().err == "error: student-fp32.onnx: exists already: remove it, or give another --out\n"
    assert Path("student-fp32.onnx").read_text() == "mine"


def test_a_failure_leaves_nothing(run, workplace, monkeypatch):
    def fails(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("kdloss.deploy.onnx.halved", fails)
    assert export.main(["--checkpoint", str(run), "--format", "onnx", "--precision", "fp16"]) == 130
    assert not list(workplace.iterdir())


def command(*words):
    environment = {"PATH": "/usr/bin", "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, "-m", "kdloss.export", *words], capture_output=True, text=True, env=environment, timeout=300
    )


@pytest.mark.skipif(not pretrained.names(), reason="no shipped model")
def test_as_a_user_types_it():
    found = command("--checkpoint", "absent", "--format", "onnx")
    assert (found.returncode, found.stdout) == (2, "")
    (line,) = [line for line in found.stderr.splitlines() if line.startswith("error")]
    assert line.startswith("error: absent: no such checkpoint")
    assert "Traceback" not in found.stderr
    shutil.copy(pretrained.path(pretrained.names()[0]), "mine.keras")
    found = command("--checkpoint", "mine.keras", "--format", "onnx")
    assert found.returncode == 0, found.stderr
    wrote, points, spread = found.stdout.splitlines()
    assert wrote.startswith("wrote mine-fp32.onnx: ")
    assert re.match(r"points: 0\.000\d px .*, 0\.00\d+ px at most", points)
    assert re.match(r"spread: 0\.000\d px .*, 0\.00\d+ px at most", spread)
    assert OnnxModel("mine-fp32.onnx").card["arch"] == read_card("mine.keras")["arch"]
