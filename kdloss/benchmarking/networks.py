"""The networks that are measured: fresh ones by name, trained ones by checkpoint or by exported file."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import keras
import numpy as np

from kdloss.benchmarking.macs import count_macs
from kdloss.benchmarking.runtimes import SUFFIXES, runtime_of
from kdloss.deploy.readers import load_reader
from kdloss.deploy.representative import representative_crops
from kdloss.errors import CheckpointError
from kdloss.evaluation.evaluation import LoadedModel, load_checkpoint
from kdloss.geometry import BoxPolicy
from kdloss.locate import is_published_student
from kdloss.models import build_model, count_parameters
from kdloss.models.published_student import load_published_student
from kdloss.schemes import LandmarkScheme
from kdloss.training.checkpoint import checkpoint_path, read_card, require_scheme

PATTERNS = 8  # images of noise that stand for faces


@dataclass(frozen=True)
class Network:
    """A network to measure.

    Args:
        label: what tables call it.
        arch: its architecture.
        model: the Keras model; of an exported file its reader, see `kdloss.deploy.readers`.
        loaded: of a trained one, its `LoadedModel`; else None.
        runtime, file: of an exported file, the one row of `kdloss.benchmarking.runtimes` that runs it, and its path;
            else None: then every runtime can.
    """

    label: str
    arch: str
    model: object
    loaded: LoadedModel | None = None
    runtime: str | None = None
    file: Path | None = None

    @property
    def image_size(self):
        """The side of its images in pixels."""
        return self.model.input_shape[1]

    def describe(self):
        """What it is: a dict for JSON."""
        return {
            "label": self.label,
            "arch": self.arch,
            "image_size": self.image_size,
            "points": self.model.output_shape[1],
            "parameters": None if self.file else count_parameters(self.model),
            "macs": None if self.file else count_macs(self.model),
            "checkpoint": self.loaded.record if self.loaded else None,
        }

    def representative(self, prepared):
        """Images (1, S, S, 3) that decide the scales of 8 bits: training faces of a `PreparedDataset` for a trained
        network; patterns of noise for random weights, or without a data set (None), which will do for measuring
        time."""
        if self.loaded and prepared:
            return representative_crops(prepared, self.loaded)
        noise = np.random.default_rng(0)
        side = self.image_size
        coarse = noise.integers(0, 256, (PATTERNS, 8, 8, 3)).astype(np.uint8)
        return [cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR)[None] for image in coarse]


@dataclass(frozen=True)
class Plan:
    """A `Network` that is made when its turn comes: many at once would not fit into memory.

    Args:
        make: returns the network.
        described: what `Network.describe` says of it.
        runtime: see `Network`.
    """

    make: Callable
    described: dict
    runtime: str | None

    @classmethod
    def of(cls, make):
        """The plan of what ``make`` returns; what is wrong with it shows here, not when its turn comes."""
        network = make()
        return cls(make, network.describe(), network.runtime)

    def labelled(self, label):
        """The same under another label."""
        return replace(self, described=self.described | {"label": label})

    def network(self):
        """The `Network`, in the place of any before it."""
        keras.utils.clear_session(free_memory=True)
        return replace(self.make(), label=self.described["label"])


def fresh(arch, num_points, image_size):
    """A `Network` with random weights; raises what `build_model` does."""
    return Network(f"{arch}, {image_size} px", arch, build_model(arch, num_points, image_size))


def trained(path, scheme=None):
    """The `Network` of a run folder, a ``.keras`` file, a shipped model's name, a published student's ``.h5``, or of a
    LiteRT or ONNX file of `kdloss.export`.

    Args:
        path: of it.
        scheme: the `LandmarkScheme` that it has to be trained for; None: any.

    Raises:
        CheckpointError: no such file, damaged, or for another scheme.
        ConfigError: the runtime of an exported file is not installed.
    """
    file = checkpoint_path(path)
    if file.suffix in SUFFIXES:
        return _exported(path, file, scheme)
    if scheme is None:
        if is_published_student(file):
            scheme = LandmarkScheme.plain(load_published_student(file).output_shape[1])
        else:
            scheme = LandmarkScheme.from_json(read_card(file)["scheme"])
    loaded = load_checkpoint(path, scheme)
    return Network(f"{loaded.label}, {loaded.model.input_shape[1]} px", loaded.record["arch"], loaded.model, loaded)


def _exported(path, file, scheme):
    reader = load_reader(path, device="cpu", threads=1)
    if scheme:
        require_scheme(reader.card, scheme, path)
    try:
        form, precision = reader.card["export"]["format"], reader.card["export"]["precision"]
    except (KeyError, TypeError):
        raise CheckpointError(
            f"{path}: does not say how it was exported: make it with python -m kdloss.export"
        ) from None
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    record = {"path": str(path), "sha256": digest, "arch": reader.card["arch"], "image_size": reader.input_shape[1]}
    loaded = LoadedModel(reader, BoxPolicy.parse(reader.card["box"]), str(path), record)
    label = f"{file.parent.name}/{file.name}, {reader.input_shape[1]} px"
    return Network(label, record["arch"], reader, loaded, runtime_of(form, precision), file)
