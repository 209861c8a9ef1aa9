"""A process that runs networks with a number of threads, which TensorFlow takes but once in a process's life."""

import contextlib
import multiprocessing
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdloss.benchmarking.runtimes import RUNTIMES
from kdloss.errors import ConfigError


@dataclass(frozen=True)
class Job:
    """A network by its label and the side of its images in pixels; a runtime, named as in `RUNTIMES`, and its file."""

    label: str
    image_size: int
    runtime: str
    file: Path


class Worker:
    """Runs jobs, one at a time, when asked; a context manager that ends the process.

    Args:
        threads: of every runtime.
        jobs: a list of `Job`; each is opened when it is first run.
    """

    def __init__(self, threads, jobs):
        context = multiprocessing.get_context("spawn")
        self.threads = threads
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, threads, jobs), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    @property
    def pid(self):
        """The number of the process."""
        return self._process.pid

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._connection.close()  # which ends the process where it waits
        self._process.join(0.0 if any(error) else 10.0)
        self._process.terminate()
        self._process.join()
        self._process.close()

    def seconds(self, job, batch_size, count):
        """Seconds of each of ``count`` runs of a job, by its number, on batches of noise.

        Raises:
            ConfigError: the system has ended the process.
        """
        try:
            self._connection.send((job, batch_size, count))
            return self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            if self._process.exitcode >= 0:
                raise RuntimeError(f"the process with {self.threads} threads failed, see above") from None
            raise ConfigError(
                f"the process with {self.threads} threads was ended by signal {-self._process.exitcode}, most likely "
                f"for want of memory: measure fewer networks at a time, or give a smaller --batch-size"
            ) from None


def _serve(connection, threads, jobs):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    functions, images = {}, np.random.default_rng(0)
    with connection, contextlib.suppress(EOFError):
        while True:
            number, batch_size, count = connection.recv()
            job = jobs[number]
            if number not in functions:
                functions[number] = RUNTIMES[job.runtime].function(job.file, threads)
            batch = images.integers(0, 256, (batch_size, job.image_size, job.image_size, 3)).astype(np.float32)
            connection.send([_seconds(functions[number], batch) for _ in range(count)])


def _seconds(function, batch):
    started = time.perf_counter()
    function(batch)
    return time.perf_counter() - started
