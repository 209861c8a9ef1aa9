"""Commands hide what network libraries write to the standard error."""

import os
import signal
import subprocess
import sys

import pytest

from tests.commands.conftest import REPOSITORY, started

SMALL = "--arch mobilenetv2-0.35 --image-size 32 --epochs 1 --batch-size 8 --recipe smoke --label-share 1"
UNMEASURED = "its confidence was never measured, so none is stated: python -m kdloss.calibrate confidence measures it"


@pytest.fixture
def said(data, workplace, monkeypatch):
    """Runs a line of words, and returns what it wrote to the standard error."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    monkeypatch.setenv("KDLOSS_DATA", str(data))

    def run(line, code=None, **environment):
        done = started(*line.split(), code=code, environment=environment)
        assert done.returncode == 0, done.stderr
        return done.stderr

    return run


def test_a_training(said):
    # TensorFlow writes when it is imported and when it begins, so the smallest network will do; its module is Keras'.
    code = "from kdloss.machine import quiet_libraries; quiet_libraries(); from kdloss.train_teacher import main; "
    code += "from tests.commands.conftest import *; REGRESSORS[ARCH] = TINY; "
    assert said("", code=code + "raise SystemExit(main([*SMALL, '--image-size', '32']))") == ""


@pytest.mark.slow
def test_every_command(said, data):
    assert said(f"train_teacher {SMALL} --out run") == ""
    loud = said(f"train_teacher {SMALL} --out loud", TF_CPP_MIN_LOG_LEVEL="0")  # as it was asked for
    assert "absl" in loud or "oneDNN" in loud  # which, depends on the processor
    assert said("evaluate --dataset 300w --checkpoint run --flip-test --report --out evaluation") == ""
    for form, precision, file in (
        *(("litert", precision, f"{precision}.tflite") for precision in ("fp16", "int8")),
        *(("onnx", precision, f"{precision}.onnx") for precision in ("fp32", "int8")),
        ("savedmodel", "fp32", "saved"),
    ):
        assert said(f"export --checkpoint run --format {form} --precision {precision} --out {file}") == ""
    photo = next((data / "made" / "300w" / "raw").rglob("*.jpg"))
    for checkpoint in ("run", "fp16.tflite", "fp32.onnx"):
        line = f"predict {photo} --checkpoint {checkpoint} --detector whole"
        assert said(line) == f"{checkpoint}: {UNMEASURED}\n"
    assert said("calibrate confidence --checkpoint mobilenetv2-300w --dataset 300w --plot confidence.png") == ""
    assert said("benchmark inference --arch mobilenetv2-0.35 --image-size 32 --rounds 5 --images 1") == ""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_page(backend, said):
    command = [sys.executable, "-m", "kdloss", "serve", "--port", "0", "--checkpoint", "mobilenetv2-300w/model.keras"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "KERAS_BACKEND": backend}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout.readline().startswith("http://")
        serving.send_signal(signal.SIGINT)
        assert serving.communicate()[1] == ""
