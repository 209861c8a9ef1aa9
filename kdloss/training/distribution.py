"""Training on several devices or in several processes, each with its part of every batch, to one device's weights.

Every process runs the same program on the same global batches: it draws its part of each (`part`), and the back end
adds up the gradients. All validate, all follow the same decisions; the first alone writes. What changes from one device
to many is here, behind one interface; a run's configuration does not know of it.
"""

import contextlib
import ctypes
import functools
import json
import os
import socket
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import keras
import numpy as np

from kdloss.errors import USER_ERRORS, ConfigError, Terminated, exits_on_user_error
from kdloss.training.distribution_flags import address, check_flags
from kdloss.training.state import OutOfTime

_JOIN = 120  # seconds in which all processes must have come
_HEARTBEAT = 20  # seconds without a sign of life, after which JAX counts a process as dead
_PATIENCE = 24 * 60 * 60  # seconds that processes wait for the first, which prepares faces or teachers' points


class OneDevice:
    """Training as it is without ``--distribute``; the interface of them all.

    Attributes:
        part: ``(i, n)``: this process draws the i-th of n equal parts of each batch.
        devices: among how many devices each batch is divided.
        replicas: into how many means, one a device, the back end divides a batch's loss; 1 where it takes one mean.
        is_first: whether this process writes files and prints.
    """

    part, devices, replicas, is_first = (0, 1), 1, 1, True

    def scope(self):
        """The context in which networks and optimizers are made and trained."""
        return contextlib.nullcontext()

    def synchronise(self, network):
        """Makes a network's batch normalisation see the whole batch, where the back end does not by itself."""

    def plain(self, network):
        """The context in which a network is saved as one device would have it."""
        return contextlib.nullcontext()

    def agree(self, number):
        """The greatest int that any process gives; None counts as 0."""
        return number

    def share(self, value):
        """The first process's value, of JSON's kinds, on all processes."""
        return value

    @contextlib.contextmanager
    def shared_file(self, path):
        """A context with a path to what the first process's file holds, or None if it has none."""
        yield path if path.exists() else None

    def first_alone(self):
        """A context that the first process runs through before the others begin."""
        return contextlib.nullcontext()

    def require_same(self, facts):
        """Checks that all processes were started for the same thing, a dict for JSON.

        Raises:
            ConfigError: they were not.
        """

    def keep(self, where):
        """Notes what is saved, for the line that another process's death ends this one with."""

    def check(self, batch_size):
        """Checks that batches can be divided.

        Raises:
            ConfigError: there are more devices than faces in a batch, or the parts are not equal.
        """
        if batch_size % self.devices:
            raise ConfigError(
                f"--batch-size {batch_size}: cannot be divided among {self.devices} devices: give a multiple of "
                f"{self.devices}; it is the size of the whole batch"
            )


class MirroredDevices(OneDevice):
    """TensorFlow's replicas, one a device of this machine.

    Args:
        devices: names of the devices.
    """

    def __init__(self, devices):
        import tensorflow as tf

        self.devices = self.replicas = len(devices)
        self._strategy = tf.distribute.MirroredStrategy(devices)

    def scope(self):
        return self._strategy.scope()

    def synchronise(self, network):
        for layer in _normalisations(network):
            layer.synchronized = True

    @contextlib.contextmanager
    def plain(self, network):
        # On JAX, Keras refuses to train what says `synchronized`.
        for layer in _normalisations(network):
            layer.synchronized = False
        try:
            yield
        finally:
            self.synchronise(network)


class ShardedDevices(OneDevice):
    """JAX's devices of this machine, or of all processes: one program on global arrays, so nothing else changes."""

    def __init__(self):
        self.devices = len(keras.distribution.list_devices())
        self._parallel = keras.distribution.DataParallel(auto_shard_dataset=False)

    def scope(self):
        return self._parallel.scope()


class ShardedProcesses(ShardedDevices):
    """JAX's devices of several processes, which `jax.distributed` has brought together.

    Args:
        processes, process: how many there are, and the number of this one.

    Attributes:
        agreed: whether the processes last agreed on a number above 0: that they stop, or do not fit together.
        kept: what is saved, for the line that another process's death ends this one with.
    """

    agreed, kept = False, "nothing is saved yet"

    def __init__(self, processes, process):
        super().__init__()
        self.part, self.is_first = (process, processes), process == 0

    def agree(self, number):
        from jax.experimental.multihost_utils import process_allgather

        greatest = int(process_allgather(np.int32(number or 0)).max())
        self.agreed = greatest > 0
        return greatest

    def share(self, value):
        return json.loads(self._broadcast(json.dumps(value).encode()))

    @contextlib.contextmanager
    def shared_file(self, path):
        if not self.share(path.exists()):
            yield None
        elif self.is_first:
            self._broadcast(path.read_bytes())
            yield path
        else:
            with tempfile.TemporaryDirectory() as folder:
                copy = Path(folder) / path.name
                copy.write_bytes(self._broadcast())
                yield copy

    @contextlib.contextmanager
    def first_alone(self):
        from jax.experimental.multihost_utils import sync_global_devices

        if not self.is_first:
            sync_global_devices("the first process is done")
        yield
        if self.is_first:
            sync_global_devices("the first process is done")

    def require_same(self, facts):
        own = json.loads(json.dumps(facts | {"--processes": self.part[1]}))
        first = self.share(own)
        differing = next((name for name in own if own[name] != first.get(name)), None)
        if wrong := self.agree(self.part[0] if differing else 0):
            found = f" ({differing}: {own[differing]}, on process 0 {first.get(differing)})" if differing else ""
            raise ConfigError(
                f"--process {wrong}: differs from process 0{found}: run the same command with the same data and the "
                f"same versions on every machine"
            )

    def keep(self, where):
        self.kept = where

    def _broadcast(self, content=b""):
        """The bytes that the first process gives, on all of them. The others' are not looked at."""
        from jax.experimental.multihost_utils import broadcast_one_to_all

        length = int(broadcast_one_to_all(np.uint32(len(content))))
        own = np.frombuffer(content, np.uint8) if self.is_first else np.zeros(length, np.uint8)
        return broadcast_one_to_all(own).tobytes()


@contextlib.contextmanager
def distribution(where=None, processes=None, process=None):
    """The context of a distributed training; entered before anything is computed.

    Args:
        where: None: one device; ``devices``: all of this machine; ``HOST:PORT``: several processes, of which the first
            is reached there.
        processes, process: how many there are, and the number of this one.

    Yields:
        A `OneDevice` or what takes its place.

    Raises:
        ConfigError: it does not work so on this machine or back end.
    """
    check_flags(where, processes, process)
    if where is None:
        yield OneDevice()
    elif where == "devices":
        yield _all_devices()
    else:
        with _all_processes(where, processes, process) as among:
            yield among


def _all_devices():
    if keras.backend.backend() == "jax":
        names = keras.distribution.list_devices()
    else:
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        names = [device.name for device in found]
    if len(names) < 2:
        raise ConfigError(f"--distribute devices: this machine has one device ({names[0]}): leave it out")
    return ShardedDevices() if keras.backend.backend() == "jax" else MirroredDevices(names)


def _normalisations(network):
    return [layer for layer in network._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]


@contextlib.contextmanager
def _all_processes(where, processes, process):
    import jax

    among, ending = None, threading.Lock()

    def lost():
        ending.acquire()  # of two threads that come, the first says the line
        kept = among.kept if among else ShardedProcesses.kept
        sys.stdout.flush()
        print(
            f"error: another process is gone: {kept}; run the same command again on every machine, or on one without "
            f"--distribute",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    if process == 0:
        _check_address(where)
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_collective_timeout_seconds={_PATIENCE}".strip()
    # Its own handler of SIGTERM would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # What JAX reports of a dead process, in lines of its own, is said here in one.
    jax.config.update("jax_logging_level", "CRITICAL")
    with _told_of_loss(lost):
        try:
            jax.distributed.initialize(
                where,
                processes,
                process,
                initialization_timeout=_JOIN,
                coordinator_bind_address=where,
                heartbeat_timeout_seconds=_HEARTBEAT,
            )
        except RuntimeError:
            text = (
                f"--distribute {where}: not all {processes} processes came within {_JOIN} s: start the same command "
                f"with --process 0 to {processes - 1}, 0 on {address(where)[0]}, where the others can reach it"
            )
            _end_alone(ConfigError(text))
        try:
            among = ShardedProcesses(processes, process)
            yield among
        except BaseException as error:
            if among and among.agreed and isinstance(error, (KeyboardInterrupt, Terminated, OutOfTime, ConfigError)):
                jax.distributed.shutdown()
                raise
            if "Gloo" in str(error) and not isinstance(error, USER_ERRORS):
                lost()  # a connection broke; JAX by itself counts the other process as dead only after a while
            _end_alone(error)
        jax.distributed.shutdown()


def _check_address(where):
    """Checks that the first process can be reached there; JAX would say less."""
    host, port = address(where)
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise ConfigError(
            f"--distribute {where}: cannot listen there ({error.strerror.split(' (')[0]}): give an address of the "
            f"machine of --process 0 and a free port"
        ) from error


@contextlib.contextmanager
def _told_of_loss(lost):
    """JAX calls ``lost()``, from a thread of its own, where it would abort this process because another is gone.

    Its client takes a callback for this, but `jax.distributed.initialize` passes none. And jaxlib 0.10 cannot hand the
    callback's argument, a status of C++, to Python: it ends in `std::terminate`, which therefore calls ``lost`` too.
    """
    from jax._src.lib import _jax

    client = _jax.get_distributed_runtime_client
    handler = ctypes.CFUNCTYPE(None)(lost)
    set_terminate = None
    with contextlib.suppress(OSError, AttributeError):  # another C++ library: JAX ends the process in its own words
        set_terminate = ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE
        set_terminate.restype = ctypes.c_void_p
        before = set_terminate(handler)
    _jax.get_distributed_runtime_client = functools.partial(client, missed_heartbeat_callback=lambda *_: lost())
    try:
        yield
    finally:
        _jax.get_distributed_runtime_client = client
        if set_terminate:
            set_terminate(ctypes.c_void_p(before))


def _end_alone(error):
    """Ends this process with its error and at once; an end in order would wait for the others, which do not come."""

    @exits_on_user_error
    def end(_argv):
        if isinstance(error, Exception) and not isinstance(error, USER_ERRORS):
            time.sleep(_HEARTBEAT + 10)  # another process may be gone, the reason of this error: JAX then says so
        raise error

    status = 1
    try:
        status = end()
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)
