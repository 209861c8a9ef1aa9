"""What the writers of all formats share: the network to write, its signature, and the card inside the file."""

import io
import json
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np

from kdloss.errors import ConfigError
from kdloss.files import write_whole
from kdloss.inference.metadata import ASSETS, IMAGE, LITERT, ONNX, POINTS, SPREAD
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
    """Writes a card, a dict for JSON, into an exported file or folder, in place of any other; whole or not at all."""
    path, text = Path(path), json.dumps(card, indent=1)
    if path.suffix == LITERT:
        write_whole(path, _with_archive(path.read_bytes(), text))
    elif path.suffix == ONNX:
        import onnx

        model = onnx.load(path)
        others = {entry.key: entry.value for entry in model.metadata_props if entry.key != CARD}
        onnx.helper.set_model_props(model, others | {CARD: text})
        write_whole(path, model.SerializeToString())
    elif path.is_dir():
        write_whole(path / ASSETS / CARD, text)
    else:
        raise ConfigError(f"{path}: expected a {LITERT} or {ONNX} file, or the folder of a SavedModel")


def _with_archive(content, text):
    """The bytes of a LiteRT file, with the card in the zip archive behind the network that holds associated files."""
    result, others = io.BytesIO(content), []
    if zipfile.is_zipfile(result):
        with zipfile.ZipFile(result) as archive:
            others = [(info, archive.read(info)) for info in archive.infolist()]
        content = content[: min(info.header_offset for info, _ in others)] if others else content
    result = io.BytesIO(content)
    result.seek(0, io.SEEK_END)
    with zipfile.ZipFile(result, "a") as archive:
        for info, member in others:
            if info.filename != CARD:
                archive.writestr(info, member)
        # Without a date, so that the same export gives the same bytes.
        archive.writestr(zipfile.ZipInfo(CARD), text)
    return result.getvalue()
