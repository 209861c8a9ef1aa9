"""`python -m kdloss.serve`: how it starts and ends, and what it refuses."""

import signal
import subprocess
import sys

import pytest

from tests.serving.conftest import REPOSITORY, start

SMALL = "mobilenetv2-300w/int8.tflite"


@pytest.mark.parametrize(("number", "host"), [(signal.SIGINT, "127.0.0.1"), (signal.SIGTERM, "0.0.0.0")])
def test_signals_end_it_in_order_and_public_addresses_cause_a_warning(tmp_path, number, host):
    process, line = start(tmp_path, "--host", host, "--port", "0", "--checkpoint", SMALL)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert line.startswith(f"http://{host}:")
    assert (process.returncode, out) == (0, ""), err
    assert "Traceback" not in err
    warning = "warning: --host 0.0.0.0: everybody who reaches this address can use the page: it asks for no password"
    assert err.splitlines().count(warning) == err.count("warning") == (host == "0.0.0.0")


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_a_missing_package_is_named(package):
    program = f"import sys; sys.modules[{package!r}] = None; from kdloss.serve import main; sys.exit(main([]))"
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (
        2,
        f"error: {package} is not installed: pip install 'kdloss[serve]'\n",
    )
