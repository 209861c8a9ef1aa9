"""Networks in every runtime: size, memory, accuracy and time of each file, the times measured in turns."""

import contextlib
import itertools
import tempfile
from dataclasses import replace
from pathlib import Path

from kdloss.deploy.processes import Job, Process, close_files, measure_memory, spread, time_of
from kdloss.deploy.runtimes import RUNTIMES
from kdloss.evaluation.comparison import distinct_labels
from kdloss.evaluation.evaluation import evaluate_loaded


def measure_inference(networks, runtimes, prepared, *, split, processes, announce, **timing):
    """Writes the files of networks, and measures what they cost and what they are worth.

    Args:
        networks: an iterable of `kdloss.deploy.networks.Network`.
        runtimes: names of `RUNTIMES`. An exported file runs in its own alone.
        prepared: the `PreparedDataset` whose faces of ``split`` trained networks are evaluated on, in every file, and
            whose training faces decide the scales of their 8 bits; or None.
        split: ``test`` or ``val``.
        processes: for the peak memory of each file, see `measure_memory`; 0: it is not measured.
        announce: takes a line of progress now and then.
        timing: see `time_in_turns`.

    Returns:
        For JSON: ``models`` (`Network.describe`), ``files`` (``model``, ``runtime``, ``megabytes``, ``memory``,
        ``accuracy``: ``nme`` in percent, ``subsets`` and ``protocol`` as in ``metrics.json``), ``rows`` (see
        `time_in_turns`), ``settings`` and ``runtimes`` (package -> version).
    """
    models, files, groups = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number, network in enumerate(networks):
            label = distinct_labels([*(model["label"] for model in models), network.label])[-1]
            place = Path(folder, str(number))
            place.mkdir()
            if not network.file:
                announce(f"{label}: writing {', '.join(RUNTIMES[runtime].title for runtime in runtimes)}")
            jobs = _write_files(replace(network, label=label), runtimes, place, prepared)
            memory = [measure_memory(job, processes) if processes else None for job in jobs]
            accuracy = [None] * len(jobs)
            if prepared and network.loaded:
                announce(f"{label}: evaluating its files")
                accuracy = [_accuracy(network, job, prepared, split, max(timing["threads"])) for job in jobs]
            models.append({"label": label} | network.describe())
            groups.append(jobs)
            files += [
                {"model": label, "runtime": job.runtime, "megabytes": job.file.stat().st_size / 1e6}
                | {"memory": taken, "accuracy": found}
                for job, taken, found in zip(jobs, memory, accuracy, strict=True)
            ]
        rows = time_in_turns(groups, **timing, announce=announce)
    versions = {}
    for file in files:
        versions |= RUNTIMES[file["runtime"]].version
    dataset = {"dataset": prepared.dataset, "split": split} if prepared else {"dataset": None, "split": None}
    settings = timing | {"processes": processes} | dataset
    return {"models": models, "files": files, "rows": rows, "settings": settings, "runtimes": versions}


def _write_files(network, runtimes, folder, prepared):
    """A `Job` for each runtime; of an exported file, itself alone."""
    if network.file:
        return [Job(network.label, network.image_size, network.runtime, network.file)]
    jobs = []
    for name in runtimes:
        runtime = RUNTIMES[name]
        file = folder / f"{name}{runtime.suffix}"
        runtime.write(network.model, file, network.representative(prepared) if runtime.precision == "int8" else None)
        jobs.append(Job(network.label, network.image_size, name, file))
    return jobs


def _accuracy(network, job, prepared, split, threads):
    """What a file of a trained network is worth on the faces of a split, in the network's own box."""
    # Keras computes here as it did all along: TensorFlow has taken its threads.
    model = network.model if job.runtime == "keras" else RUNTIMES[job.runtime].read(job.file, threads)
    measured = evaluate_loaded(prepared, replace(network.loaded, model=model), split=split).metrics
    protocol, subsets = measured["protocol"], measured["subsets"]
    return {"nme": subsets["full"][f"nme_{protocol['normaliser']}"], "subsets": subsets, "protocol": protocol}


def time_in_turns(groups, *, threads, rounds, images, batch_size, announce):
    """Measures the time of every network's files with every number of threads.

    Machines are shared and noisy: in a round all rows of a network and the first row of all run once, one after the
    other, so that whatever else the machine does meets all, and ratios are taken within the round. A first round warms
    up and does not count. One network at a time is in memory, besides the first.

    Args:
        groups: a list of lists of `Job`\\ s, those of one network; the very first job is what others are compared with.
        threads: a list of numbers.
        rounds: how many count.
        images: run at batch 1, one after the other, in a round; their median is the round's latency.
        batch_size: of the throughput, one batch a round.
        announce: takes a line of progress now and then.

    Returns:
        A list of dicts for JSON: ``model`` (label), ``runtime``, ``threads``, ``ms``, ``ratio`` (ms to those of the
        first row in the same round) and ``images_per_second``, each a `spread`, and the rounds: ``ms_of_rounds``,
        ``reference_ms_of_rounds``, ``images_per_second_of_rounds``.
    """
    rows, reference = [], (groups[0][0], threads[0])
    with contextlib.ExitStack() as stack:
        advice = "measure smaller networks, or give a smaller --batch-size"
        workers = {
            count: stack.enter_context(Process(f"the process with {count} threads", advice)) for count in threads
        }
        for jobs in groups:
            announce(f"measuring {jobs[0].label}")
            turns = list(itertools.product(jobs, threads))
            found = {turn: ([], []) for turn in dict.fromkeys([reference, *turns])}
            for number in range(rounds + 1):
                for (job, count), lists in found.items():
                    values = workers[count].run(time_of, job, count, images, batch_size)
                    for kept, value in zip(lists, values, strict=True):
                        kept += [value] if number else []
            for worker in workers.values():
                worker.run(close_files)
            rows += [_row(*turn, *found[turn], found[reference][0]) for turn in turns]
    return rows


def _row(job, threads, ms, rates, first):
    return {
        "model": job.label,
        "runtime": job.runtime,
        "threads": threads,
        "ms": spread(ms),
        "ratio": spread([one / reference for one, reference in zip(ms, first, strict=True)]),
        "images_per_second": spread(rates),
        "ms_of_rounds": ms,
        "reference_ms_of_rounds": first,
        "images_per_second_of_rounds": rates,
    }
