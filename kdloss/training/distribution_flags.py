"""The flags of ``--distribute``: what can be said of them before a back end is imported, which takes seconds."""

from kdloss.errors import ConfigError
from kdloss.machine import keras_backend


def check_flags(where, processes, process):
    """Checks ``--distribute``, ``--processes`` and ``--process`` with the back end that Keras is going to take.

    Args:
        where, processes, process: as `kdloss.training.distribution.distribution` takes them.

    Raises:
        ConfigError: they do not fit together, or this back end cannot train so.
    """
    if where in (None, "devices"):
        if processes is not None or process is not None:
            raise ConfigError("--processes and --process: belong to --distribute HOST:PORT: give it, or leave them out")
        if where and (backend := keras_backend()) not in ("tensorflow", "jax"):
            raise ConfigError(f"--distribute: KERAS_BACKEND={backend} trains on one device: use jax or tensorflow")
        return
    address(where)
    if processes is None or process is None or processes < 2 or not 0 <= process < processes:
        raise ConfigError(
            f"--distribute {where} --processes {processes} --process {process}: expected how many processes there are, "
            f"2 at least, and the number of this one, from 0"
        )
    if (backend := keras_backend()) != "jax":
        raise ConfigError(
            f"--distribute {where}: several processes train with KERAS_BACKEND=jax, not {backend}: set it on every "
            f"machine (Keras 3 cannot fit in TensorFlow's multi-worker strategy, see docs/scale.md)"
        )


def address(where):
    """The host and the port of ``HOST:PORT``, ``[HOST]:PORT`` for IPv6.

    Raises:
        ConfigError: it is no such text.
    """
    host, _, port = where.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise ConfigError(f"--distribute {where}: expected devices, or HOST:PORT of the process with --process 0")
    return host.strip("[]"), int(port)
