"""Help waits for no library that only the work itself needs; nor do mistakes, see `test_arguments_first`."""

import json
import subprocess
import sys

import pytest

from kdloss.__main__ import VERBS

# What takes from a tenth of a second to several to import.
HEAVY = {"tensorflow", "keras", "jax", "torch", "sklearn", "scipy", "matplotlib", "skimage", "h5py", "tensorboard"}
HEAVY |= {"pandas", "ai_edge_litert", "ai_edge_quantizer", "onnx", "onnxruntime", "starlette", "uvicorn", "dlib"}
NUMBERS = {"numpy", "cv2", "PIL", "yaml"}
# Runs lines of words, one after the other, and prints a JSON list: status, and modules that were loaded by then.
RUN = """
import contextlib, io, json, sys
from kdloss.__main__ import main
found = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            status = main(words)
        except SystemExit as stopped:
            status = stopped.code
    found.append([status, sorted({name.split(".")[0] for name in sys.modules})])
print(json.dumps(found))
"""


def loaded(code, *words):
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_commands_load_nothing_heavy_to_help():
    lines = [[verb, "--help"] for verb in VERBS]
    for words, (ended, modules) in zip(lines, loaded(RUN, json.dumps(lines)), strict=True):
        assert ended == 0, words
        assert not HEAVY & set(modules), words  # the first that loads one


def test_importing_kdloss_loads_nothing_but_itself():
    code = "import json, sys, kdloss; print(json.dumps([name.split('.')[0] for name in sys.modules]))"
    assert not (HEAVY | NUMBERS | {"asm"}) & set(loaded(code))


def test_fitting_a_shape_model_needs_numpy_alone():
    code = """if True:
        import json, sys
        import numpy as np
        from asm import ShapeModel
        ShapeModel.fit(np.random.default_rng(0).normal(size=(9, 3, 2)), modes=2, align=True)
        print(json.dumps([name.split('.')[0] for name in sys.modules]))
    """
    assert not (HEAVY | NUMBERS - {"numpy"}) & set(loaded(code))


def test_every_loss_is_where_the_package_says():
    from kdloss import losses
    from kdloss.losses.kd import KDLoss

    assert losses.KDLoss is KDLoss
    for name in set(losses.__all__) - {"KD_PRESETS"}:
        assert getattr(losses, name).__module__.startswith("kdloss.losses.")
    assert losses.KD_PRESETS["public"] == losses.KDLossConfig(
        beta=0.15, tough_a_pos=1.9, tolerant_a_pos=1.8, tolerant_a_neg=-0.4, lam_main=2.0, k=3.0, inner=False
    )
    with pytest.raises(AttributeError, match="no attribute 'hinge'"):
        _ = losses.hinge
