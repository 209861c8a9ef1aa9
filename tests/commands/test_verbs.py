"""The one name in front of all commands; and what help and imports load, which is nothing that they do not need."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kdloss import losses
from kdloss.__main__ import VERBS, main

REPOSITORY = Path(__file__).resolve().parents[2]
# What takes from a tenth of a second to several to import.
HEAVY = {"tensorflow", "keras", "jax", "torch", "sklearn", "scipy", "matplotlib", "skimage", "h5py", "tensorboard"}
HEAVY |= {"pandas", "ai_edge_litert", "ai_edge_quantizer", "onnx", "onnxruntime", "starlette", "uvicorn", "dlib"}
NUMBERS = {"numpy", "cv2", "PIL", "yaml"}
HELP = """
import contextlib, io
from kdloss.__main__ import VERBS, main
for verb in VERBS:
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main([verb, "--help"])
    assert said.getvalue().startswith("usage: "), verb
"""
FIT = """
import numpy as np
from asm import ShapeModel
ShapeModel.fit(np.random.default_rng(0).normal(size=(9, 3, 2)), modes=2, align=True)
"""


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_verbs_are_listed(words, capsys):
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: kdloss VERB")
    for verb, (_, about) in VERBS.items():
        assert f"  {verb} " in text
        assert about in text


def test_as_typed():
    def typed(*words):
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "kdloss", *words]
        return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)

    assert typed().returncode == 0
    unknown = typed("dance")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("error: kdloss dance: no such verb: expected one of prepare, ")
    assert unknown.stderr.count("\n") == 1


@pytest.mark.parametrize("words", ["", "evaluate --help", "shape --help"])
def test_a_reader_that_leaves_is_no_error(words):
    command = f"{sys.executable} -m kdloss {words} | head -n 1"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    finished = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.stdout.startswith("usage: ")
    assert finished.stderr == ""
    assert finished.returncode in (0, 141)  # 0 where all fits into the pipe before head leaves


@pytest.mark.parametrize(
    ("code", "unneeded"),
    [("import kdloss", HEAVY | NUMBERS | {"asm"}), (FIT, HEAVY | NUMBERS - {"numpy"}), (HELP, HEAVY)],
    ids=["import", "shape model", "help"],
)
def test_nothing_is_loaded_that_is_not_needed(code, unneeded):
    code += "\nimport json, sys\nprint(json.dumps([name.split('.')[0] for name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not unneeded & set(json.loads(done.stdout))


def test_every_loss_is_where_the_package_says():
    for name in set(losses.__all__) - {"KD_PRESETS"}:
        assert getattr(losses, name).__module__.startswith("kdloss.losses.")
    with pytest.raises(AttributeError, match="no attribute 'hinge'"):
        _ = losses.hinge
