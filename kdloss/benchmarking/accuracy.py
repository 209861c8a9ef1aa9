"""What the files of a trained network are worth: the protocol's numbers, file by file."""

from dataclasses import replace

from kdloss.benchmarking.runtimes import RUNTIMES
from kdloss.evaluation.evaluation import evaluate_loaded


def measure_accuracy(network, jobs, prepared, split, threads):
    """Evaluates each file of a trained network on the faces of a split, in the network's own box.

    Args:
        network: a trained `kdloss.benchmarking.networks.Network`.
        jobs: a list of `kdloss.benchmarking.worker.Job`, its files.
        prepared: the `PreparedDataset`.
        split: ``test`` or ``val``.
        threads: of the runtimes but Keras, which computes here as it did all along.

    Returns:
        For each job a dict for JSON: ``nme`` (percent, by the protocol's normaliser), ``subsets`` and ``protocol`` as
        in ``metrics.json``.
    """
    found = []
    for job in jobs:
        model = network.model if job.runtime == "keras" else RUNTIMES[job.runtime].read(job.file, threads)
        measured = evaluate_loaded(prepared, replace(network.loaded, model=model), split=split).metrics
        protocol = measured["protocol"]
        nme = measured["subsets"]["full"][f"nme_{protocol['normaliser']}"]
        found.append({"nme": nme, "subsets": measured["subsets"], "protocol": protocol})
    return found
