"""What the shipped model is said to do, done: on a photograph, and on the real test faces where they are at hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from kdloss import Landmarker, pretrained
from kdloss.predict import DEFAULT_MODEL

REPOSITORY = Path(__file__).resolve().parents[2]


def _run(words, folder):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    words = [sys.executable, "-m", *words]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


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
    assert points == pytest.approx(same.landmarks, abs=0.01)  # as the command, so in Python


@pytest.mark.slow
@pytest.mark.parametrize("name", pretrained.names())
def test_the_numbers_of_the_card_are_those_of_the_command(name, raw_300w, tmp_path):
    words = ["kdloss.evaluate", "--dataset", "300w", "--data", str(raw_300w), "--checkpoint", name]
    printed = _run(words, tmp_path)
    record = json.loads((tmp_path / "runs" / "evaluation" / f"300w-{name}" / "metrics.json").read_text())
    found = record["subsets"]["common"]
    card = pretrained.card(name)["numbers"]["model.keras"]["test"]["common"]
    assert found["n"] == card["n"] == 554
    assert found["nme_interocular"] == pytest.approx(card["nme_interocular"], abs=0.005)
    assert f"{card['nme_interocular']:.2f}" in printed
