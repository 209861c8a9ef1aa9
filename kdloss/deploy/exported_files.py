"""What the writers of all formats share: the network to write, its signature, and the card inside the file."""

import json
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from kdloss.errors import ConfigError
from kdloss.files import write_whole
from kdloss.inference.metadata import ASSETS, IMAGE, ONNX, POINTS, SPREAD
from kdloss.models.card import CARD

PRECISIONS = ("fp32", "fp16", "int8")
_INPUT = "(B, {size}, {size}, 3) float32: RGB crops of faces, 0..255; LiteRT files take one at a time"
_OUTPUTS = {
    POINTS: "(B, {points}, 2) float32: x, y in units of the crop's side, 0 at its centre; pixel = (unit + 0.5) * "
    "{size} - 0.5",
    SPREAD: "(B, {points}) float32: the standard deviation of each point's heatmap, in units of the crop's side",
}


def prepare_export(model, runtime, precision="fp32", representative=None):
    """The network to export, see `kdloss.models.deployed`, and a list of the images (S, S, 3) float32 that decide the
    scales of 8 bits. ``runtime`` is its name in messages; for the rest see `kdloss.deploy.litert.export_litert`.

    Raises:
        ConfigError: an unknown precision, ``int8`` without images, or another back end than TensorFlow.
    """
    import keras

    from kdloss.models import deployed

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()}: export to {runtime} needs tensorflow: unset it")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision}: expected one of {', '.join(PRECISIONS)}")
    images = [image.astype(np.float32) for batch in representative or () for image in np.asarray(batch)]
    if precision == "int8" and not images:
        raise ConfigError("precision int8: found no representative images, expected some hundred training crops")
    network = deployed(model)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Normalization):
            # EfficientNet holds tensors here. tf2onnx makes them inputs of the network, but arrays it makes constants.
            layer.mean, layer.variance = np.asarray(layer.mean), np.asarray(layer.variance)
    return network, images


def image_signature(model, batch=None):
    """The input signature of a network for batches of ``batch`` images; None: of any number."""
    import keras

    return [keras.InputSpec(shape=(batch, *model.input_shape[1:]), dtype="float32", name=IMAGE)]


def attach_export(path, card, model, form, precision):
    """Writes the card of an export into its file.

    Args:
        path: of the file or folder.
        card: of the checkpoint, with ``source_sha256``, the hash of its file, if that is known; None: none is written.
        model: the exported network, see `prepare_export`.
        form: ``litert``, ``onnx`` or ``savedmodel``.
        precision: one of `PRECISIONS`.
    """
    if card is None:
        return
    shape = {"size": model.input_shape[1], "points": model.output[POINTS].shape[1]}
    export = {
        "format": form,
        "precision": precision,
        "input": {IMAGE: _INPUT.format(**shape)},
        "outputs": {name: _OUTPUTS[name].format(**shape) for name in model.output},
        "packages": {name: version(name) for name in ("kdloss", "keras", "tensorflow")},
    }
    attach(path, card | {"export": export})


def attach(path, card):
    """Writes a card, a dict for JSON, into an exported file or folder, in place of any other."""
    path, text = Path(path), json.dumps(card, indent=1)
    if path.suffix == ONNX:
        import onnx

        model = onnx.load(path)
        onnx.helper.set_model_props(model, {CARD: text})
        onnx.save(model, path)
    elif path.is_dir():
        write_whole(path / ASSETS / CARD, text)
    else:  # LiteRT: in a zip archive behind the network, without a date, so that the same export gives the same bytes
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                end = archive.infolist()[0].header_offset
            path.write_bytes(path.read_bytes()[:end])
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(zipfile.ZipInfo(CARD), text)
