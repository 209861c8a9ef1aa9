"""`python -m kdloss.serve`: how it starts and ends, and what it refuses."""

import signal
import subprocess
import sys

import pytest

from kdloss.errors import ConfigError
from kdloss.serve import main
from kdloss.serving.models import shown_names
from tests.serving.conftest import REPOSITORY, start

SMALL = "mobilenetv2-300w/int8.tflite"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_in_order(tmp_path, number):
    process, line = start(tmp_path, "--port", "0", "--checkpoint", SMALL)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert line.startswith("http://127.0.0.1:")
    assert (process.returncode, out) == (0, ""), err
    assert "warning" not in err
    assert "Traceback" not in err


def test_an_address_that_others_reach_is_warned_of(tmp_path):
    process, line = start(tmp_path, "--host", "0.0.0.0", "--port", "0", "--checkpoint", SMALL)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert line.startswith("http://0.0.0.0:")
    warning = "warning: --host 0.0.0.0: everybody who reaches this address can use the page: it asks for no password"
    assert err.splitlines().count(warning) == 1


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_named_with_what_to_do(package):
    program = f"import sys; sys.modules[{package!r}] = None; from kdloss.serve import main; sys.exit(main([]))"
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 2
    assert finished.stderr == f"error: {package} is not installed: pip install '.[serve]'\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: no such address"),
        (["--checkpoint", SMALL, "--checkpoint", SMALL], f"--checkpoint {SMALL}: named 2 times: name each model once"),
        (["--port", "0", "--checkpoint", "absent.keras"], "absent.keras: no such checkpoint"),
        (["--port", "0", "--detector-model", "absent.onnx"], "detector lbp: takes no model file"),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, words, message):
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["--port", "65536"], ["--port", "-1"], ["--device", "toaster"]])
def test_values_out_of_range_are_refused(capsys, words):
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_names_are_as_short_as_tells_them_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("runs/a/best.keras", "runs/b/best.keras", "other/runs/a/best.keras", "one.onnx"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    asked = ["mobilenetv2-300w", "mobilenetv2-300w/int8.tflite", "runs/a/best.keras", "runs/b/best.keras", "one.onnx"]
    expected = ["mobilenetv2-300w", "mobilenetv2-300w/int8.tflite", "a/best.keras", "b/best.keras", "one.onnx"]
    assert shown_names(asked) == expected
    assert shown_names(["runs/a", str(tmp_path / "other/runs/a")]) == [f"{tmp_path.name}/runs/a", "other/runs/a"]
    with pytest.raises(ConfigError, match="named 2 times"):
        shown_names(["runs/a", str(tmp_path / "runs/a")])
