"""Readers: a network, whatever file and runtime it comes in, as one thing that reads crops.

A reader has ``input_shape`` (None, S, S, 3), ``output_shape`` (None, N, 2), ``card`` (what its file says of it, or
None), ``predict_on_batch(images)`` for points alone and ``read(images)`` for (points, spread): unit points (B, N, 2)
and how far heatmaps spread (B, N), None without heatmaps. Images are (B, S, S, 3) RGB 0..255.
"""

import contextlib

import numpy as np

from kdloss.data.geometry import FaceCrop
from kdloss.errors import CheckpointError, ConfigError
from kdloss.inference.confidence import SPREAD, VIEWS, second_view, views_signal
from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.metadata import with_confidence
from kdloss.inference.onnx_reader import OnnxModel
from kdloss.machine import may_have_accelerator, usable_cores
from kdloss.models.checkpoint import load_model, loadable_card
from kdloss.models.locate import EXPORTED, checkpoint_path

MOST_THREADS = 256
DEVICES = ("auto", "cpu", "gpu")
_AT_ONCE = 8  # crops in one batch
_NO_GPU = "--device gpu: Keras sees none here: leave --device out, or install a back end with CUDA"


class KerasReader:
    """A Keras model of this project as a reader.

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        card: see above.
        device: ``auto`` (Keras' choice), ``cpu`` or ``gpu``.

    Raises:
        ConfigError: ``gpu`` where Keras sees none.
    """

    def __init__(self, model, card=None, device="auto"):
        from kdloss.models import deployed

        self.card, self.input_shape, self.output_shape = card, model.input_shape, model.output_shape
        self._model, self._device = deployed(model), device
        if device == "gpu" and not _keras_gpus():
            raise ConfigError(_NO_GPU)

    def read(self, images):
        # One face, the usual case, need not pay for eight; batches of one or of eight make two programs, no more.
        size = 1 if len(images) == 1 else _AT_ONCE
        parts = [self._read(images[start : start + size], size) for start in range(0, len(images), size)]
        points = np.concatenate([part["points"] for part in parts])
        return points, np.concatenate([part["spread"] for part in parts]) if "spread" in parts[0] else None

    def predict_on_batch(self, images):
        return self.read(images)[0]

    def _read(self, images, size):
        import keras

        padded = np.zeros((size, *images.shape[1:]), np.float32)
        padded[: len(images)] = images
        with keras.device(f"{self._device}:0") if self._device != "auto" else contextlib.nullcontext():
            found = self._model.predict_on_batch(padded)
        return {name: np.asarray(values)[: len(images)] for name, values in found.items()}


def check_reader(name_or_path, *, device="auto", threads=None):
    """The file that `load_reader` reads, and the card of one that Keras runs, else None.

    Raises what that does, as far as it shows before a network library is imported.
    """
    if device not in DEVICES:
        raise ConfigError(f"--device {device}: expected one of {', '.join(DEVICES)}")
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise ConfigError(f"--threads {threads}: expected 1 to {MOST_THREADS}")
    file = checkpoint_path(name_or_path)
    if file.suffix == ".tflite" and device == "gpu":
        raise ConfigError(f"--device gpu: {file.name} is a LiteRT file, which runs on the CPU: give the .keras file")
    if file.suffix in EXPORTED:
        return file, None
    if threads is not None:
        raise ConfigError(f"--threads {threads}: {file.name} runs in Keras, which chooses for itself: leave it out")
    if device == "gpu" and not may_have_accelerator():
        raise ConfigError(_NO_GPU)
    return file, loadable_card(file)


def load_reader(name_or_path, *, device="auto", threads=None):
    """Loads a reader.

    Args:
        name_or_path: a ``.keras`` file or run folder, a ``.tflite`` or ``.onnx`` file of `kdloss.export`, a shipped
            model's name, or one of its files (``mobilenetv2-300w/int8.tflite``).
        device: ``cpu``, ``gpu``, or ``auto``: a GPU for Keras if it sees one, the CPU for LiteRT and ONNX files.
        threads: of LiteRT and ONNX files; None: one for each core. Keras chooses for itself.

    Raises:
        CheckpointError: no such file, damaged, or not one of this project's.
        ConfigError: a device that is not there or that the file cannot run on, or threads of a Keras model.
    """
    file, _ = check_reader(name_or_path, device=device, threads=threads)
    if file.suffix == ".tflite":
        reader = LiteRTModel(file, threads or usable_cores())
    elif file.suffix == ".onnx":
        reader = OnnxModel(file, threads or usable_cores(), "gpu" if device == "gpu" else "cpu")
    else:
        reader = KerasReader(*load_model(file), device)
    if reader.card is None:
        raise CheckpointError(
            f"{file}: does not say which landmarks it reads, so it is no file of kdloss: make one with python -m "
            "kdloss.export"
        )
    reader.card = with_confidence(reader.card, file)
    return reader


def read_faces(reader, images, boxes, signal=None):
    """The landmarks of faces in their images.

    Args:
        reader: see above.
        images: k images (H, W, 3) uint8 RGB, of which each holds one of the faces.
        boxes: (k, 4) boxes to cut, pixels of the images.
        signal: which signal of each point to find too, see `kdloss.inference.confidence`; None: none.

    Returns:
        Points (k, N, 2) float64 in pixels of the images, and signals (k, N) float64, or None: none was asked for, or
        the reader tells of no heatmaps.
    """
    size, count = reader.input_shape[1], reader.output_shape[1]
    points, signals = [np.zeros((0, count, 2))], [np.zeros((0, count))]
    for start in range(0, len(boxes), _AT_ONCE):
        chosen, cut_from = images[start : start + _AT_ONCE], boxes[start : start + _AT_ONCE]
        crops = [FaceCrop.from_box(box, size) for box in cut_from]
        units, spread = reader.read(_cut(crops, chosen))
        units = units.astype(np.float64)
        points.append(np.stack([crop.inverse_unit(unit) for crop, unit in zip(crops, units, strict=True)]))
        if signal == SPREAD:
            signals.append(spread)
        elif signal == VIEWS:
            again = [second_view(box, size) for box in cut_from]
            signals.append(views_signal(crops, units, again, reader.predict_on_batch(_cut(again, chosen))))
    known = signal and all(part is not None for part in signals)
    return np.concatenate(points), np.concatenate(signals).astype(np.float64) if known else None


def signal_of(reader):
    """The name of the signal that tells a reader's good points from bad ones."""
    blank = np.zeros((1, *reader.input_shape[1:]), np.uint8)
    return VIEWS if reader.read(blank)[1] is None else SPREAD


def _cut(crops, images):
    return np.stack([crop.image(image) for crop, image in zip(crops, images, strict=True)])


def _keras_gpus():
    import keras

    try:
        return keras.distribution.list_devices("gpu")
    except RuntimeError:  # JAX's way to say so
        return []
