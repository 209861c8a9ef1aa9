"""Peak memory: of a process of its own, whatever the process is that asks."""

import subprocess
import sys

import numpy as np
import pytest

from kdloss.benchmarking.memory import measure_memory, peak_megabytes
from kdloss.benchmarking.worker import Job
from kdloss.deploy.litert import export_litert
from kdloss.errors import ConfigError
from kdloss.models import build_model
from tests.training.tiny_chain import ARCH, SIZE


@pytest.fixture(scope="module")
def job(tiny_networks, tmp_path_factory):
    file = tmp_path_factory.mktemp("litert") / "tiny.tflite"
    export_litert(build_model(ARCH, 5, SIZE), file)
    return Job("tiny", SIZE, "litert", file)


def test_the_peak_holds_what_was_let_go_of():
    before = peak_megabytes()
    assert np.ones(25_000_000).sum() == 25_000_000  # 200 MB
    # Other pages may have gone since.
    assert peak_megabytes() >= max(before, 200)


def test_a_large_parent_does_not_count():
    kept = np.ones(60_000_000)  # 480 MB, as TensorFlow and some networks take
    code = "from kdloss.benchmarking.memory import peak_megabytes; print(peak_megabytes())"
    taken = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert peak_megabytes() > kept.nbytes / 1e6
    assert taken < 200


def test_each_process_counts_and_the_runtime_is_told_apart(job):
    found = measure_memory(job, 2)
    assert {name: len(values) for name, values in found.items()} == {"peak": 2, "above_runtime": 2}
    for peak, above in zip(found["peak"], found["above_runtime"], strict=True):
        assert 20 < peak < 500  # TensorFlow alone takes more
        assert 0 <= above < peak


def test_a_process_that_the_system_ends_is_one_clear_line(job, monkeypatch):
    ended = subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr(subprocess, "run", lambda words, **how: ended)
    with pytest.raises(ConfigError, match="tiny: the process that runs it in LiteRT fp32 was ended by signal 9"):
        measure_memory(job, 1)


def test_a_run_that_fails_shows_why(job, tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)the memory of LiteRT fp32 failed:.*absent.tflite"):
        measure_memory(Job("tiny", SIZE, "litert", tmp_path / "absent.tflite"), 1)
