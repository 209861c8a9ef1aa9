"""The process of ``kdloss.benchmark time-to-accuracy``, with the tiny networks."""

from kdloss.benchmarking import accuracy_time_run
from kdloss.models.heatmap_networks import HEATMAP_NETWORKS
from kdloss.models.regressors import REGRESSORS
from tests.training.tiny_chain import ARCH, FAN, TINY, TINY_FAN


def serve(connection):
    """As `accuracy_time_run.serve`."""
    REGRESSORS[ARCH], HEATMAP_NETWORKS[FAN] = TINY, TINY_FAN
    accuracy_time_run.serve(connection)
