"""Time and memory of networks, each measured in a process of its own, times in turns.

Little is imported here: what a process imports counts in its measured memory.
"""

import contextlib
import functools
import itertools
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

MEMORY_IMAGES = 3  # some runtimes allocate at the first image, some at the second


@dataclass(frozen=True)
class NetworkFile:
    """The file of a network, by its label in tables, for a runtime (a key of `RUNTIMES`)."""

    label: str
    image_size: int  # pixels
    runtime: str
    path: Path

    def open(self, threads):
        """A model with ``predict_on_batch``."""
        return RUNTIMES[self.runtime].read(self.path, threads)

    def noise(self):
        """An image (1, S, S, 3) float32 of noise."""
        shape = (1, self.image_size, self.image_size, 3)
        return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


@contextlib.contextmanager
def worker(title):
    """Yields ``run(function, *arguments)``, which runs functions of modules in a process, one at a time.

    If the system ends the process, ``run`` raises a `ConfigError` with the title of the process.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_start_worker) as pool:

        def run(function, *arguments):
            try:
                return pool.submit(function, *arguments).result()
            except BrokenProcessPool:
                reason = "was ended by the system, perhaps out of memory: measure smaller networks"
                raise ConfigError(f"{title} {reason}") from None

        yield run


def time_in_turns(groups, *, threads, rounds, images, announce):
    """Measures the time of every network's files with every number of threads.

    Machines are shared and noisy. So in each round, all rows of a network and the first row of all run in turns, and
    ratios are taken within the round. A first round warms up and does not count. Besides the first file, only one
    network at a time is in memory.

    Args:
        groups: for each network a list of its `NetworkFile`\\ s; the first file of all is the reference of the ratios.
        threads: a list of numbers.
        rounds: how many count.
        images: how many run in a round at batch 1; the round's latency is their median.
        announce: called with a line of progress now and then.

    Returns:
        A list of dicts for JSON: ``model`` (label), ``runtime``, ``threads``, ``ms`` and ``ratio`` (ms to those of the
        first row in the same round), each a `spread`, and the rounds: ``ms_of_rounds``, ``reference_ms_of_rounds``.
    """
    rows, reference = [], (groups[0][0], threads[0])
    with contextlib.ExitStack() as stack:
        runs = {n: stack.enter_context(worker(f"the process with {n} threads")) for n in threads}
        for files in groups:
            announce(f"measuring {files[0].label}")
            turns = list(itertools.product(files, threads))
            found = {turn: [] for turn in dict.fromkeys([reference, *turns])}
            for number in range(rounds + 1):
                for (file, count), ms in found.items():
                    one = runs[count](_time, file, count, images)
                    ms += [one] if number else []
            for run in runs.values():
                run(_close_files)
            rows += [_row(*turn, found[turn], found[reference]) for turn in turns]
    return rows


def measure_memory(file, processes):
    """Measures the peak memory of processes, one after the other, that open a `NetworkFile` and run `MEMORY_IMAGES`.

    Returns:
        For JSON, in MB (10^6 bytes): lists ``peak``, and ``above_runtime``, the same less the runtime's import.
    """
    title, found = f"{file.label}: the process that runs it in {RUNTIMES[file.runtime].title}", []
    for _ in range(processes):
        with worker(title) as run:
            found.append(run(_peaks, file))
    return {"peak": [peak for _, peak in found], "above_runtime": [peak - runtime for runtime, peak in found]}


def peak_megabytes():
    """The peak memory of this process, in MB (10^6 bytes) of resident pages."""
    status = Path("/proc/self/status")
    for line in status.read_text(encoding="ascii").splitlines() if status.is_file() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    # On Linux ru_maxrss begins with the peak of the parent process, VmHWM does not.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def spread(values):
    """Median, least and largest of numbers."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def _row(file, threads, ms, reference_ms):
    return {
        "model": file.label,
        "runtime": file.runtime,
        "threads": threads,
        "ms": spread(ms),
        "ratio": spread([one / reference for one, reference in zip(ms, reference_ms, strict=True)]),
        "ms_of_rounds": ms,
        "reference_ms_of_rounds": reference_ms,
    }


# The functions below run in the processes.


def _start_worker():
    quiet_libraries()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    multiprocessing.parent_process().join()
    os._exit(1)


_opened = functools.cache(NetworkFile.open)


def _close_files():
    _opened.cache_clear()


def _time(file, threads, images):
    """Milliseconds of one image, the median."""
    model, image, seconds = _opened(file, threads), file.noise(), []
    for _ in range(images):
        started = time.perf_counter()
        model.predict_on_batch(image)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)


def _peaks(file):
    """Peak memory after importing the runtime, and after running images."""
    RUNTIMES[file.runtime].load()
    of_runtime, model = peak_megabytes(), file.open(1)
    for _ in range(MEMORY_IMAGES):
        model.predict_on_batch(file.noise())
    return of_runtime, peak_megabytes()
