"""Processes of their own: their memory, and what becomes of them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from kdloss.deploy.processes import Process, peak_megabytes
from kdloss.errors import ConfigError


def test_a_process_that_the_system_ends_is_one_clear_line():
    with (
        Process("the process with 2 threads", "give a smaller --batch-size") as process,
        pytest.raises(ConfigError, match=r"^the process with 2 threads was ended by the system, .*: give a smaller"),
    ):
        process.run(signal.raise_signal, signal.SIGKILL)


def test_the_peak_holds_what_was_let_go_of_and_a_large_parent_does_not_count():
    before, kept = peak_megabytes(), np.ones(60_000_000)  # 480 MB, as TensorFlow and some networks take
    assert peak_megabytes() >= max(before, kept.nbytes / 1e6)
    del kept
    assert peak_megabytes() >= 480
    with Process("one", "") as process:
        assert process.run(peak_megabytes) < 300


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for a process as Linux shows it")
def test_no_process_is_left_when_the_command_is_killed():
    code = "import os; from kdloss.deploy.processes import Process; process = Process('one', '')\n"
    code += "print(process.run(os.getpid), flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as parent:
        child = Path("/proc", parent.stdout.readline().strip())
        assert child.name.isdigit()
        parent.kill()
    deadline = time.monotonic() + 20
    while child.exists() and "State:\tZ" not in (child / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
