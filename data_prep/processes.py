"""Cuts chunks of faces in processes side by side.

They are started afresh and never forked: the caller may have loaded TensorFlow, whose threads don't survive that.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from kdloss.errors import DataError

_PACKAGES = Path(__file__).resolve().parents[1]


class ProcessLost(DataError):
    """A process was ended from outside, most likely for want of memory. What is done is done."""


def cut_in_processes(job, starts, processes):
    """Cuts chunks; yields the number of each when it is done.

    Args:
        job: a dict for JSON: ``dataset``, ``source`` and ``options`` of `open_raw`, ``total`` (its faces), ``faces``
            and ``chunks`` (paths), ``size`` and ``crop_scale``.
        starts: numbers of the chunks.
        processes: how many.

    Raises:
        DataError: what a process found, such as a full disk.
        ProcessLost: one was killed.
    """
    with contextlib.ExitStack() as stack:
        idle = queue.SimpleQueue()
        for _ in range(processes):
            idle.put(stack.enter_context(_started(job)))
        pool = ThreadPoolExecutor(processes)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        tasks = [pool.submit(_ask, idle, start) for start in starts]
        for done in as_completed(tasks):
            yield done.result()


@contextlib.contextmanager
def _started(job):
    words = [sys.executable, "-P", "-m", "data_prep.cutting_process"]
    paths = [str(_PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    try:
        process.stdin.write(json.dumps(job) + "\n")
        yield process
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()


def _ask(idle, start):
    process = idle.get()
    try:
        process.stdin.write(f"{start}\n")
        process.stdin.flush()
        answer = process.stdout.readline()
    except (OSError, ValueError):  # ValueError: closed, because another chunk has failed
        answer = ""
    finally:
        idle.put(process)  # whatever has happened: who waits for it must not wait for ever
    if not answer:
        raise ProcessLost(_end_of(process))
    if error := json.loads(answer):
        raise DataError(error)
    return start


def _end_of(process):
    code = process.wait()
    how = f"ended by signal {-code}, most likely for want of memory" if code < 0 else f"ended with status {code}"
    return f"a process that cuts faces was {how}: run the same command again to go on, with fewer --processes"
