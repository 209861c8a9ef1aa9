"""Training on several devices or in several processes. It ends in the weights that one device would give.

Every process runs the same program on the same global batches. It draws its part of each batch (`OneDevice.part`), and
the back end sums the gradients. All processes validate and take the same decisions; only the first writes. `OneDevice`
is the interface; the configuration of a run does not know on how many devices it trains.

Back ends are imported inside functions: `check_flags` must answer before one is loaded.
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

import numpy as np

from kdloss.errors import USER_ERRORS, ConfigError, Terminated, exits_on_user_error
from kdloss.machine import keras_backend
from kdloss.training.state import OutOfTime

_JOIN = 120  # seconds within which all processes must have started
_HEARTBEAT = 20  # seconds without a heartbeat after which JAX counts a process as dead
_PATIENCE = 24 * 60 * 60  # seconds that processes wait for the first while it prepares faces or teachers' points


def check_flags(where, processes, process):
    """Checks ``--distribute``, ``--processes`` and ``--process`` against the back end that Keras will load.

    Args:
        where, processes, process: as `distributed` takes them.

    Raises:
        ConfigError: they do not fit together, or this back end cannot train so.
    """
    if where in (None, "devices"):
        if processes is not None or process is not None:
            raise ConfigError("--processes and --process: belong to --distribute HOST:PORT: give it, or leave them out")
        if where and (backend := keras_backend()) not in ("tensorflow", "jax"):
            raise ConfigError(f"--distribute: KERAS_BACKEND={backend} trains on one device: use jax or tensorflow")
        return
    _host_and_port(where)
    if processes is None or process is None or processes < 2 or not 0 <= process < processes:
        raise ConfigError(
            f"--distribute {where} --processes {processes} --process {process}: expected how many processes there are, "
            f"2 at least, and the number of this one, from 0"
        )
    if (backend := keras_backend()) != "jax":
        raise ConfigError(
            f"--distribute {where}: several processes train with KERAS_BACKEND=jax, not {backend}: set it on every "
            f"machine (Keras 3 cannot fit in TensorFlow's multi-worker strategy)"
        )


@contextlib.contextmanager
def distributed(where=None, processes=None, process=None):
    """The context of a distributed training. Enter it before the back end computes anything.

    Args:
        where: None: one device; ``devices``: all of this machine; ``HOST:PORT``: several processes, where the first one
            listens at this address.
        processes, process: the number of processes, and the index of this one.

    Yields:
        A `OneDevice` or one of its subclasses.

    Raises:
        ConfigError: the machine or the back end cannot do it.
    """
    check_flags(where, processes, process)
    if where is None:
        yield OneDevice()
    elif where == "devices":
        distribution = ShardedDevices() if keras_backend() == "jax" else MirroredDevices()
        if distribution.devices < 2:
            raise ConfigError(
                f"--distribute devices: this machine has one device ({distribution.names[0]}): leave it out"
            )
        yield distribution
    else:
        with _all_processes(where, processes, process) as distribution:
            yield distribution


class OneDevice:
    """Training without ``--distribute``, and the interface of the other classes.

    Attributes:
        part: ``(i, n)``: this process draws the i-th of n equal parts of each batch.
        devices: number of devices that share each batch.
        replicas: number of per-device losses that the back end sums; 1 where it computes one loss for the whole batch.
        is_first: whether this process writes files and prints.
        saved: what is saved of the run: part of the message of a process that lost another one.
    """

    part, devices, replicas, is_first, saved = (0, 1), 1, 1, True, "nothing is saved yet"

    def check_batch_size(self, batch_size):
        """Checks that the devices can share a batch equally.

        Raises:
            ConfigError: they cannot.
        """
        if batch_size % self.devices:
            raise ConfigError(
                f"--batch-size {batch_size}: cannot be divided among {self.devices} devices: give a multiple of "
                f"{self.devices}; it is the size of the whole batch"
            )

    def require_same(self, identity):
        """Checks that all processes train the same thing, described by a dict for JSON.

        Raises:
            ConfigError: they do not.
        """

    def scope(self):
        """The context in which networks and optimizers are built and trained."""
        return contextlib.nullcontext()

    def synchronise(self, network):
        """Makes batch normalisation see the whole batch, where the back end does not do so by itself."""

    def as_on_one_device(self, network):
        """The context in which a network is saved without a trace of the distribution."""
        return contextlib.nullcontext()

    def agree(self, number):
        """The greatest int that any process passes; None counts as 0. Processes wait here for all others."""
        return number

    def share(self, value):
        """The first process's value (a JSON type), in all processes."""
        return value

    @contextlib.contextmanager
    def shared_file(self, path):
        """A context with the path of a copy of the first process's file, or None if it does not exist."""
        yield path if path.exists() else None

    def first_alone(self):
        """A context that the first process leaves before the others enter."""
        return contextlib.nullcontext()


class MirroredDevices(OneDevice):
    """TensorFlow's replicas, one per device of this machine."""

    def __init__(self):
        import tensorflow as tf

        found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        self.names = [device.name for device in found]
        self.devices = self.replicas = len(self.names)
        self._strategy = tf.distribute.MirroredStrategy(self.names)

    def scope(self):
        return self._strategy.scope()

    def synchronise(self, network, synchronised=True):
        import keras

        for layer in network._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = synchronised

    @contextlib.contextmanager
    def as_on_one_device(self, network):
        self.synchronise(network, False)  # Keras on JAX refuses to train layers that were saved as synchronised
        try:
            yield
        finally:
            self.synchronise(network)


class ShardedDevices(OneDevice):
    """JAX's devices of this machine, or of all processes: one program on global arrays, so nothing else changes."""

    def __init__(self):
        import keras

        self.names = keras.distribution.list_devices()
        self.devices = len(self.names)
        self._parallel = keras.distribution.DataParallel(auto_shard_dataset=False)

    def scope(self):
        return self._parallel.scope()


class ShardedProcesses(ShardedDevices):
    """JAX's devices of several processes, after `jax.distributed.initialize`.

    Args:
        processes, process: the number of processes, and the index of this one.

    Attributes:
        agreed: whether the last `agree` returned a number above 0; then all processes stop with the same error.
    """

    agreed = False

    def __init__(self, processes, process):
        super().__init__()
        self.part, self.is_first = (process, processes), process == 0

    def require_same(self, identity):
        own = json.loads(json.dumps(identity | {"--processes": self.part[1]}))
        first = self.share(own)
        differing = next((name for name in own if own[name] != first.get(name)), None)
        if wrong := self.agree(self.part[0] if differing else 0):
            found = f" ({differing}: {own[differing]}, on process 0 {first.get(differing)})" if differing else ""
            raise ConfigError(
                f"--process {wrong}: differs from process 0{found}: run the same command with the same data and the "
                f"same versions on every machine"
            )

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
        if not self.is_first:
            self.agree(0)
        yield
        if self.is_first:
            self.agree(0)

    def _broadcast(self, content=b""):
        """The bytes that the first process passes, in all processes."""
        from jax.experimental.multihost_utils import broadcast_one_to_all

        length = int(broadcast_one_to_all(np.uint32(len(content))))
        own = np.frombuffer(content, np.uint8) if self.is_first else np.zeros(length, np.uint8)
        return broadcast_one_to_all(own).tobytes()


@contextlib.contextmanager
def _all_processes(where, processes, process):
    """The context of a training in several processes; yields its `ShardedProcesses`."""
    import jax

    distribution, reporting = None, threading.Lock()

    def end_after_loss():
        reporting.acquire()  # of two threads that come here, only the first prints the line
        saved = distribution.saved if distribution else ShardedProcesses.saved
        sys.stdout.flush()
        print(
            f"error: another process is gone: {saved}; run the same command again on every machine, or on one without "
            f"--distribute",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    with _calls_on_loss(end_after_loss):
        _join(where, processes, process)
        try:
            distribution = ShardedProcesses(processes, process)
            yield distribution
        except BaseException as error:
            in_order = isinstance(error, (KeyboardInterrupt, Terminated, OutOfTime, ConfigError))
            if in_order and distribution and distribution.agreed:  # all processes raise it
                jax.distributed.shutdown()
                raise
            if "Gloo" in str(error) and not isinstance(error, USER_ERRORS):
                end_after_loss()  # a connection broke; JAX itself would notice only after missed heartbeats
            _exit_alone(error)
        jax.distributed.shutdown()


def _join(where, processes, process):
    """Connects this process with the others; returns when all are connected."""
    import jax

    if process == 0:
        _check_address(where)
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_collective_timeout_seconds={_PATIENCE}".strip()
    # JAX's handler of SIGTERM would replace ours.
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    # JAX reports a dead process in several lines; `_all_processes` does so in one.
    jax.config.update("jax_logging_level", "CRITICAL")
    bounds = {"initialization_timeout": _JOIN, "heartbeat_timeout_seconds": _HEARTBEAT}
    try:
        jax.distributed.initialize(where, processes, process, coordinator_bind_address=where, **bounds)
    except RuntimeError:
        error = ConfigError(
            f"--distribute {where}: not all {processes} processes came within {_JOIN} s: start the same command "
            f"with --process 0 to {processes - 1}, 0 on {_host_and_port(where)[0]}, where the others can reach it"
        )
        _exit_alone(error)


def _host_and_port(where):
    """The parts of ``HOST:PORT``, or ``[HOST]:PORT`` for IPv6; raises `ConfigError` for other texts."""
    host, _, port = where.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"--distribute {where}: expected devices, or HOST:PORT of the process with --process 0")
    return host.strip("[]"), int(port)


def _check_address(where):
    """Checks that the first process can listen there; JAX's own error would say less."""
    host, port = _host_and_port(where)
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise ConfigError(
            f"--distribute {where}: cannot listen there ({error.strerror.split(' (')[0]}): give an address of the "
            f"machine of --process 0 and a free port"
        ) from error


@contextlib.contextmanager
def _calls_on_loss(end):
    """Within this context JAX calls ``end()`` from a thread of its own when it has lost another process.

    By default JAX's client then prints several lines and aborts, and `jax_enable_recoverability` does not change that.
    No public function sets another callback, so two steps are needed:

    1. The client is made by a private function of JAX, which takes a callback. It is wrapped to pass ours.
    2. jaxlib 0.10 cannot convert the callback's argument, a C++ status, for Python. The conversion throws in C++, which
       calls `std::terminate` before Python sees anything. ``end`` is therefore the terminate handler as well.
    """
    from jax._src.lib import _jax

    client = _jax.get_distributed_runtime_client
    handler = ctypes.CFUNCTYPE(None)(end)
    set_terminate = None
    with contextlib.suppress(OSError, AttributeError):  # another C++ library: JAX's own lines appear
        set_terminate = ctypes.CDLL("libstdc++.so.6")._ZSt13set_terminatePFvvE
        set_terminate.restype = ctypes.c_void_p
        before = set_terminate(handler)
    _jax.get_distributed_runtime_client = functools.partial(client, missed_heartbeat_callback=lambda *_: end())
    try:
        yield
    finally:
        _jax.get_distributed_runtime_client = client
        if set_terminate:
            set_terminate(ctypes.c_void_p(before))


def _exit_alone(error):
    """Ends this process with its error at once; JAX's shutdown would wait for the other processes."""

    @exits_on_user_error
    def fail(_argv):
        if isinstance(error, Exception) and not isinstance(error, USER_ERRORS):
            time.sleep(_HEARTBEAT + 10)  # if a lost process caused this error, JAX reports that first
        raise error

    status = 1
    try:
        status = fail()
    except Exception:
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)
