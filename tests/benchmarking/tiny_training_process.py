"""The processes of ``kdloss.benchmark training``, with the tiny networks."""

from kdloss.benchmarking import training_process
from kdloss.models.regressors import REGRESSORS
from tests.training.tiny_chain import ARCH, TINY


def serve(connection, work, variant):
    """As `training_process._serve`."""
    REGRESSORS[ARCH] = TINY
    training_process._serve(connection, work, variant)


def write(connection, work, backend):
    """As `training_process._write`."""
    REGRESSORS[ARCH] = TINY
    training_process._write(connection, work, backend)
