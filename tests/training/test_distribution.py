"""Several devices and processes train a network to the weights of one device; a process that dies ends them all."""

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

import keras
import numpy as np
import pytest

from kdloss.errors import ConfigError
from kdloss.models import build_model
from kdloss.pipeline import ViewBatches
from kdloss.train_teacher import main as train_teacher
from kdloss.training import distribution as module
from kdloss.training.distribution import MirroredDevices, OneDevice, distribution
from kdloss.training.distribution_flags import check_flags
from tests.training.run_folders import rows_of, state_of
from tests.training.tiny_chain import ARCH, BATCH, SIZE, student_config, tiny_config

REPOSITORY = Path(__file__).resolve().parents[2]
GONE = "error: another process is gone: {kept}; run the same command again on every machine, or on one without --distribute"
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")


def free_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


class Launcher:
    """Runs `tests.training.distributed_run` in processes of their own, on the prepared ``faces``."""

    def __init__(self, faces, folder):
        self.faces, self.folder = faces, folder

    def run(self, backend, *specs):
        """One process for each dict; returns their exit statuses and what they said on stderr."""
        environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(REPOSITORY)}
        # Most of the time goes into XLA's programs, which are the same in many of these processes.
        environment |= {"JAX_COMPILATION_CACHE_DIR": str(self.folder / "xla"), "TF_CPP_MIN_LOG_LEVEL": "3"}
        environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        commands = []
        for number, spec in enumerate(specs):
            spec = {"where": None, "processes": None, "process": None, "logical": 1, "dropout": 0.3} | spec
            spec |= {"faces": str(self.faces.path), "run": str(spec["run"]), "signal": spec.get("signal")}
            if spec["logical"] > 1:
                environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={spec['logical']}"
            path = self.folder / f"spec-{number}.json"
            path.write_text(json.dumps(spec | {"config": dataclasses.asdict(spec["config"])}))
            commands.append(["-m", "tests.training.distributed_run", str(path)])
        return ended(commands, environment)

    def pair(self, config, run, first=(), second=()):
        """Two processes; what is of one alone is in ``first`` and ``second``."""
        both = {"config": config, "run": run, "where": free_address(), "processes": 2}
        return self.run("jax", both | {"process": 0} | dict(first), both | {"process": 1} | dict(second))


def ended(commands, environment):
    """Runs commands of Python at the same time; of each the exit status, and what TensorFlow did not say on stderr."""
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    begun = [subprocess.Popen([sys.executable, *command], env=environment, **pipes) for command in commands]
    said = [process.communicate(timeout=240)[1] for process in begun]
    tensorflow = re.compile(
        r"WARNING: All log messages before|I\d{4} .* port\.cc|I\d{4} .* cpu_feature_guard\.cc|To enable"
    )
    said = [[line for line in text.splitlines() if not tensorflow.match(line)] for text in said]
    return [process.returncode for process in begun], said


@pytest.fixture(scope="module")
def launcher(faces, tmp_path_factory):
    return Launcher(faces, tmp_path_factory.mktemp("distributed"))


@pytest.fixture(scope="module")
def config(runs):
    return student_config(runs, teacher_views=1, epochs=3)


@pytest.fixture(scope="module")
def one(config, launcher):
    """The run of one process."""
    statuses, said = launcher.run("jax", {"config": config, "run": launcher.folder / "a" / "one"})
    assert statuses == [0], said
    return launcher.folder / "a" / "one"


def largest_difference(run, other):
    """Of all that two runs resume from: weights, statistics, averages, the optimizer's moments."""
    first, second = state_of(run), state_of(other)
    assert first.keys() == second.keys()
    found = max(np.abs(first[name].astype(np.float64) - second[name].astype(np.float64)).max() for name in first)
    print(f"largest difference of {run.name} and {other.name}: {found:.1e}")
    return found


def test_the_parts_of_a_batch_are_the_batch(faces):
    rows = faces.indices("train")
    settings = {"size": SIZE, "batch_size": BATCH, "seed": 3}
    whole = ViewBatches(faces, rows, **settings)
    parts = [ViewBatches(faces, rows, part=(number, 4), **settings) for number in range(4)]
    for place in [(0, 0), (0, 1), (5, 1)]:
        images, points = whole.batch(*place)
        drawn = [part.batch(*place) for part in parts]
        assert all(len(part_images) == BATCH // 4 for part_images, _ in drawn)
        assert np.array_equal(np.concatenate([part_images for part_images, _ in drawn]), images)
        assert np.array_equal(np.concatenate([part_points["hard"] for _, part_points in drawn]), points["hard"])
        assert all(part.faces_of(*place) == whole.faces_of(*place) for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=needs_jax)])
def test_two_devices_train_to_the_weights_of_one(backend, launcher, tmp_path):
    config = tiny_config(epochs=2, ema=0.9, weight_decay=0.01)
    dropout = 0.3 if backend == "jax" else 0.0  # TensorFlow draws it for each replica
    for run, where in (("one", None), ("two", "devices")):
        spec = {"config": config, "run": tmp_path / run, "where": where, "logical": 2, "dropout": dropout}
        statuses, said = launcher.run(backend, spec)
        assert statuses == [0], said
    assert largest_difference(tmp_path / "one", tmp_path / "two") < 1e-5
    for one, two in zip(rows_of(tmp_path / "one"), rows_of(tmp_path / "two"), strict=True):
        assert (two["loss"], two["l1_hard"]) == pytest.approx((one["loss"], one["l1_hard"]), abs=1e-6)
        assert two["val_nme"] == pytest.approx(one["val_nme"], abs=1e-4)
    # Nothing of it is in the checkpoint: Keras on JAX refuses to train what is synchronised.
    network = keras.saving.load_model(tmp_path / "two" / "best.keras", safe_mode=True)
    assert [layer.synchronized for layer in module._normalisations(network)] == [False, False]


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "process"), [(signal.SIGKILL, 0), (signal.SIGKILL, 1), (signal.SIGTERM, 0), (signal.SIGINT, 1)]
)
def test_two_processes_train_to_the_weights_of_one_though_they_were_stopped(
    number, process, config, one, launcher, tmp_path
):
    run = tmp_path / "two"
    statuses, said = launcher.pair(config, run, *[{}, {}][:process], {"signal": [number, 1, 0]})
    if number == signal.SIGKILL:
        assert (statuses[process], statuses[1 - process]) == (-signal.SIGKILL, 1), said
        assert said[1 - process] == [GONE.format(kept=f"{run} is saved as of the end of epoch 1")]
    else:
        stop, status = {signal.SIGTERM: ("terminated", 143), signal.SIGINT: ("interrupted", 130)}[number]
        assert statuses == [status, status], said
        assert said == [[f"{stop}: {run} is saved at step 1 of epoch 2: run the same command again to go on"]] * 2
    assert (run / "best.keras").exists()
    statuses, said = launcher.pair(config, run)
    assert (statuses, said) == ([0, 0], [[], []])
    assert largest_difference(one, run) < 1e-5


TALK = """
import json, os, signal, sys
from pathlib import Path
from asm.errors import exits_on_user_error
from kdloss.errors import DataError
from kdloss.training import distribution as module

@exits_on_user_error
def main(argv):
    process, (where, processes, folder, then) = int(argv[0]), argv[1:]
    folder, module._JOIN = Path(folder), 1 if then == "alone" else 60
    with module.distribution(where, int(processes), process) as among:
        with among.first_alone():
            found = [(folder / "turn").exists()]
            (folder / "turn").touch()
        among.require_same({"epochs": 3} | {"seed": process} if then == "differ" else {})
        with among.shared_file(folder / "state.npz") as file:
            found += [file.read_bytes() == b"arrays" * 1000, file == folder / "state.npz"]
        with among.shared_file(folder / "absent") as absent:
            found += [absent, among.share({"number": process}), among.agree(None), among.agree(3 * process)]
        (folder / f"found-{process}").write_text(json.dumps(found))
        among.keep("runs/a is saved as of step 5 of epoch 2")
        among.agree(None)
        if process == 0 and then == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if process == 0 and then == "fails":
            raise DataError("runs/a: no space left")
        among.agree(None)

sys.exit(main(sys.argv[1:]))
"""


def talk(folder, then, processes=(2, 2)):
    (folder / "state.npz").write_bytes(b"arrays" * 1000)
    where, environment = free_address(), os.environ | {"KERAS_BACKEND": "jax", "PYTHONPATH": str(REPOSITORY)}
    words = [[str(process), where, str(count), str(folder), then] for process, count in enumerate(processes)]
    return ended([["-c", TALK, *each] for each in words], environment)


@needs_jax
def test_processes_share_values_files_and_turns_until_the_first_is_gone(tmp_path):
    statuses, said = talk(tmp_path, "dies")
    assert (statuses, said) == (
        [-signal.SIGKILL, 1],
        [[], [GONE.format(kept="runs/a is saved as of step 5 of epoch 2")]],
    )
    found = [json.loads((tmp_path / f"found-{process}").read_text()) for process in (0, 1)]
    assert found == [[turn, True, own, None, {"number": 0}, 0, 3] for turn, own in ((False, True), (True, False))]


@needs_jax
@pytest.mark.slow
@pytest.mark.parametrize(
    ("then", "processes", "statuses", "parts"),
    [
        ("fails", (2, 2), [2, 1], ["error: runs/a: no space left", "another process is gone: runs/a is saved as of"]),
        (
            "differ",
            (2, 2),
            [2, 2],
            ["--process 1: differs from process 0: run the", "(seed: 1, on process 0 0): run the"],
        ),
        ("fit", (2, 3), [2, 2], ["--process 1: differs from process 0", "(--processes: 3, on process 0 2)"]),
        ("alone", (2,), [2], ["not all 2 processes came within 1 s: start the same command with --process 0 to 1"]),
    ],
)
def test_processes_that_do_not_come_or_fit_or_fail_are_one_line_each(then, processes, statuses, parts, tmp_path):
    found, said = talk(tmp_path, then, processes)
    assert found == statuses, said
    for lines, part in zip(said, parts, strict=True):
        assert len(lines) == 1
        assert part in lines[0]


def test_the_first_process_listens_at_an_address_of_its_own():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"--distribute 127.0.0.1:{port}: cannot listen there \(Address already"):
            module._check_address(f"127.0.0.1:{port}")


def test_one_device_agrees_with_itself(tmp_path):
    alone = OneDevice()
    assert (alone.agree(None), alone.agree(15), alone.share({"a": 1})) == (None, 15, {"a": 1})
    for path, expected in ((tmp_path / "absent", None), (tmp_path, tmp_path)):
        with alone.shared_file(path) as found:
            assert found == expected
    with distribution() as among:
        assert isinstance(among, OneDevice)
    alone.devices = 3
    alone.check(9)
    with pytest.raises(ConfigError, match="--batch-size 8: cannot be divided among 3 devices: give a multiple of 3"):
        alone.check(8)


def test_what_mirrored_devices_synchronise_is_saved_as_one_device_has_it():
    among = MirroredDevices(["CPU:0"])
    with among.scope():
        network = build_model(ARCH, 68, SIZE)
    layers = module._normalisations(network)
    among.synchronise(network)
    assert [layer.synchronized for layer in layers] == [True, True]
    with among.plain(network):
        assert [layer.synchronized for layer in layers] == [False, False]
    assert [layer.synchronized for layer in layers] == [True, True]


@pytest.mark.parametrize(
    ("backend", "flags", "parts"),
    [
        ("tensorflow", ["--processes", "2"], ["--processes and --process", "belong to --distribute HOST:PORT"]),
        ("tensorflow", ["--distribute", "devices", "--process", "1"], ["belong to --distribute HOST:PORT"]),
        ("tensorflow", ["--distribute", "devices"], ["this machine has one device", "leave it out"]),
        ("torch", ["--distribute", "devices"], ["KERAS_BACKEND=torch trains on one device"]),
        ("jax", ["--distribute", "everywhere"], ["--distribute everywhere: expected devices, or HOST:PORT"]),
        ("jax", ["--distribute", "host:99999"], ["--distribute host:99999: expected devices, or HOST:PORT"]),
        ("jax", ["--distribute", "host:5000"], ["--processes None --process None", "how many processes"]),
        ("jax", ["--distribute", "host:5000", "--processes", "2", "--process", "2"], ["--process 2", "from 0"]),
        (
            "tensorflow",
            ["--distribute", "h:5", "--processes", "2", "--process", "1"],
            ["KERAS_BACKEND=jax, not tensor"],
        ),
    ],
)
def test_flags_that_do_not_fit_are_one_line(backend, flags, parts, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert train_teacher(flags) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    for part in parts:
        assert part in said


def test_the_back_end_is_the_one_that_keras_will_take(tmp_path, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    check_flags("devices", None, None)
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    with pytest.raises(ConfigError, match="KERAS_BACKEND=torch"):
        check_flags("devices", None, None)
