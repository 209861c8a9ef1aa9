"""One process of a distributed training of the tiny networks: ``python -m tests.training.distributed_run SPEC``.

SPEC is JSON: ``config`` (of a `TrainConfig`), ``faces`` and ``run`` (folders), ``distribution`` (arguments of
`distributed`), ``dropout``, ``logical`` (number of virtual CPU devices on TensorFlow) and ``signal``: None, or the
number of a signal that this process receives, and the epoch and the step in which it comes.
"""

import dataclasses
import json
import signal
import sys
from pathlib import Path

import keras

from kdloss.data.prepared import PreparedDataset
from kdloss.errors import exits_on_user_error
from kdloss.models.regressors import REGRESSORS
from kdloss.training.callbacks import LossWatch
from kdloss.training.config import TrainConfig
from kdloss.training.distribution import distributed
from kdloss.training.fit import train
from tests.training.tiny_chain import ARCH, TINY


@exits_on_user_error
def main(argv):
    spec = json.loads(argv[0])
    REGRESSORS[ARCH] = dataclasses.replace(TINY, dropout=spec["dropout"])
    check = LossWatch.check

    def signalled(self, epoch, step, mean):
        check(self, epoch, step, mean)
        if spec["signal"] and [epoch, step] == spec["signal"][1:]:
            signal.raise_signal(spec["signal"][0])

    LossWatch.check = signalled
    if spec["logical"] > 1 and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        devices = [tf.config.LogicalDeviceConfiguration()] * spec["logical"]
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], devices)
    with distributed(*spec["distribution"]) as distribution:
        faces = PreparedDataset(Path(spec["faces"]))
        train(TrainConfig(**spec["config"]), faces, Path(spec["run"]), verbose=0, distribution=distribution)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
