"""Processes of their own: what runs in one has its threads, which TensorFlow takes but once in a process's life."""

import contextlib
import multiprocessing
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdloss.benchmarking.runtimes import RUNTIMES
from kdloss.errors import ConfigError, UserError


@dataclass(frozen=True)
class Job:
    """A network by its label and the side of its images in pixels; a runtime, named as in `RUNTIMES`, and its file."""

    label: str
    image_size: int
    runtime: str
    file: Path


class Server:
    """A process that answers questions, one at a time; a context manager that ends it.

    Args:
        named: what messages call it.
        serve: a function of a module, run in the process: takes a connection, which yields questions and takes an
            answer to each until it ends with `EOFError`, and ``more``. A `UserError` while it answers ends it.
        more: arguments of ``serve``.
        advice: what to do where memory is short.
    """

    def __init__(self, named, serve, *more, advice):
        context = multiprocessing.get_context("spawn")
        self._named, self._advice = named, advice
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_uninterrupted, args=(serve, theirs, *more), daemon=True)
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

    def ask(self, *question):
        """The answer to a question.

        Raises:
            ConfigError: the system has ended the process.
            UserError: the process says so.
        """
        try:
            self._connection.send(question)
            answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join()
            if self._process.exitcode >= 0:
                raise RuntimeError(f"{self._named} failed, see above") from None
            raise ConfigError(
                f"{self._named} was ended by signal {-self._process.exitcode}, most likely for want of memory: "
                f"{self._advice}"
            ) from None
        if isinstance(answer, UserError):
            raise answer
        return answer


def _uninterrupted(serve, connection, *more):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    with connection, contextlib.suppress(EOFError):
        try:
            serve(connection, *more)
        except UserError as error:
            connection.send(error)


class Worker(Server):
    """Runs jobs, one at a time, when asked.

    Args:
        threads: of every runtime.
    """

    def __init__(self, threads):
        advice = "measure smaller networks, or give a smaller --batch-size"
        super().__init__(f"the process with {threads} threads", _serve, threads, advice=advice)
        self.threads = threads

    def seconds(self, job, batch_size, count):
        """Seconds of each of ``count`` runs of a `Job` on batches of noise. Its file is opened when it first runs.

        Raises:
            ConfigError: the system has ended the process.
        """
        return self.ask(job, batch_size, count)

    def close(self, job):
        """Lets go of a job's file and of the memory that it takes."""
        self.ask(job, 0, 0)


def _serve(connection, threads):
    models, images = {}, np.random.default_rng(0)
    while True:
        job, batch_size, count = connection.recv()
        if not count:
            models.pop(job, None)
            connection.send(None)
            continue
        if job not in models:
            models[job] = RUNTIMES[job.runtime].read(job.file, threads)
        batch = images.integers(0, 256, (batch_size, job.image_size, job.image_size, 3)).astype(np.float32)
        connection.send([_seconds(models[job].predict_on_batch, batch) for _ in range(count)])


def _seconds(function, batch):
    started = time.perf_counter()
    function(batch)
    return time.perf_counter() - started
