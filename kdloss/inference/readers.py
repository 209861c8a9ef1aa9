"""Readers: a model, whatever file and runtime it comes in, as one thing that reads crops of faces.

A reader has ``input_shape`` (None, S, S, 3), ``output_shape`` (None, N, 2) and ``card`` (what its file says of it, or
None). ``read(images)`` returns (points, spread): unit points (B, N, 2) and the spread of their heatmaps (B, N), which
is None without heatmaps; ``predict_on_batch(images)`` returns the points alone. Images are (B, S, S, 3) RGB 0..255.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdloss.data.geometry import FaceCrop
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import CheckpointError, ConfigError, DataError
from kdloss.inference.confidence import SPREAD, VIEWS, second_view, stored_confidence, views_signal
from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.onnx_reader import OnnxModel
from kdloss.machine import may_have_accelerator, usable_cores
from kdloss.models.checkpoint import load_model, loadable_card, require_backend, require_scheme
from kdloss.models.locate import EXPORTED, PUBLISHED_STUDENT, checkpoint_path, is_published_student

MOST_THREADS = 256
DEVICES = ("auto", "cpu", "gpu")
_AT_ONCE = 8  # crops in one batch
_NO_GPU = "--device gpu: Keras sees none here: leave --device out, or install a back end with CUDA"


@dataclass(frozen=True)
class ModelFile:
    """A model that was found and checked: its file, its card with the measured confidence, and a function that returns
    its reader."""

    path: Path
    card: dict
    load: Callable


def find_model(name_or_path, *, device="auto", threads=None, readout=None, scheme=None):
    """Finds a model and checks all that shows without Keras. LiteRT and ONNX files, which open fast, are opened.

    Args:
        name_or_path: a run folder, a ``.keras`` file, a ``.tflite`` or ``.onnx`` file of `kdloss.export`, the ``.h5``
            of a published student, a shipped model's name, or one of its files (``mobilenetv2-300w/int8.tflite``).
        device: ``cpu``, ``gpu``, or ``auto``: a GPU for Keras if it sees one, the CPU for LiteRT and ONNX files.
        threads: of LiteRT and ONNX files; None: one for each core. Keras chooses for itself.
        readout: of a heatmap network in a Keras file, see `kdloss.models.checkpoint.load_model`.
        scheme: the `LandmarkScheme` of the points that it has to read; None: any. Published students name no points, so
            their number has to fit.

    Returns:
        A `ModelFile`.

    Raises:
        CheckpointError: no such file, damaged, not one of this project's, or for another scheme.
        ConfigError: a device that is not there or that the file cannot run on, threads of a Keras model, or a read-out
            of a network that has none.
    """
    if device not in DEVICES:
        raise ConfigError(f"--device {device}: expected one of {', '.join(DEVICES)}")
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise ConfigError(f"--threads {threads}: expected 1 to {MOST_THREADS}")
    path = checkpoint_path(name_or_path)
    if path.suffix in EXPORTED:
        if readout:
            raise ConfigError(f"--readout {readout}: {name_or_path} has the read-out of its export: leave it out")
        card, load = _opened(path, device, threads or usable_cores())
    elif threads is not None:
        raise ConfigError(f"--threads {threads}: {path.name} runs in Keras, which chooses for itself: leave it out")
    elif device == "gpu" and not may_have_accelerator():
        raise ConfigError(_NO_GPU)
    else:
        card, load = (_published if is_published_student(path) else _checkpoint)(path, device, readout)
    if scheme:
        _require_scheme(card, scheme, path)
    return ModelFile(path, card, load)


def load_reader(name_or_path, *, device="auto", threads=None):
    """The reader of a model; arguments and errors are those of `find_model`."""
    return find_model(name_or_path, device=device, threads=threads).load()


class KerasReader:
    """A Keras model of this project as a reader.

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        card: its card, or None.
        device: ``auto`` (Keras' choice), ``cpu`` or ``gpu``.

    Attributes:
        network: the Keras model itself, for training, export and evaluation in large batches.

    Raises:
        ConfigError: ``gpu`` where Keras sees none.
    """

    def __init__(self, model, card=None, device="auto"):
        from kdloss.models import deployed

        self.network, self.card = model, card
        self.input_shape, self.output_shape = model.input_shape, model.output_shape
        self._deployed, self._device = deployed(model), device
        if device == "gpu" and not _keras_gpus():
            raise ConfigError(_NO_GPU)

    def read(self, images):
        import keras

        # Batches of one, the usual case, or of eight: Keras compiles two programs and no more.
        size, count = 1 if len(images) == 1 else _AT_ONCE, len(images)
        padded = np.zeros((-(-count // size) * size, *images.shape[1:]), np.float32)
        padded[:count] = images
        with keras.device(f"{self._device}:0") if self._device != "auto" else contextlib.nullcontext():
            batches = [self._deployed.predict_on_batch(batch) for batch in np.split(padded, len(padded) // size)]
        points, spread = (
            np.concatenate([np.asarray(batch[name]) for batch in batches])[:count] if name in batches[0] else None
            for name in ("points", "spread")
        )
        return points, spread

    def predict_on_batch(self, images):
        return self.read(images)[0]


def read_faces(reader, images, boxes, signal=None):
    """The landmarks of faces in their images.

    Args:
        reader: see above.
        images, boxes: k images (H, W, 3) uint8 RGB, and in each the box (x, y, width, height) to cut.
        signal: the signal of each point to return, see `kdloss.inference.confidence`; None: none.

    Returns:
        Points (k, N, 2) float64 in pixels of the images, and signals (k, N) float64, or None if none was asked for or
        the reader has no heatmaps.

    Raises:
        DataError: the network yields points that are not finite.
    """
    size, count = reader.input_shape[1], reader.output_shape[1]
    points, signals = [np.zeros((0, count, 2))], [np.zeros((0, count))]
    for start in range(0, len(boxes), _AT_ONCE):
        batch, batch_boxes = images[start : start + _AT_ONCE], boxes[start : start + _AT_ONCE]
        crops = [FaceCrop.from_box(box, size) for box in batch_boxes]
        units, spread = reader.read(_cut(crops, batch))
        units = units.astype(np.float64)
        if not np.isfinite(units).all():
            raise DataError("the network yields points that are no numbers: give another checkpoint")
        points.append(np.stack([crop.inverse_unit(unit) for crop, unit in zip(crops, units, strict=True)]))
        if signal == SPREAD:
            signals.append(spread)
        elif signal == VIEWS:
            second_crops = [second_view(box, size) for box in batch_boxes]
            second_units = reader.predict_on_batch(_cut(second_crops, batch))
            signals.append(views_signal(crops, units, second_crops, second_units))
    known = signal and all(part is not None for part in signals)
    return np.concatenate(points), np.concatenate(signals).astype(np.float64) if known else None


def signal_of(reader):
    """The name of the signal of a reader, see `kdloss.inference.confidence`."""
    return VIEWS if reader.read(np.zeros((1, *reader.input_shape[1:])))[1] is None else SPREAD


def _opened(path, device, threads):
    """Card and loader of an exported file, which is opened now."""
    if path.suffix == ".onnx":
        reader = OnnxModel(path, threads, "gpu" if device == "gpu" else "cpu")
    elif device == "gpu":
        raise ConfigError(f"--device gpu: {path.name} is a LiteRT file, which runs on the CPU: give the .keras file")
    else:
        reader = LiteRTModel(path, threads)
    if reader.card is None:
        raise CheckpointError(f"{path}: does not say which landmarks it reads: make it with python -m kdloss.export")
    _require_agreement(reader, path)
    reader.card = _with_confidence(reader.card, path)
    return reader.card, lambda: reader


def _require_agreement(reader, path):
    """Checks by one reading that a network takes and yields what its card says; raises `CheckpointError`."""
    side, count = reader.card["image_size"], LandmarkScheme.from_json(reader.card["scheme"]).num_points
    try:
        if tuple(reader.input_shape) != (None, side, side, 3):
            raise ValueError(f"nothing for them, but for images {reader.input_shape[1:]}")
        found = reader.read(np.zeros((1, side, side, 3), np.float32))
        found = ", ".join(str(array.shape) for array in found if array is not None)
    except Exception as error:  # runtimes raise errors of many kinds
        found = " ".join(str(error).split())[:200]
    if found not in (f"(1, {count}, 2)", f"(1, {count}, 2), (1, {count})"):
        expected = f"{count} points of images of side {side}, as its card says"
        raise CheckpointError(f"{path}: yields {found}, expected {expected}: export it again")


def _published(path, device, readout):
    """Card and loader of a student that the authors of KD-Loss published."""
    from kdloss.models.published_student import load_published_student, published_card

    require_backend()
    if readout:
        raise ConfigError(f"--readout {readout}: {path} is a published student, a regressor: leave it out")
    card = published_card(path)
    return card, lambda: KerasReader(load_published_student(path), card, device)


def _checkpoint(path, device, readout):
    """Card and loader of a Keras file of this project."""
    card = _with_confidence(loadable_card(path, readout), path)
    return card, lambda: KerasReader(load_model(path, readout)[0], card, device)


def _with_confidence(card, path):
    """A card with the confidence that was measured for the model, which the card holds or a file beside the model."""
    found = card.get("confidence") or stored_confidence(path)
    return card | ({"confidence": found} if found else {})


def _require_scheme(card, scheme, path):
    if card.get("kind") != PUBLISHED_STUDENT:
        require_scheme(card, scheme, path)
    elif len(card["scheme"]["names"]) != scheme.num_points:
        found, expected = len(card["scheme"]["names"]), f"the {scheme.num_points} of scheme {scheme.name}"
        raise CheckpointError(f"{path}: reads {found} points, expected {expected}: give a checkpoint of this data set")


def _cut(crops, images):
    return np.stack([crop.image(image) for crop, image in zip(crops, images, strict=True)])


def _keras_gpus():
    import keras

    try:
        return keras.distribution.list_devices("gpu")
    except RuntimeError:  # JAX without GPU
        return []
