"""Several devices or processes train to the weights of one device. If one process dies, all of them end."""

import dataclasses
import json
import os
import re
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from kdloss.data.batches import ViewBatches
from kdloss.errors import ConfigError
from kdloss.train_teacher import main as train_teacher
from kdloss.training import distribution as module
from kdloss.training.distribution import check_flags, distributed
from tests.training.run_folders import rows_of, state_of
from tests.training.tiny_chain import BATCH, SIZE, student_config, tiny_config

REPOSITORY = Path(__file__).resolve().parents[2]
GONE = "another process is gone: {}; run the same command again on every machine, or on one without --distribute"
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")

# Everything that processes exchange outside the training.
TALK = """
import os, signal, sys
from kdloss.errors import exits_on_user_error
from kdloss.errors import DataError
from kdloss.training import distribution as module

@exits_on_user_error
def main(argv):
    where, processes, process, then = argv[0], int(argv[1]), int(argv[2]), argv[3]
    module._JOIN = 1 if then == "is alone" else 60
    with module.distributed(where, processes, process) as distribution:
        distribution.require_same({"epochs": 3})
        found = distribution.share({"number": process}), distribution.agree(3 * process), distribution.agree(None)
        assert found == ({"number": 0}, 3, 0)
        distribution.saved = "runs/a is saved as of step 5 of epoch 2"
        with distribution.first_alone():
            if then == "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise DataError("runs/a: no space left")

sys.exit(main(sys.argv[1:]))
"""


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def ended(commands, backend, **variables):
    """Runs Python commands at the same time; returns exit statuses and stderr lines, without TensorFlow's."""
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(REPOSITORY)} | variables
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    begun = [subprocess.Popen([sys.executable, *command], env=environment, **pipes) for command in commands]
    said = [process.communicate(timeout=240)[1].splitlines() for process in begun]
    tensorflow = re.compile(r"I\d{4} |WARNING: All log messages|To enable the following")
    said = [[line for line in lines if not tensorflow.match(line)] for lines in said]
    return [process.returncode for process in begun], said


@pytest.fixture(scope="module")
def trained(faces, tmp_path_factory):
    """``trained(backend, config, run, *distributions)``: trains with each in its own process; returns as `ended`."""
    # Compilation takes most of the time, and many of these processes compile the same programs.
    variables = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("xla")), "TF_CPP_MIN_LOG_LEVEL": "3"}
    variables |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

    def trained(backend, config, run, *distributions, signals=(None, None), logical=1):
        spec = {"config": dataclasses.asdict(config), "faces": str(faces.path), "run": str(run), "logical": logical}
        spec |= {"dropout": 0.3 if backend == "jax" else 0.0}  # TensorFlow draws it for each replica
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={logical}"} if logical > 1 else {}
        pairs = zip(distributions, signals, strict=False)
        specs = [json.dumps(spec | {"distribution": each, "signal": stop}) for each, stop in pairs]
        return ended([["-m", "tests.training.distributed_run", each] for each in specs], backend, **variables, **flags)

    return trained


@pytest.fixture(scope="module")
def one(runs, trained, tmp_path_factory):
    """The run of one process, and its configuration."""
    config, run = student_config(runs, teacher_views=1, epochs=3), tmp_path_factory.mktemp("one") / "one"
    assert trained("jax", config, run, []) == ([0], [[]])
    return run, config


def largest_difference(run, other):
    """The largest difference between the states of two runs: weights, statistics, averages, moments."""
    first, second = state_of(run), state_of(other)
    assert first.keys() == second.keys()
    found = max(np.abs(first[name].astype(np.float64) - second[name].astype(np.float64)).max() for name in first)
    print(f"largest difference: {found:.1e}")
    return found


def test_the_parts_of_a_batch_are_the_batch(faces):
    settings = {"size": SIZE, "batch_size": BATCH, "seed": 3}
    whole = ViewBatches(faces, faces.indices("train"), **settings)
    parts = [ViewBatches(faces, faces.indices("train"), part=(number, 4), **settings) for number in range(4)]
    for place in [(0, 0), (0, 1), (5, 1)]:
        images, points = whole.batch(*place)
        drawn = [part.batch(*place) for part in parts]
        assert all(len(part_images) == BATCH // 4 for part_images, _ in drawn)
        assert np.array_equal(np.concatenate([part_images for part_images, _ in drawn]), images)
        assert np.array_equal(np.concatenate([part_points["hard"] for _, part_points in drawn]), points["hard"])
        assert all(part.faces_of(*place) == whole.faces_of(*place) for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=needs_jax)])
def test_two_devices_train_to_the_weights_of_one(backend, trained, tmp_path):
    config = tiny_config(epochs=2, ema=0.9, weight_decay=0.01)
    for run, where in (("one", None), ("two", "devices")):
        assert trained(backend, config, tmp_path / run, [where], logical=2) == ([0], [[]])
    assert largest_difference(tmp_path / "one", tmp_path / "two") < 1e-5
    for one, two in zip(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"), strict=True):
        assert (two["loss"], two["l1_hard"]) == pytest.approx((one["loss"], one["l1_hard"]), abs=1e-6)
        assert two["val_nme"] == pytest.approx(one["val_nme"], abs=1e-4)


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize(("stop", "process"), [("SIGKILL", 0), ("SIGKILL", 1), ("SIGTERM", 1)])
def test_two_processes_stopped_and_begun_again_train_to_the_weights_of_one(stop, process, one, trained, tmp_path):
    run, where, signals = tmp_path / "two", free_address(), [None, None]
    signals[process] = [getattr(signal, stop), 1, 0]
    statuses, said = trained("jax", one[1], run, [where, 2, 0], [where, 2, 1], signals=signals)
    if stop == "SIGKILL":
        assert (statuses[process], statuses[1 - process]) == (-signal.SIGKILL, 1), said
        assert said[1 - process] == ["error: " + GONE.format(f"{run} is saved as of the end of epoch 1")]
    else:
        line = f"terminated: {run} is saved at step 1 of epoch 2: run the same command again to go on"
        assert (statuses, said) == ([143, 143], [[line], [line]])
    assert (run / "best.keras").exists()
    assert trained("jax", one[1], run, [where, 2, 0], [where, 2, 1]) == ([0, 0], [[], []])
    assert largest_difference(one[0], run) < 1e-5


# What happens to the first process: the --processes of each, their exit statuses, and parts of their lines.
ENDS = {
    "is killed": ([2, 2], [-signal.SIGKILL, 1], [None, GONE.format("runs/a is saved as of step 5 of epoch 2")]),
    "fails": ([2, 2], [2, 1], ["no space left", "process is gone: runs/a is saved as of step 5"]),
    "differs": ([2, 3], [2, 2], ["--process 1: differs", "(--processes: 3, on process 0 2)"]),
    "is alone": ([2], [2], ["not all 2 processes came within 1 s"]),
}


@needs_jax
@pytest.mark.parametrize("then", ["is killed", *(pytest.param(then, marks=pytest.mark.slow) for then in [*ENDS][1:])])
def test_each_process_ends_with_a_line_when_the_first(then):
    (processes, statuses, parts), where = ENDS[then], free_address()
    found, said = ended([["-c", TALK, where, str(n), str(i), then] for i, n in enumerate(processes)], "jax")
    assert found == statuses, said
    for lines, part in zip(said, parts, strict=True):
        assert len(lines) == (part is not None)
        assert part is None or part in lines[0]


def test_batches_are_divided_evenly():
    with distributed() as distribution:
        distribution.devices = 3
        distribution.check_batch_size(9)
        with pytest.raises(ConfigError, match="--batch-size 8: cannot be divided among 3 devices: give a multiple of"):
            distribution.check_batch_size(8)


@pytest.mark.parametrize(
    ("backend", "flags", "said"),
    [
        ("tensorflow", "--processes 2", "--processes and --process: belong to --distribute HOST:PORT"),
        ("torch", "--distribute devices", "KERAS_BACKEND=torch trains on one device"),
        ("jax", "--distribute host:99999", "--distribute host:99999: expected devices, or HOST:PORT"),
        ("jax", "--distribute h:5", "--processes None --process None: expected how many"),
        ("jax", "--distribute h:5 --processes 2 --process 2", "--process 2: expected how many"),
        ("tensorflow", "--distribute h:5 --processes 2 --process 1", "KERAS_BACKEND=jax, not tensorflow"),
    ],
)
def test_flags_that_do_not_fit_are_one_line(backend, flags, said, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert train_teacher(flags.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


@pytest.mark.tensorflow("JAX counts the devices of a processor otherwise")
def test_one_device_is_not_several():
    with pytest.raises(ConfigError, match="this machine has one device"), distributed("devices"):
        pass


def test_the_back_end_is_the_one_that_keras_will_take(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    check_flags("devices", None, None)
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    with pytest.raises(ConfigError, match="KERAS_BACKEND=torch"):
        check_flags("devices", None, None)


def test_the_first_process_listens_at_an_address_of_its_own():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"--distribute {where}: cannot listen there .Address already in use.: "):
            module._check_address(where)
