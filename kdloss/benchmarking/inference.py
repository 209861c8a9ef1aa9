"""Networks in runtimes, measured in turns."""

import contextlib
import itertools
import statistics

from kdloss.benchmarking.runtimes import RUNTIMES
from kdloss.benchmarking.worker import Job, Worker


def measure(networks, threads, *, rounds, images, batch_size, announce=lambda line: None):
    """Measures the time of every network's files with every number of threads.

    Machines are shared and noisy: in a round all rows of a network and the first row of all are run once, one after the
    other, so that whatever else the machine does meets all, and ratios are taken within the round. A first round warms
    up and does not count. One network at a time is in memory, besides the first.

    Args:
        networks: an iterable of lists of `Job`\\ s, those of one network; the very first job is what others are
            compared with. Each list is asked for when the one before it is measured.
        threads: a list of numbers.
        rounds: how many count.
        images: run at batch 1, one after the other, in a round; their median is the round's latency.
        batch_size: of the throughput, one batch a round; a runtime that takes no batches has the throughput of the
            round's images.
        announce: takes a line of progress now and then.

    Returns:
        A list of dicts for JSON: ``model`` (label), ``runtime``, ``threads``, ``ms``, ``ratio`` (ms to those of the
        first row in the same round) and ``images_per_second``, each a `spread`, and the rounds: ``ms_of_rounds``,
        ``reference_ms_of_rounds``, ``images_per_second_of_rounds``.

    Raises:
        ConfigError: too little memory.
    """
    rows, reference = [], None
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(count)) for count in threads]
        for jobs in networks:
            announce(f"measuring {jobs[0].label}")
            turns = list(itertools.product(jobs, workers))
            reference = reference or turns[0]
            others = [turn for turn in turns if turn != reference]
            found = {turn: ([], []) for turn in (reference, *others)}
            for counts in [False] + rounds * [True]:
                for turn, (ms, rate) in found.items():
                    values = _run(*turn, images, batch_size)
                    if counts:
                        ms.append(values[0])
                        rate.append(values[1])
            first = found[reference][0]
            rows += [_row(*turn, *found[turn], first) for turn in turns]
            for job, worker in others:
                if job != reference[0]:
                    worker.close(job)
    return rows


def _run(job, worker, images, batch_size):
    """Milliseconds of one image, and images a second."""
    seconds = worker.seconds(job, 1, images)
    if RUNTIMES[job.runtime].batches:
        rate = batch_size / worker.seconds(job, batch_size, 1)[0]
    else:
        rate = images / sum(seconds)
    return 1000 * statistics.median(seconds), rate


def write_files(network, runtimes, folder, prepared):
    """Writes a network's file for each runtime.

    Args:
        network: a `kdloss.benchmarking.networks.Network`.
        runtimes: names of `RUNTIMES`.
        folder: a new one, for the files.
        prepared: the `PreparedDataset` whose training faces decide the scales of 8 bits, or None.

    Returns:
        A list of `Job`\\ s, in the order of the runtimes; of an exported file, itself alone.
    """
    if network.file:
        return [Job(network.label, network.image_size, network.runtime, network.file)]
    jobs = []
    for runtime in runtimes:
        file = folder / f"{runtime}{RUNTIMES[runtime].suffix}"
        representative = network.representative(prepared) if RUNTIMES[runtime].whole_numbers else None
        RUNTIMES[runtime].write(network.model, file, representative)
        jobs.append(Job(network.label, network.image_size, runtime, file))
    return jobs


def spread(values):
    """Median, least and most."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def _row(job, worker, ms, rate, first):
    return {
        "model": job.label,
        "runtime": job.runtime,
        "threads": worker.threads,
        "ms": spread(ms),
        "ratio": spread([one / reference for one, reference in zip(ms, first, strict=True)]),
        "images_per_second": spread(rate),
        "ms_of_rounds": ms,
        "reference_ms_of_rounds": first,
        "images_per_second_of_rounds": rate,
    }
