"""The most memory that a process takes to run a network: each time in a process of its own.

python -m kdloss.benchmarking.memory RUNTIME FILE SIDE    prints a line of JSON
"""

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np

from kdloss.benchmarking.runtimes import RUNTIMES
from kdloss.errors import ConfigError

IMAGES = 3  # run at batch 1: some runtimes take memory in the first, some in the second


def measure_memory(job, processes):
    """Peak memory of processes that open a file on one thread and run `IMAGES` images at batch 1.

    Args:
        job: the `kdloss.benchmarking.worker.Job`.
        processes: how many, one after the other.

    Returns:
        For JSON: ``peak`` and ``above_runtime`` (what is more than importing the runtime took), in MB (10^6 bytes), as
        lists with a number for each process.

    Raises:
        ConfigError: the system has ended the process.
    """
    found = [_measured(job) for _ in range(processes)]
    return {
        "peak": [one["peak"] for one in found],
        "above_runtime": [one["peak"] - one["runtime"] for one in found],
    }


def _measured(job):
    words = [sys.executable, "-m", "kdloss.benchmarking.memory", job.runtime, str(job.file), str(job.image_size)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode < 0:
        raise ConfigError(
            f"{job.label}: the process that runs it in {RUNTIMES[job.runtime].title} was ended by signal "
            f"{-done.returncode}, most likely for want of memory: measure a smaller network"
        )
    if done.returncode:
        raise RuntimeError(f"{job.label}: the memory of {RUNTIMES[job.runtime].title} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def peak_megabytes():
    """The most memory that this process has taken, in MB (10^6 bytes) of resident pages."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.is_file() else []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    # On Linux this begins with the peak of the process that started this one, which VmHWM does not.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main(runtime, file, side):
    RUNTIMES[runtime].load()
    taken = peak_megabytes()
    model = RUNTIMES[runtime].read(file, 1)
    images = np.random.default_rng(0).integers(0, 256, (IMAGES, 1, int(side), int(side), 3))
    for image in images:
        model.predict_on_batch(image.astype(np.float32))
    print(json.dumps({"runtime": taken, "peak": peak_megabytes()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
