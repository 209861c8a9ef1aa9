"""Confidence: a probability that falls as the signal grows, fitted, stored, read back, and shown."""

import json
import shutil

import numpy as np
import pytest

from kdloss import calibrate
from kdloss.data.geometry import BoxPolicy
from kdloss.errors import CheckpointError, ConfigError
from kdloss.evaluation.evaluation import evaluate_checkpoint
from kdloss.inference.confidence import (
    SPREAD,
    VIEWS,
    WITHIN,
    Confidence,
    store_confidence,
    stored_confidence,
)
from kdloss.inference.confidence_fit import fit_confidence, measure_confidence, point_errors
from kdloss.inference.readers import load_reader

PLAIN = Confidence(SPREAD, -2.0, (0.0, 1.0), WITHIN, 10)


def test_golden():
    # Logits 0 - 2 ln(1/e) = 2 and 1 - 2 ln(1) = 1.
    assert PLAIN.of([np.exp(-1), 1.0]) == pytest.approx([0.880797078, 0.731058579])


def test_the_fit_finds_the_probabilities():
    rng = np.random.default_rng(0)
    offsets = np.array([-4.0, -6.0, -5.0])
    signal = np.exp(rng.normal(-3, 0.7, (4000, 3)))
    probability = 1 / (1 + np.exp(-(offsets - 1.8 * np.log(signal))))
    errors = np.where(rng.random(signal.shape) < probability, 0.01, 0.1)
    found = fit_confidence(signal, errors, SPREAD)
    assert (found.signal, found.within, found.faces) == (SPREAD, WITHIN, 4000)
    assert found.slope == pytest.approx(-1.8, abs=0.1)
    assert np.abs(found.of(signal) - probability).mean() < 0.015
    # 1 % of the faces have less mean confidence than 4/3 of what a detection needs to count as a face.
    assert (found.of(signal).mean(axis=1) < found.face / 0.75).mean() == pytest.approx(0.01, abs=0.001)


@pytest.mark.parametrize(("errors", "words"), [(0.0, "all points"), (1.0, "no points")])
def test_nothing_to_tell_apart(errors, words):
    with pytest.raises(ConfigError, match=words):
        fit_confidence(np.ones((5, 2)), np.full((5, 2), errors), SPREAD)
    with pytest.raises(ConfigError, match="no faces"):
        fit_confidence(np.ones((0, 2)), np.ones((0, 2)), SPREAD)


def test_errors_are_shares_of_the_box():
    truth = np.array([[(0, 0), (40, 10)]], float)  # a side of 20
    assert point_errors(np.add(truth, (3, 4)), truth) == pytest.approx(np.full((1, 2), 0.25))


def test_json_and_back():
    assert Confidence.from_json(json.loads(json.dumps(PLAIN.to_json())), 2).to_json() == PLAIN.to_json()
    for change in ({"slope": 1.0}, {"offsets": [1.0]}, {"signal": "mood"}):
        with pytest.raises(CheckpointError, match="confidence: expected slope below zero and 2 offsets"):
            Confidence.from_json(PLAIN.to_json() | change, 2)
    with pytest.raises(CheckpointError):
        Confidence.from_json([1], 2)


def test_stored_beside_the_checkpoint(tmp_path):
    checkpoint = tmp_path / "best.keras"
    checkpoint.write_bytes(b"weights")
    assert stored_confidence(checkpoint) is None
    store_confidence(checkpoint, PLAIN)
    assert Confidence.from_json(stored_confidence(checkpoint), 2).to_json() == PLAIN.to_json()
    checkpoint.write_bytes(b"other weights")
    assert stored_confidence(checkpoint) is None
    (tmp_path / "confidence.json").write_text("{")
    with pytest.raises(CheckpointError, match="damaged"):
        stored_confidence(checkpoint)


def test_the_command_on_a_regressor(run, faces, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "student")
    words = ["--checkpoint", str(tmp_path / "student"), "--dataset", "300w", "--data", str(faces.path)]
    files = ["--json", str(tmp_path / "found.json"), "--plot", str(tmp_path / "found.png")]
    assert calibrate.main(["confidence", *words, "--split", "val", *files]) == 0
    out = capsys.readouterr().out
    assert "measured on 3 validation faces" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["signal"] == VIEWS
    assert found["points"] == 3 * 68
    table = found["tables"]["confidence"]
    assert table["columns"] == ["points", "confidence", "within", "mean error, % of box"]
    assert [group["confidence"] for group in found["groups"]] == sorted(g["confidence"] for g in found["groups"])
    reader = load_reader(tmp_path / "student")
    measured = Confidence.from_json(reader.card["confidence"], 68)
    again = measure_confidence(reader, faces, BoxPolicy.parse(reader.card["box"]))
    assert again.to_json() == measured.to_json()
    assert (tmp_path / "found.png").stat().st_size > 10_000


def test_a_run_that_learned_the_validation_faces_has_the_confidence_of_its_twin(run, faces, tmp_path, capsys):
    def rewrite(name, **changes):
        folder = tmp_path / name
        shutil.copytree(run, folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | changes))
        return str(folder)

    def refused(*words):
        assert calibrate.main(["confidence", "--dataset", "300w", "--data", str(faces.path), *words]) == 2
        return capsys.readouterr().err

    full, other, plain = rewrite("full", keep="last"), rewrite("other", seed=3), rewrite("plain")
    assert "learned the validation faces too (--keep last)" in refused("--checkpoint", full)
    assert "found another seed, expected a run with the settings of" in refused("--checkpoint", full, "--twin", other)
    assert "found --keep last, expected" in refused("--checkpoint", full, "--twin", full)
    assert "leave --twin out" in refused("--checkpoint", plain, "--twin", other)
    assert "leave --twin out" in refused("--checkpoint", "mobilenetv2-300w", "--twin", plain)
    words = ["--checkpoint", full, "--dataset", "300w", "--data", str(faces.path)]
    assert calibrate.main(["confidence", *words, "--twin", plain]) == 0
    reader = load_reader(plain)
    measured = measure_confidence(reader, faces, BoxPolicy.parse(reader.card["box"]))
    assert load_reader(full).card["confidence"] == json.loads(json.dumps(measured.to_json()))
    notes = [evaluate_checkpoint(faces, name, split="val").metrics["notes"] for name in (full, plain)]
    assert ["LEARNED these faces" in " ".join(found) for found in notes] == [True, False]
