"""Networks in runtimes, measured in turns."""

import contextlib
import itertools
import statistics
import tempfile
from pathlib import Path

from kdloss.benchmarking.runtimes import RUNTIMES
from kdloss.benchmarking.worker import Job, Worker


def measure(networks, runtimes, threads, *, rounds, images, batch_size):
    """Measures every network in every runtime with every number of threads.

    Machines are shared and noisy: in a round everything is run once, one after the other, so that whatever else the
    machine does meets all, and ratios are taken within the round. A first round warms up and does not count.

    Args:
        networks: a list of `kdloss.benchmarking.networks.Network`.
        runtimes: names of `RUNTIMES`.
        threads: a list of numbers.
        rounds: how many count.
        images: run at batch 1, one after the other, in a round; their median is the round's latency.
        batch_size: of the throughput, one batch a round.

    Returns:
        A list of dicts for JSON: ``model`` (label), ``runtime``, ``threads``, ``megabytes`` of the file that was run,
        ``ms``, ``ratio`` (ms to those of the first row) and ``images_per_second`` (None where the runtime takes no
        batches), each a `spread`, and ``ms_of_rounds``.

    Raises:
        ConfigError: too little memory.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        jobs = [
            _job(network, runtime, Path(folder) / str(number))
            for (number, network), runtime in itertools.product(enumerate(networks), runtimes)
        ]
        workers = [stack.enter_context(Worker(count, jobs)) for count in threads]
        turns = list(itertools.product(range(len(jobs)), workers))
        found = [{"ms": [], "rate": []} for _ in turns]
        for counts in [False] + rounds * [True]:
            for (number, worker), values in zip(turns, found, strict=True):
                ms = 1000 * statistics.median(worker.seconds(number, 1, images))
                batches = RUNTIMES[jobs[number].runtime].batches
                rate = batch_size / worker.seconds(number, batch_size, 1)[0] if batches else None
                if counts:
                    values["ms"].append(ms)
                    values["rate"].append(rate)
        return [
            _row(jobs[number], worker.threads, values, found[0])
            for (number, worker), values in zip(turns, found, strict=True)
        ]


def _job(network, runtime, place):
    file = place.with_suffix(RUNTIMES[runtime].suffix)
    RUNTIMES[runtime].write(network.model, file)
    return Job(network.label, network.image_size, runtime, file)


def spread(values):
    """Median, least and most."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def _row(job, threads, values, first):
    ratios = [ms / reference for ms, reference in zip(values["ms"], first["ms"], strict=True)]
    return {
        "model": job.label,
        "runtime": job.runtime,
        "threads": threads,
        "megabytes": job.file.stat().st_size / 1e6,
        "ms": spread(values["ms"]),
        "ratio": spread(ratios),
        "images_per_second": spread(values["rate"]) if None not in values["rate"] else None,
        "ms_of_rounds": values["ms"],
    }
