"""Training and evaluation on JAX, on a machine where TensorFlow is absent.

The tiny network stands for the real ones, which JAX takes a minute to compile on a CPU.
"""

import importlib.util
import json

import pytest

from tests.commands.conftest import started

SCRIPT = """
import importlib.abc, sys

class NoTensorFlow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTensorFlow())

from kdloss.machine import quiet_libraries

quiet_libraries()
import keras
from kdloss import evaluate, train_student, train_teacher
from kdloss.models.regressors import REGRESSORS
from tests.training.tiny_chain import ARCH, TINY

REGRESSORS[ARCH] = TINY
small = ["--recipe", "smoke", "--label-share", "1", "--arch", ARCH, "--batch-size", "8"]
for kind in ("tough", "tolerant"):
    assert train_teacher.main(["--kind", kind, *small, "--image-size", "32", "--epochs", "1"]) == 0
assert train_student.main([*small, "--teacher-views", "0", "--ema", "0.9", "--epochs", "2"]) == 0
assert evaluate.main(["--dataset", "300w", "--out", "evaluation"]) == 0
assert keras.backend.backend() == "jax"
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed: pip install kdloss[jax]")
def test_kd_loss_trains_on_jax_where_tensorflow_is_absent(data, workplace):
    environment = {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3", "KDLOSS_DATA": str(data)}
    done = started(code=SCRIPT, environment=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""  # nothing of what libraries say of themselves
    runs = workplace / "runs"
    for name, epochs in (("300w-tough-tiny", [1]), ("300w-tolerant-tiny", [1]), ("300w-student-kd-loss-tiny", [1, 2])):
        rows = [json.loads(line) for line in (runs / name / "metrics.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == epochs
        assert json.loads((runs / name / "environment.json").read_text())["backend"] == "jax"
    for row in rows:
        assert row["loss"] == pytest.approx(row["main"] + row["tough"] + row["tolerant"], rel=1e-5)
    assert rows[0]["loss"] != rows[1]["loss"]
    record = json.loads((workplace / "evaluation" / "metrics.json").read_text())
    # A student that starts at the mean shape and takes four small steps is still near it.
    mean_shape = record["mean_shape"]["full"]["nme_interocular"]
    assert record["subsets"]["full"]["nme_interocular"] == pytest.approx(mean_shape, rel=0.5)
