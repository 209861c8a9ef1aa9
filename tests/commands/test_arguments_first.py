"""Mistakes in arguments, paths or data are answered at once, before a network library is imported."""

import json
import shutil

import numpy as np
import pytest

from asm import ShapeModel
from kdloss.errors import ConfigError
from kdloss.models.checkpoint import require_backend
from tests.commands.conftest import started

LATE = ("tensorflow", "keras", "jax", "torch", "sklearn", "matplotlib", "tensorboard")
SECONDS = 0.9  # of processor time

# Runs lines of words one after the other: status, what was said, libraries that were loaded for it, seconds.
RUN = """
import contextlib, io, json, sys, time
from kdloss.__main__ import main
from kdloss.models.architectures import REGRESSORS
REGRESSORS["tiny"] = REGRESSORS["mobilenetv2"]
lines, late = json.loads(sys.stdin.read())
found = []
for words in lines:
    said, before, begun = io.StringIO(), set(sys.modules), time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            status = main(words)
        except SystemExit as stopped:
            status = stopped.code
    took = time.process_time() - begun
    found.append([status, said.getvalue(), [name for name in late if name in set(sys.modules) - before], took])
print(json.dumps(found))
"""

# A line of words -> a part of the message. The fixture `answers` makes the files that they name.
LINES = {
    # Flags before data, teachers and all else.
    "train_teacher --epochs 0": "--epochs 0: expected 1 at least",
    "train_teacher --arch resnet": "unknown architecture 'resnet'",
    "train_teacher --arch tiny --heatmap-loss mse": "--heatmap-loss mse: tiny regresses points",
    "train_teacher --kind tough --variance 0.9": "which only --kind tolerant learns",
    "train_teacher --distribute nowhere": "--distribute nowhere: expected devices, or HOST:PORT",
    "train_student --method none --unit pixel": "--unit belongs to --method kd-loss",
    "train_student --method fa --arch tiny --image-size 48": "--image-size 48: expected a multiple of 32",
    "train_student --method none --rounds 2": "--rounds 2: expected 1, or with --unlabelled more",
    "reproduce --study distillation --recipe gpu": "--recipe gpu: of studies expected one of smoke, cpu, paper",
    "reproduce --unlabelled nix": "--unlabelled: the chain has no use for faces without labels",
    "reproduce --minutes 0": "--minutes 0.0: expected a number above 0",
    "evaluate --dataset 300w --batch-size 0": "--batch-size 0: expected 1 at least",
    "evaluate --dataset 300w --missing skip": "--missing: a network predicts every face",
    "evaluate --dataset 300w --predictions a.npz --robustness": "--robustness: needs one network",
    "predict {photo} --frames 0": "--frames 0: expected 1 frame at least",
    "serve --port many": "--port: many: expected a whole number",
    "benchmark inference --rounds 1": "--rounds 1: expected 5 at least",
    "prepare dance": "invalid choice: 'dance'",
    # Data.
    "train_teacher --data nix": "--data nix: no such folder: give a prepared or an official 300w folder",
    "train_teacher --data empty": "empty: ",
    "train_teacher --dataset cofw --data {data}/300w": "holds faces of 300w, expected cofw",
    "train_teacher --arch tiny --recipe cpu --label-share 0.2": "larger than the 3 faces that --label-share 0.2 leave",
    "train_student --arch tiny --method none --unlabelled rest --pseudo-teacher nix --label-share 0.5": "nix: no such",
    "reproduce --study distillation --recipe smoke": "--batch-size 8: larger than the 3 faces that --label-share 0.2",
    "train_teacher --arch tiny --recipe smoke --data damaged": "prepare the set again",
    "calibrate confidence --checkpoint nix --dataset wflw": "no prepared wflw faces there",
    "predict nix.jpg --checkpoint {tough}": "nix.jpg: no such file",
    "benchmark inference --checkpoint nix": "nix: no such checkpoint",
    "shape fit --data nix --out shape.npz": "nix: no such file or folder",
    "prepare 300w --source nix --out faces": "nix: no such folder",
    # Checkpoints, teachers and other files that are named.
    "train_student --arch tiny --tough nix.keras": "nix.keras: no such checkpoint",
    "train_student --arch tiny --method fa --feature-teacher a.tflite": "a.tflite: an exported file",
    "train_student --arch tiny --method fa --feature-teacher {tough} --image-size 64 --box paper": "trained with box",
    "train_teacher --arch tiny --recipe cpu --weights text.keras": "text.keras: its weights do not load (File is not",
    "train_teacher --arch mobilenetv2-0.5 --recipe cpu --weights {tough}/best.keras": "found a model tiny, expected",
    "train_teacher --recipe cpu --kind tolerant --shape shape.npz": "the shape model has 3 points, expected 68",
    "evaluate --dataset 300w --checkpoint nix": "nix: no such checkpoint",
    "evaluate --dataset cofw --checkpoint {tough}": "trained for the 68 points of scheme 68, expected the 29",
    "evaluate --dataset 300w --checkpoint {tough} --readout argmax": "is a tiny, which has no heatmaps",
    "export --checkpoint a.tflite --format onnx": "expected a .keras checkpoint",
    "predict {photo} --boxes nix.json": "nix.json",
    "predict {photo} --checkpoint {tough} --threads 2": "--threads 2: best.keras runs in Keras",
    "predict {photo} --checkpoint mobilenetv2-300w/int8.tflite --device gpu": "is a LiteRT file, which runs on the CPU",
    "shape fit --data {data}/300w --out a.txt": "--out a.txt: expected a name that ends in .npz",
    # What is looked for where nothing is named.
    "train_student --dataset cofw": "holds no finished tough for cofw: train one with",
    "train_student --arch tiny --method fa --image-size 64": "holds no finished tough for 300w with --image-size 64",
    # Places to write to.
    "train_teacher --arch tiny --recipe cpu --out full": "--out full: exists and is no run folder",
    "train_teacher --arch tiny --recipe cpu --out {tough} --resume": "differ from those the run was started with",
    "reproduce --recipe cpu --out chain": "chain/none: exists and is no run folder",
    "evaluate --dataset 300w --checkpoint {tough} --out text.keras": "--out text.keras: cannot be written",
    "export --checkpoint {tough} --format litert --out a.tflite": "a.tflite: exists already",
}


@pytest.fixture(scope="module")
def answers(data, chain, tmp_path_factory):
    """line -> (expected message, what `RUN` found), all from one process, which must leave no file behind."""
    place = tmp_path_factory.mktemp("place")
    (place / "cut.keras").write_bytes((chain / "300w-tough-tiny" / "best.keras").read_bytes()[:3000])
    for suffix in ("keras", "h5", "pth"):
        (place / f"text.{suffix}").write_text("no model")
    (place / "a.tflite").write_text("no network")
    for folder in ("empty", "full", "chain"):
        (place / folder).mkdir()
    for taken in (place / "full" / "thesis.txt", place / "chain" / "none"):
        taken.touch()
    shutil.copytree(data / "300w", place / "damaged")
    (place / "damaged" / "points.npy").write_bytes(b"no points")
    ShapeModel.fit(np.random.default_rng(0).normal(size=(9, 3, 2)), modes=2).save(place / "shape.npz")
    named = {"tough": chain / "300w-tough-tiny", "data": data}
    named["photo"] = next((data / "made" / "300w" / "raw").rglob("*.jpg"))
    before = sorted([*place.rglob("*"), *chain.rglob("*")])
    lines = [[word.format(**named) for word in line.split()] for line in LINES]
    environment = {"KDLOSS_DATA": str(data), "KDLOSS_RUNS": str(chain)}
    done = started(code=RUN, environment=environment, input=json.dumps([lines, LATE]), cwd=place)
    assert sorted([*place.rglob("*"), *chain.rglob("*")]) == before
    expected = [part.format(**named) for part in LINES.values()]
    return dict(zip(LINES, zip(expected, json.loads(done.stdout), strict=True), strict=True))


@pytest.mark.parametrize(
    ("name", "said"), [("nonsense", "expected one of tensorflow, jax"), ("torch", "not installed")]
)
def test_a_back_end_that_is_not_there(name, said, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", name)
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    with pytest.raises(ConfigError, match=f"KERAS_BACKEND={name}: .*{said}"):
        require_backend()


@pytest.mark.parametrize("line", LINES)
def test_what_is_wrong_is_said_at_once(line, answers):
    expected, (status, said, loaded, seconds) = answers[line]
    assert status == 2
    assert said.count("\n") == 1 or said.startswith("usage: ")
    assert "error: " in said
    assert expected in said
    assert loaded == []
    assert seconds < SECONDS
