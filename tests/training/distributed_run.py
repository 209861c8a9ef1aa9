"""One process of a distributed training of the tiny networks: ``python -m tests.training.distributed_run SPEC.json``.

The file holds ``config`` (of a `TrainConfig`), ``faces``, ``run`` (folders), ``where``, ``processes``, ``process``,
``dropout``, ``logical`` (on TensorFlow, how many devices the processor plays) and ``signal``: None, or which signal this
process gets, and within which epoch and step.
"""

import dataclasses
import json
import signal
import sys
from pathlib import Path

import keras

from asm.errors import exits_on_user_error
from kdloss.models.regressors import REGRESSORS
from kdloss.prepared import PreparedDataset
from kdloss.training.config import TrainConfig
from kdloss.training.distribution import distribution
from kdloss.training.divergence import LossWatch
from kdloss.training.fit import train
from tests.training.tiny_chain import ARCH, TINY


def signal_in(number, epoch, step):
    check = LossWatch.check

    def raises(self, now, at, mean):
        check(self, now, at, mean)
        if (now, at) == (epoch, step):
            signal.raise_signal(number)

    LossWatch.check = raises


@exits_on_user_error
def main(argv=None):
    spec = json.loads(Path((argv or sys.argv[1:])[0]).read_text())
    REGRESSORS[ARCH] = dataclasses.replace(TINY, dropout=spec["dropout"])
    if spec["signal"]:
        signal_in(*spec["signal"])
    if spec["logical"] > 1 and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        devices = [tf.config.LogicalDeviceConfiguration()] * spec["logical"]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    faces = PreparedDataset(Path(spec["faces"]))
    with distribution(spec["where"], spec["processes"], spec["process"]) as among:
        train(TrainConfig(**spec["config"]), faces, Path(spec["run"]), verbose=0, distribution=among)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
