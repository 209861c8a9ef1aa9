"""Processes of their own, with their threads and their peak of memory, and what is measured in them."""

import functools
import multiprocessing
import os
import resource
import signal
import statistics
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdloss.deploy.runtimes import RUNTIMES
from kdloss.errors import ConfigError
from kdloss.machine import quiet_libraries

IMAGES = 3  # for the peak of memory: some runtimes take it in the first image, some in the second


@dataclass(frozen=True)
class Job:
    """A network's label, the side of its images in pixels, the name of a runtime, and its file."""

    label: str
    image_size: int
    runtime: str
    file: Path


class Process:
    """A process that runs functions, one at a time; messages name it, and say what to do where memory is short."""

    def __init__(self, named, advice):
        self._named, self._advice = named, advice
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_start)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._pool.shutdown()

    def run(self, function, *arguments):
        """What a module's function returns there, or raises; a `ConfigError` where the system ends the process."""
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            raise ConfigError(
                f"{self._named} was ended by the system, most likely for want of memory: {self._advice}"
            ) from None


def _start():
    quiet_libraries()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


@functools.cache
def _opened(runtime, file, threads):
    return RUNTIMES[runtime].read(file, threads)


def close_files():
    """Lets go of the files that `time_of` has opened in this process, and of their memory."""
    _opened.cache_clear()


def time_of(job, threads, images, batch_size):
    """Milliseconds of one image, the median of so many, and images a second in a batch, of noise.

    A runtime that takes no batches has the images a second of one after the other.
    """
    model, runtime = _opened(job.runtime, job.file, threads), RUNTIMES[job.runtime]
    seconds = [_seconds(model, _noise(job, 1)) for _ in range(images)]
    rate = batch_size / _seconds(model, _noise(job, batch_size)) if runtime.batches else images / sum(seconds)
    return 1000 * statistics.median(seconds), rate


def _noise(job, count):
    side = job.image_size
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3)).astype(np.float32)


def _seconds(model, batch):
    started = time.perf_counter()
    model.predict_on_batch(batch)
    return time.perf_counter() - started


def measure_memory(job, processes):
    """Peak memory of so many processes, one after the other, that open a `Job`'s file and run `IMAGES` images.

    Returns:
        For JSON, with a number for each process in MB (10^6 bytes): ``peak``, and ``above_runtime``, what is more than
        importing the runtime took.
    """
    found = {"peak": [], "above_runtime": []}
    for _ in range(processes):
        named = f"{job.label}: the process that runs it in {RUNTIMES[job.runtime].title}"
        with Process(named, "measure a smaller network") as process:
            runtime, peak = process.run(_peaks, job)
        found["peak"].append(peak)
        found["above_runtime"].append(peak - runtime)
    return found


def _peaks(job):
    RUNTIMES[job.runtime].load()
    taken = peak_megabytes()
    model = RUNTIMES[job.runtime].read(job.file, 1)
    for _ in range(IMAGES):
        model.predict_on_batch(_noise(job, 1))
    return taken, peak_megabytes()


def peak_megabytes():
    """The most memory that this process has taken, in MB (10^6 bytes) of resident pages."""
    status = Path("/proc/self/status")
    for line in status.read_text(encoding="ascii").splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    # On Linux this begins with the peak of the process that started this one, which VmHWM does not.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def spread(values):
    """Median, least and most."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}
