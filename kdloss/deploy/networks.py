"""The networks that are measured: fresh ones by name, trained ones by checkpoint or by exported file."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kdloss.data.schemes import LandmarkScheme
from kdloss.deploy.representative import representative_crops
from kdloss.deploy.runtimes import RUNTIMES
from kdloss.errors import CheckpointError
from kdloss.evaluation.evaluation import LoadedModel, load_checkpoint
from kdloss.inference.readers import load_reader
from kdloss.models.architectures import architecture_names, require_side
from kdloss.models.checkpoint import read_card, require_scheme
from kdloss.models.locate import EXPORTED, checkpoint_path, is_published_student

PATTERNS = 8  # images of noise that stand for faces


@dataclass(frozen=True)
class Network:
    """A network to measure.

    Args:
        label, arch: what tables call it, and its architecture.
        model: the Keras model; of an exported file its reader, see `kdloss.inference.readers`.
        loaded: of a trained one, its `LoadedModel`; else None.
        runtime, file: of an exported file, the name of the runtime that runs it, and its path; else None.
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
        from kdloss.deploy.macs import count_macs

        return {
            "arch": self.arch,
            "image_size": self.image_size,
            "points": self.model.output_shape[1],
            "parameters": None if self.file else int(self.model.count_params()),
            "macs": None if self.file else count_macs(self.model),
            "checkpoint": self.loaded.record if self.loaded else None,
        }

    def representative(self, prepared):
        """Images (1, S, S, 3) that decide the scales of 8 bits: training faces of a `PreparedDataset` for a trained
        network; patterns of noise, which will do for time, for random weights or without a data set (None)."""
        if self.loaded and prepared:
            return representative_crops(prepared, self.loaded)
        coarse = np.random.default_rng(0).integers(0, 256, (PATTERNS, 8, 8, 3)).astype(np.uint8)
        side = (self.image_size, self.image_size)
        return [cv2.resize(image, side, interpolation=cv2.INTER_LINEAR)[None] for image in coarse]


def find_networks(archs, points, sizes, checkpoints, scheme=None):
    """Checks what is to be measured, and returns an iterator that makes each `Network` when its turn comes.

    Args:
        archs, points, sizes: fresh networks of so many points, or ``all``, each at every side in pixels.
        checkpoints: run folders, ``.keras`` files, shipped models' names, published students' ``.h5``, LiteRT and ONNX
            files of `kdloss.export`.
        scheme: the `LandmarkScheme` that these have to be trained for; None: any.

    Raises:
        CheckpointError: no such file, damaged, or for another scheme.
        ConfigError: an unknown architecture, a side that it does not take, or a runtime that is not installed.
    """
    fresh = list(itertools.product(architecture_names() if "all" in archs else archs, sizes))
    for arch, size in fresh:
        require_side(arch, size)
    return _networks(fresh, points, [(path, _scheme_of(path, scheme)) for path in checkpoints])


def _networks(fresh, points, trained):
    import keras

    from kdloss.models import build_model

    for arch, size in fresh:
        keras.utils.clear_session(free_memory=True)
        yield Network(f"{arch}, {size} px", arch, build_model(arch, points, size))
    for path, scheme in trained:
        keras.utils.clear_session(free_memory=True)
        yield _trained(path, scheme)


def _trained(path, scheme):
    loaded, file = load_checkpoint(path, scheme), checkpoint_path(path)
    exported = (_runtime_of(path, loaded.model.card), file) if file.suffix in EXPORTED else ()
    label = f"{loaded.label}, {loaded.model.input_shape[1]} px"
    return Network(label, loaded.record["arch"], loaded.model, loaded, *exported)


def _scheme_of(path, expected):
    """The `LandmarkScheme` that a trained network reads."""
    file = checkpoint_path(path)
    if is_published_student(file):
        from kdloss.models.published_student import load_published_student

        own = LandmarkScheme.plain(load_published_student(file).output_shape[1])
        return expected or own
    card = load_reader(path, device="cpu", threads=1).card if file.suffix in EXPORTED else read_card(file)
    if expected:
        require_scheme(card, expected, path)
    return LandmarkScheme.from_json(card["scheme"])


def _runtime_of(path, card):
    """The name of the runtime that runs an exported file, which has a card."""
    export = card.get("export")
    for name, runtime in RUNTIMES.items():
        if export == {**export, "format": runtime.form, "precision": runtime.precision}:
            return name
    raise CheckpointError(f"{path}: does not say how it was exported: make it with python -m kdloss.export")
