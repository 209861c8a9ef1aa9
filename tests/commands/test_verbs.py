"""The command ``kdloss`` and its verbs, and that help and imports load no more than they need."""

import json

import pytest

from kdloss import losses
from kdloss.__main__ import VERBS, main
from tests.commands.conftest import started

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


def test_an_unknown_verb_is_one_line():
    unknown = started("dance")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("error: kdloss dance: no such verb: expected one of prepare, ")
    assert unknown.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("code", "unneeded"),
    [("import kdloss", HEAVY | NUMBERS | {"asm"}), (FIT, HEAVY | NUMBERS - {"numpy"}), (HELP, HEAVY)],
    ids=["import", "shape model", "help"],
)
def test_nothing_is_loaded_that_is_not_needed(code, unneeded):
    code += "\nimport json, sys\nprint(json.dumps([name.split('.')[0] for name in sys.modules]))"
    assert not unneeded & set(json.loads(started(code=code).stdout))


def test_every_loss_is_where_the_package_says():
    for name in set(losses.__all__) - {"KD_PRESETS"}:
        assert getattr(losses, name).__module__.startswith("kdloss.losses.")
    with pytest.raises(AttributeError, match="no attribute 'hinge'"):
        _ = losses.hinge
