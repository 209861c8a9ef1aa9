"""Rendered faces, and networks that train in seconds.

MobileNetV2 takes ten seconds to trace; the tiny networks have batch normalisation and dropout as the real ones have.
"""

import keras
import numpy as np
import pytest
from keras import Model, layers

from data_prep.layouts import write_layout
from data_prep.prepare import prepare
from kdloss.data.prepared import PreparedDataset
from kdloss.models.architectures import HEATMAP_NETWORKS, REGRESSORS, HeatmapNetwork, Regressor
from kdloss.training.config import TrainConfig

ARCH, DEEP, FAN, SKIPS = "tiny", "tiny-deep", "tiny-fan", "tiny-skips"
SIZE = 32
MAPS_SIZE = 64  # of the networks with feature maps: sides 2, 4, 8 and 16
BATCH = 8
FACES = 20
TEST_FACES = 6


def _trunk(inputs):
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(inputs)
    for number, width in enumerate((8, 16)):
        x = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name=f"conv{number}")(x)
        x = layers.BatchNormalization(name=f"norm{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
    return Model(inputs, x)


def _deep_trunk(inputs):
    """Maps at a quarter, an 8th, a 16th and a 32nd of the side; each layer with weights would cost time to trace."""
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(inputs)
    x = layers.Conv2D(8, 4, strides=4, use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    for number in range(3):
        x = layers.AveragePooling2D(2, name=f"pool{number}")(x)
    return Model(inputs, layers.Conv2D(16, 1, name="top")(x))


def _residual_trunk(inputs):
    """The same with the sum of a block at each stride but the last."""
    x = layers.Rescaling(1 / 127.5, offset=-1, name="rescale")(inputs)
    x = layers.Conv2D(8, 4, strides=4, name="conv")(x)
    for number in range(3):
        x = layers.Add(name=f"add{number}")([x, layers.ReLU(name=f"relu{number}")(x)])
        x = layers.AveragePooling2D(2, name=f"pool{number}")(x)
    return Model(inputs, layers.Conv2D(16, 1, name="top")(x))


def _no_imagenet(image_size):
    return "none.h5", "nowhere"


TINY = Regressor(_trunk, _no_imagenet, dropout=0.3)
TINY_DEEP = Regressor(_deep_trunk, _no_imagenet, dropout=0.3)
TINY_FAN = HeatmapNetwork(_deep_trunk, "top", _no_imagenet, width=8)
TINY_SKIPS = HeatmapNetwork(_residual_trunk, "top", _no_imagenet, width=8, skips=(4, 4, 2, 2))


def use_tiny_networks(patch):
    """Adds them to the architectures, for as long as the `pytest.MonkeyPatch` lasts."""
    patch.setitem(REGRESSORS, ARCH, TINY)
    patch.setitem(REGRESSORS, DEEP, TINY_DEEP)
    patch.setitem(HEATMAP_NETWORKS, FAN, TINY_FAN)
    patch.setitem(HEATMAP_NETWORKS, SKIPS, TINY_SKIPS)


@pytest.fixture(autouse=True, scope="module")
def tiny_networks():
    """A conftest that imports this gives all tests of its folder the tiny networks."""
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        yield


def tiny_config(kind="tough", dataset="300w", **changes):
    """A `TrainConfig` of one epoch on views that vary."""
    fields = {"arch": ARCH, "image_size": SIZE, "batch_size": BATCH, "epochs": 1, "augment": "paper", "loss": "l1"}
    return TrainConfig(**{"kind": kind, "dataset": dataset} | fields | changes)


def student_config(runs, **changes):
    """The `TrainConfig` of a student that distils from the teachers ``tough`` and ``tolerant`` in a folder of runs."""
    fields = {"method": "kd-loss", "epochs": 2, "ema": 0.9, "warmup_epochs": 0.5}
    fields |= {kind: str(runs / kind / "best.keras") for kind in ("tough", "tolerant")}
    return tiny_config("student", **fields | changes)


def heatmap_config(kind="student", **changes):
    """The `TrainConfig` of one epoch of the heatmap network."""
    fields = {"arch": FAN, "image_size": MAPS_SIZE, "heatmap_loss": "cross-entropy", "heatmap_weight": 0.05}
    return tiny_config(kind, **fields | changes)


def write_faces(folder, dataset="300w"):
    """Renders an official layout into ``folder / "raw"`` and prepares it into ``folder / dataset``."""
    write_layout(dataset, folder / "raw", count=FACES, test_count=TEST_FACES, size=64)
    prepare(dataset, folder / "raw", folder / dataset, size=64)
    return PreparedDataset(folder / dataset)


@pytest.fixture(scope="session")
def faces(tmp_path_factory):
    """26 rendered faces in the 300-W layout: 17 to train, 3 to validate, 6 to test."""
    return write_faces(tmp_path_factory.mktemp("faces"))


def arrays(variables):
    """Copies of Keras variables as numpy arrays."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def same(first, second):
    """True if two lists of arrays are equal to the bit."""
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
