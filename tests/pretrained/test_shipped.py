"""The models that the package ships: whole, described, and as accurate as their cards say."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

import kdloss
from kdloss import Landmarker, export, pretrained
from kdloss.errors import CheckpointError
from kdloss.models.checkpoint import checkpoint_path, load_model
from kdloss.predict import DEFAULT_MODEL
from tools.publish import model_card

REPOSITORY = Path(__file__).resolve().parents[2]
LARGEST = 40_000_000  # bytes of all models together
models = pytest.mark.parametrize("name", pretrained.names())


def _run(words, folder):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, "-m", *words]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@models
def test_a_model_is_small_whole_and_its_card_describes_it(name):
    folder, card = pretrained.ROOT / name, pretrained.card(name)
    assert sum(file.stat().st_size for file in pretrained.ROOT.rglob("*") if file.is_file()) <= LARGEST
    assert sorted(file.name for file in folder.iterdir()) == sorted([*pretrained.FILES, "README.md", "card.json"])
    assert f"{name}/card.json facts" in (REPOSITORY / "docs" / "models.md").read_text(encoding="utf-8")
    for file in pretrained.FILES:
        assert pretrained.path(name, file) == folder / file
    assert (card["name"], card["data"]["synthetic"]) == (name, False)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert text == model_card(card)
    assert not re.search(r"(?<![\w.])/(home|root|tmp|work|usr|mnt|Users)/", text + str(card))
    model, of_file = load_model(name)
    assert model.input_shape == (None, card["image_size"], card["image_size"], 3)
    assert model.output_shape == (None, card["points"], 2)
    assert (of_file["arch"], of_file["box"]) == (card["arch"], card["box"])


def test_the_astronaut_has_one_face_with_its_points_on_it(tmp_path):
    Image.fromarray(data.astronaut()).save(tmp_path / "astronaut.png")
    _run(["kdloss.predict", "astronaut.png"], tmp_path)
    record = json.loads((tmp_path / "runs" / "predictions" / "astronaut.json").read_text())
    (face,), (same,) = record["faces"], Landmarker.load(DEFAULT_MODEL).detect(data.astronaut())
    points = np.array(face["landmarks"])
    # Read off the photograph by eye, pixels: outer eye corners, tip of the nose, corners of the mouth, chin.
    expected = {36: (195, 100), 45: (256, 104), 30: (225, 128), 48: (203, 140), 54: (244, 141), 8: (222, 178)}
    for number, place in expected.items():
        assert np.hypot(*(points[number] - place)) < 6, number
    assert points == pytest.approx(same.landmarks, abs=0.01)  # the command and Python agree


@pytest.mark.slow
@models
@pytest.mark.parametrize("file", ["model.keras", "int8.tflite"])
def test_the_numbers_of_the_card_are_those_of_the_command(name, file, raw_300w, tmp_path):
    checkpoint = name if file == "model.keras" else f"{name}/{file}"
    words = ["kdloss.evaluate", "--dataset", "300w", "--data", str(raw_300w), "--checkpoint", checkpoint]
    printed = _run([*words, "--out", "found", "--report"], tmp_path)
    record = json.loads((tmp_path / "found" / "metrics.json").read_text())
    assert record["protocol"]["checkpoint"]["path"] == checkpoint
    assert str(pretrained.ROOT) not in (tmp_path / "found" / "report.html").read_text(encoding="utf-8") + printed
    found = record["subsets"]["common"]
    card = pretrained.card(name)["numbers"][file]["test"]["common"]
    assert found["n"] == card["n"] == 554
    assert found["nme_interocular"] == pytest.approx(card["nme_interocular"], abs=0.005)
    assert f"{card['nme_interocular']:.2f}" in printed


@pytest.mark.parametrize("name", ["mobilenetv9", "", "..", "../pretrained", "/"])
def test_other_names_and_files_are_refused(name):
    with pytest.raises(CheckpointError, match=rf"^{name}: no such shipped model: expected (one of|none)"):
        pretrained.path(name)
    with pytest.raises(CheckpointError, match=r"no such checkpoint: .*the name of a shipped model"):
        checkpoint_path(name)
    with pytest.raises(CheckpointError, match=f": holds no {name}: expected one of model.keras, fp16.tflite, int8"):
        pretrained.path(pretrained.names()[0], name)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of a shipped model, in the place of all shipped models; the working folder is empty."""
    name = pretrained.names()[0]
    shutil.copytree(pretrained.ROOT / name, tmp_path / "site-packages" / name)
    monkeypatch.setattr(pretrained, "ROOT", tmp_path / "site-packages")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "site-packages" / name


def test_what_lies_in_the_working_folder_comes_first(shipped):
    own = Path(shipped.name) / "best.keras"
    own.parent.mkdir()
    with pytest.raises(CheckpointError, match=f"no such checkpoint: .* name of a shipped model .one of {shipped.name}"):
        checkpoint_path(shipped.name)
    own.touch()
    assert checkpoint_path(shipped.name) == own


def test_a_file_that_changed(shipped, capsys):
    file = shipped / "model.keras"
    whole = file.read_bytes()
    file.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    with pytest.raises(CheckpointError, match=r"changed: found sha256 .*: install the package again"):
        kdloss.load(shipped.name)
    file.write_bytes(whole[:-1])
    assert export.main(["--checkpoint", shipped.name, "--format", "onnx"]) == 2
    errors = capsys.readouterr().err
    assert f"cut short or changed: found bytes {len(whole) - 1}, expected" in errors
    assert errors.count("\n") == 1
    file.unlink()
    with pytest.raises(CheckpointError, match="unreadable"):
        pretrained.path(shipped.name)


@pytest.mark.parametrize("content", ["", '{"files": {"model.keras": {}}}'])
def test_a_damaged_card(shipped, content):
    (shipped / "card.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"card\.json: damaged"):
        kdloss.load(shipped.name)
