"""``kdloss.benchmark predict``: the same faces, read in every way. How many a second is nobody's to assert."""

import json
import statistics

import numpy as np
import pytest
from PIL import Image

from kdloss.benchmark import main
from kdloss.benchmarking.folder_throughput import write_photographs
from kdloss.benchmarking.tables import folder_table
from kdloss.deploy.litert import export_litert
from kdloss.evaluation.table import text_table
from kdloss.geometry import landmark_box
from kdloss.given_boxes import GivenBoxes
from kdloss.models import build_model
from kdloss.training.checkpoint import load_model, read_card, save_model
from tests.training.tiny_chain import ARCH, SIZE

QUICK = ["--rounds", "5", "--faces", "4"]


def test_every_way_reads_the_same_faces(student, faces, tmp_path, capsys):
    words = ["--checkpoint", str(student), "--dataset", "300w", "--data", str(faces.path), "--threads", "1", *QUICK]
    assert main(["predict", *words, "--json", str(tmp_path / "a.json")]) == 0
    record = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    loop, half, whole = record["rows"]
    ways = [(row["way"], row["threads"]) for row in record["rows"]]
    own = [(f"kdloss.predict, LiteRT {precision}", 1) for precision in ("fp16", "int8")]
    assert ways == [("loop over model.predict", None), *own]
    assert loop["difference"] == {"median": 0.0, "largest": 0.0}
    assert 0 < half["difference"]["largest"] < 0.05
    assert half["difference"]["median"] <= whole["difference"]["median"] < 2
    for row in record["rows"]:
        rates = [4 / seconds for seconds in row["seconds_of_rounds"]]
        ratios = [a / b for a, b in zip(loop["seconds_of_rounds"], row["seconds_of_rounds"], strict=True)]
        for name, values in (("faces_per_second", rates), ("ratio", ratios)):
            assert len(values) == 5
            expected = {"median": statistics.median(values), "low": min(values), "high": max(values)}
            assert row[name] == pytest.approx(expected)
    assert record["model"] == "student"
    facts = {"dataset": "300w", "split": "test", "n": 4, "side": 64, "synthetic": True}
    assert facts.items() <= record["faces"].items()
    assert record["command"] == f"python -m kdloss.benchmark predict {' '.join(words)} --json {tmp_path / 'a.json'}"
    text = text_table(folder_table(record))
    assert text in capsys.readouterr().out
    assert "4 rendered test faces of 300w, each a JPEG file of 64 px" in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_the_photographs_are_the_stored_crops(faces, tmp_path):
    rows = faces.indices("test")[:3]
    write_photographs(faces, rows, tmp_path)
    boxes, files = GivenBoxes(tmp_path / "boxes.json"), sorted((tmp_path / "photographs").iterdir())
    assert len(files) == 3
    for row, file in zip(rows, files, strict=True):
        with Image.open(file) as picture:
            assert (picture.format, picture.size) == ("JPEG", (64, 64))
            assert np.abs(np.asarray(picture, float) - faces.faces[row]).mean() < 8
        np.testing.assert_allclose(boxes.of(file.name), landmark_box(faces.points[row])[None], rtol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "4"], "--rounds 4: expected 5 at least"),
        (["--faces", "0"], "--faces 0: expected 1 at least"),
        (["--threads", "0"], "--threads 0: expected 1 at least"),
        (["--checkpoint", "absent"], "absent: no such checkpoint: "),
    ],
)
def test_wrong_options(words, message, faces, capsys):
    assert main(["predict", "--dataset", "300w", "--data", str(faces.path), *words]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(f"error: {message}")
    assert errors.count("\n") == 1


def test_networks_that_have_no_such_boxes_and_files_that_are_no_networks(student, faces, tmp_path, capsys):
    card = read_card(student)
    save_model(tmp_path / "boxed.keras", build_model(ARCH, 68, SIZE), card | {"box": "dataset:1.1"})
    export_litert(load_model(student)[0], tmp_path / "mine.tflite", card=card)
    for name, message in (("boxed.keras", "trained in dataset:1.1, expected"), ("mine.tflite", "is an exported file")):
        words = ["--checkpoint", str(tmp_path / name), "--dataset", "300w", "--data", str(faces.path)]
        assert main(["predict", *words]) == 2
        assert message in capsys.readouterr().err.splitlines()[-1]
