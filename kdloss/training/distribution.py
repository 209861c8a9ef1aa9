"""Training on several devices or in several processes, each with its part of every batch, to one device's weights.

Every process runs the same program on the same global batches: it draws its part of each (`part`), and the back end
adds up the gradients. All validate, all follow the same decisions; the first alone writes. What changes from one device
to many is here, behind one interface; a run's configuration does not know of it.
"""

import contextlib
import json
import socket
import tempfile
import time
from pathlib import Path

import keras

from asm.errors import Terminated, UserError
from kdloss.errors import ConfigError
from kdloss.training.deadline import OutOfTime
from kdloss.training.link import connect, listen
from kdloss.training.relay import relay

# After an error in a step: seconds in which the news that another process is gone, the likely reason, must arrive.
_NEWS = 10.0
_JAX_HEARTBEAT = 300  # seconds; the link notices much earlier, and says so in one line


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

    def shared_file(self, path):
        """A path to what the first process's file holds, or None if it has none."""
        return path if path.exists() else None

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
    """JAX's devices of several processes.

    Args:
        link: the `Link` of this process.
    """

    def __init__(self, link):
        super().__init__()
        self._link = link
        self.part, self.is_first = (link.process, link.processes), link.is_first
        self._agreed = 0
        self._files = contextlib.ExitStack()

    def agree(self, number):
        self._agreed = self._link.agree(int(number or 0))
        return self._agreed

    def share(self, value):
        return json.loads(self._link.share(json.dumps(value).encode()))

    def shared_file(self, path):
        found = self.share(path.exists())
        if not found or self.is_first:
            if found:
                self._link.share(path.read_bytes())
            return path if found else None
        folder = Path(self._files.enter_context(tempfile.TemporaryDirectory()))
        copy = folder / path.name
        copy.write_bytes(self._link.share())
        return copy

    @contextlib.contextmanager
    def first_alone(self):
        if not self.is_first:
            self._link.share()
        yield
        if self.is_first:
            self._link.share()

    def require_same(self, facts):
        self._link.require_same(facts)

    def keep(self, where):
        self._link.kept = where

    def end(self, error=None):
        """Parts from the other processes, after an error or in order, for which each waits until all are there."""
        import jax

        self._files.close()
        together = isinstance(error, (KeyboardInterrupt, Terminated, OutOfTime)) and self._agreed
        if error is None or together:
            if not self.is_first:
                jax.distributed.shutdown()
            self._link.leave()
            return
        if isinstance(error, Exception) and not isinstance(error, UserError):
            time.sleep(_NEWS)  # another process may be gone, the reason of this error: that news ends this one
        self._link.fail(str(error) or type(error).__name__)


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
    _check_flags(where, processes, process)
    if where is None:
        yield OneDevice()
    elif where == "devices":
        yield _all_devices()
    else:
        host, port = _address(where)
        with _processes(host, port, processes, process) as sharded:
            yield sharded


def _check_flags(where, processes, process):
    backend = keras.backend.backend()
    if where in (None, "devices"):
        if processes is not None or process is not None:
            raise ConfigError("--processes and --process: belong to --distribute HOST:PORT: give it, or leave them out")
        if where and backend not in ("tensorflow", "jax"):
            raise ConfigError(f"--distribute: KERAS_BACKEND={backend} trains on one device: use jax or tensorflow")
        return
    _address(where)
    if processes is None or process is None or processes < 2 or not 0 <= process < processes:
        raise ConfigError(
            f"--distribute {where} --processes {processes} --process {process}: expected how many processes there are, "
            f"2 at least, and the number of this one, from 0"
        )
    if backend != "jax":
        raise ConfigError(
            f"--distribute {where}: several processes train with KERAS_BACKEND=jax, not {backend}: set it on every "
            f"machine (Keras 3 cannot fit in TensorFlow's multi-worker strategy, see docs/scale.md)"
        )


def _address(where):
    host, _, port = where.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"--distribute {where}: expected devices, or HOST:PORT of the process with --process 0")
    return host.strip("[]"), int(port)


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
def _processes(host, port, processes, process):
    import jax

    if process:
        link = connect(host, port, processes, process)
        coordinator = f"127.0.0.1:{relay(host, int(link.share()))}"
    else:
        link = listen(host, port, processes)
        with socket.create_server((host, 0)) as free:
            coordinator = f"{host}:{free.getsockname()[1]}"
        link.share(coordinator.rpartition(":")[2].encode())
    # Its own handler of SIGTERM would take the place of ours.
    jax.config.update("jax_enable_preemption_service", False)
    # Else a process whose partner is gone waits for it at its end, and is then aborted.
    jax.config.update("jax_enable_recoverability", True)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        coordinator,
        processes,
        process,
        coordinator_bind_address=coordinator,
        heartbeat_timeout_seconds=_JAX_HEARTBEAT,
        shutdown_timeout_seconds=int(_NEWS),
    )
    sharded = ShardedProcesses(link)
    try:
        yield sharded
    except BaseException as error:
        sharded.end(error)
        raise
    sharded.end()
