"""Several devices and processes train a network to the weights of one device; a process that dies ends them all."""

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
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
from kdloss.training.distribution import MirroredDevices, OneDevice, ShardedProcesses, distribution
from kdloss.training.link import Link, connect, listen
from kdloss.training.relay import relay
from tests.training.run_folders import rows_of, state_of
from tests.training.tiny_chain import ARCH, BATCH, SIZE, student_config, tiny_config

REPOSITORY = Path(__file__).resolve().parents[2]
needs_jax = pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def linked(processes=2):
    """The links of as many processes, all in this one; they end nothing."""
    port, links = free_port(), {}

    def come(process):
        links[process] = connect("127.0.0.1", port, processes, process, 10)

    threads = [threading.Thread(target=come, args=(process,)) for process in range(1, processes)]
    for thread in threads:
        thread.start()
    links[0] = listen("127.0.0.1", port, processes, 10)
    for thread in threads:
        thread.join()
    for link in links.values():
        link._end = lambda line: None
    return [links[process] for process in range(processes)]


def on_all(links, work):
    """What ``work(link)`` gives on each, all at the same time."""
    found = {}
    threads = [threading.Thread(target=lambda link=link: found.update({link.process: work(link)})) for link in links]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return [found.get(link.process) for link in links]


def drop(links):
    """Closes what is still open, without a word."""
    for link in links:
        link._closing.set()
        for connection in link._sockets.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def run_processes(folder, faces, config, run, backend, where=None, processes=1, logical=1, dropout=0.3, die=None):
    """Runs `tests.training.distributed_run` in processes of their own; returns exit statuses and what was said."""
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    # Most of the time goes into XLA's programs, which are the same in many of these processes.
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "xla")}
    environment |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    if logical > 1:
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={logical}"
    begun = []
    for process in range(processes):
        spec = {"config": dataclasses.asdict(config), "faces": str(faces.path), "run": str(run), "where": where}
        spec |= {"processes": processes, "process": process} if processes > 1 else {"processes": None, "process": None}
        spec |= {"logical": logical, "dropout": dropout, "die": die if process == 1 else None}
        path = folder / f"spec-{process}.json"
        path.write_text(json.dumps(spec))
        command = [sys.executable, "-m", "tests.training.distributed_run", str(path)]
        begun.append(
            subprocess.Popen(command, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        )
    said = [process.communicate(timeout=240)[1] for process in begun]
    return [process.returncode for process in begun], said


def largest_difference(run, other):
    """Of all that two runs resume from: weights, statistics, averages, the optimizer's moments."""
    first, second = state_of(run), state_of(other)
    assert first.keys() == second.keys()
    return max(np.abs(first[name].astype(np.float64) - second[name].astype(np.float64)).max() for name in first)


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


def test_mirrored_devices_train_to_the_weights_of_one(faces, tmp_path):
    config = tiny_config(epochs=2, ema=0.9, weight_decay=0.01)
    for run, where in (("one", None), ("mirrored", "devices")):
        statuses, said = run_processes(
            tmp_path, faces, config, tmp_path / run, "tensorflow", where, logical=2, dropout=0.0
        )
        assert statuses == [0], said
    assert largest_difference(tmp_path / "one", tmp_path / "mirrored") < 1e-5
    for one, mirrored in zip(rows_of(tmp_path / "one"), rows_of(tmp_path / "mirrored"), strict=True):
        assert mirrored["loss"] == pytest.approx(one["loss"], abs=1e-6)
        assert mirrored["l1_hard"] == pytest.approx(one["l1_hard"], abs=1e-6)
        assert mirrored["val_nme"] == pytest.approx(one["val_nme"], abs=1e-4)
    # Nothing of it is in the checkpoint: Keras on JAX refuses to train what is synchronised.
    network = keras.saving.load_model(tmp_path / "mirrored" / "best.keras", safe_mode=True)
    assert [layer.synchronized for layer in module._normalisations(network)] == [False, False]


@needs_jax
def test_two_processes_train_to_the_weights_of_one_though_one_was_killed(faces, runs, tmp_path):
    config = student_config(runs, teacher_views=1, epochs=3)
    statuses, said = run_processes(tmp_path, faces, config, tmp_path / "a" / "run", "jax")
    assert statuses == [0], said
    run = tmp_path / "b" / "run"

    def pair(**settings):
        return run_processes(tmp_path, faces, config, run, "jax", f"127.0.0.1:{free_port()}", 2, **settings)

    statuses, said = pair(die=[1, 0])
    assert statuses == [1, -9], said
    last = said[0].strip().splitlines()[-1]
    assert last == (
        f"error: process 1 of 2 is gone: {run} is saved as of the end of epoch 1; run the same command again on every "
        "machine, or on one without --distribute"
    )
    assert (run / "best.keras").exists()
    statuses, said = pair()
    assert statuses == [0, 0], said
    assert largest_difference(tmp_path / "a" / "run", run) < 1e-5


@needs_jax
def test_the_devices_of_a_machine_train_to_the_weights_of_one_on_jax(faces, tmp_path):
    config = tiny_config(epochs=2, ema=0.9)
    for run, where in (("one", None), ("devices", "devices")):
        statuses, said = run_processes(tmp_path, faces, config, tmp_path / run, "jax", where, logical=2)
        assert statuses == [0], said
    assert largest_difference(tmp_path / "one", tmp_path / "devices") < 1e-5


def test_one_device_agrees_with_itself(tmp_path):
    alone = OneDevice()
    assert (alone.agree(None), alone.agree(15), alone.share({"a": 1})) == (None, 15, {"a": 1})
    assert alone.shared_file(tmp_path / "absent") is None
    assert alone.shared_file(tmp_path) == tmp_path
    with distribution() as among:
        assert isinstance(among, OneDevice)


def test_what_mirrored_devices_synchronise_is_saved_as_one_device_has_it():
    among = MirroredDevices(["CPU:0"])
    with among.scope():
        network = build_model(ARCH, 68, SIZE)
    layers = module._normalisations(network)
    assert [layer.synchronized for layer in layers] == [False, False]
    among.synchronise(network)
    assert [layer.synchronized for layer in layers] == [True, True]
    with among.plain(network):
        assert [layer.synchronized for layer in layers] == [False, False]
    assert [layer.synchronized for layer in layers] == [True, True]
    assert (among.devices, among.replicas, among.part, among.is_first) == (1, 1, (0, 1), True)


def test_processes_share_values_files_and_turns(tmp_path, monkeypatch):
    monkeypatch.setattr(module.ShardedDevices, "__init__", lambda self: None)
    (tmp_path / "state.npz").write_bytes(b"arrays" * 1000)
    turns = []

    def work(link):
        among = ShardedProcesses(link)
        with among.first_alone():
            turns.append(link.process)
        among.require_same({"seed": 0})
        among.keep("runs/a is saved as of the end of epoch 1")
        file = among.shared_file(tmp_path / "state.npz")
        found = file.read_bytes(), among.shared_file(tmp_path / "absent"), among.share({"number": link.process})
        copied = file != tmp_path / "state.npz"
        agreed = among.agree(None), among.agree(15 * link.process)
        among._files.close()
        link.leave()
        return (*found, copied, agreed, link.kept)

    links = linked(2)
    expected = b"arrays" * 1000, None, {"number": 0}
    kept = "runs/a is saved as of the end of epoch 1"
    assert on_all(links, work) == [(*expected, False, (0, 15), kept), (*expected, True, (0, 15), kept)]
    assert turns == [0, 1]


def test_processes_agree_and_share():
    links = linked(3)
    assert on_all(links, lambda link: link.agree(link.process)) == [2, 2, 2]
    assert on_all(links, lambda link: link.share(b"x" * 3_000_000 if link.is_first else b"")) == [b"x" * 3_000_000] * 3
    on_all(links, lambda link: link.leave())


def test_processes_that_differ_are_told_in_what():
    def compare(link):
        with pytest.raises(ConfigError) as raised:
            link.require_same({"epochs": 3, "seed": 1 + link.process})
        link.fail(str(raised.value))
        return str(raised.value)

    links = linked(2)
    assert on_all(links, lambda link: link.require_same({"epochs": 3})) == [None, None]
    first, second = on_all(links, compare)
    assert first.startswith("--process 1: differs from process 0: run the same command")
    assert "(seed: 2, on process 0 1)" in second


@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_is_gone_ends_the_others_with_what_is_saved(lost):
    said, ended = {}, threading.Barrier(3)
    links = linked(3)
    for link in links:
        link.kept = "runs/a is saved as of the end of epoch 4"
        link._end = lambda line, process=link.process: (said.update({process: line}), ended.wait(10))
    drop([links[lost]])
    ended.wait(10)
    assert sorted(said) == [process for process in range(3) if process != lost]
    for line in said.values():
        assert line.startswith(f"process {lost} of 3 is gone: runs/a is saved as of the end of epoch 4; run the same")
    drop(links)


def test_a_process_that_fails_tells_the_others_why():
    said, ended = [], threading.Event()
    links = linked(2)
    links[1]._end = lambda line: (said.append(line), drop(links[1:]), ended.set())
    links[0].fail("runs/a: no space left on the disk")
    assert ended.wait(10)
    assert said[0].startswith("process 0 ended: runs/a: no space left on the disk: nothing is saved yet; run the same")
    drop(links)


def test_what_is_no_process_of_the_training_is_passed_over():
    port, found = free_port(), []
    waiting = threading.Thread(target=lambda: found.append(listen("127.0.0.1", port, 2, 10)))
    waiting.start()
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", b""):
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as stranger:
                    stranger.sendall(nonsense)
                break
            except ConnectionRefusedError:
                continue
    with pytest.raises(ConfigError, match="--process 0: is there already"):
        connect("127.0.0.1", port, 2, 0, 5)
    with pytest.raises(ConfigError, match="--processes 3: process 0 was started with 2"):
        connect("127.0.0.1", port, 3, 1, 5)
    link = connect("127.0.0.1", port, 2, 1, 5)
    waiting.join(10)
    assert isinstance(found[0], Link)
    on_all([found[0], link], lambda link: link.leave())


def test_nobody_waits_for_ever():
    port = free_port()
    with pytest.raises(ConfigError, match=rf"127.0.0.1:{port}: process 0 cannot be reached \(Connection refused\)"):
        connect("127.0.0.1", port, 2, 1, 0.1)
    with pytest.raises(ConfigError, match=r"process 1, 2 of 3 did not come within 0\.1 s"):
        listen("127.0.0.1", port, 3, 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError, match="cannot listen there"):
        listen("127.0.0.1", taken.getsockname()[1], 2, 0.1)


def test_a_relay_hides_that_the_other_side_is_gone():
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(("127.0.0.1", relay(*server.getsockname())), 5)
        far, _ = server.accept()
        near.sendall(b"question")
        assert far.recv(100) == b"question"
        far.sendall(b"answer")
        assert near.recv(100) == b"answer"
        far.close()
    near.settimeout(0.2)
    with near:
        for _ in range(3):
            near.sendall(b"anybody there?")
            with pytest.raises(TimeoutError):
                near.recv(100)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--processes", "2"], ["--processes and --process", "belong to --distribute HOST:PORT"]),
        (["--distribute", "devices", "--process", "1"], ["belong to --distribute HOST:PORT"]),
        (["--distribute", "devices"], ["this machine has one device", "leave it out"]),
        (["--distribute", "everywhere"], ["--distribute everywhere: expected devices, or HOST:PORT"]),
        (["--distribute", "host:99999"], ["--distribute host:99999: expected devices, or HOST:PORT"]),
        (["--distribute", "host:5000"], ["--processes None --process None", "how many processes"]),
        (["--distribute", "host:5000", "--processes", "2", "--process", "2"], ["--process 2", "from 0"]),
        (["--distribute", "host:5000", "--processes", "2", "--process", "1"], ["KERAS_BACKEND=jax", "docs/scale.md"]),
    ],
)
def test_flags_that_do_not_fit_are_one_line(flags, parts, capsys):
    assert train_teacher(flags) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    for part in parts:
        assert part in said


def test_pytorch_trains_on_one_device(monkeypatch, capsys):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert train_teacher(["--distribute", "devices"]) == 2
    assert "KERAS_BACKEND=torch trains on one device" in capsys.readouterr().err


def test_batches_are_divided_evenly():
    among = OneDevice()
    among.devices = 3
    among.check(9)
    with pytest.raises(ConfigError, match="--batch-size 8: cannot be divided among 3 devices: give a multiple of 3"):
        among.check(8)
