"""LiteRT, the runtime of phones: networks as its files, and such files run in a network's place."""

import io
import re
import warnings
from contextlib import redirect_stderr, redirect_stdout

import numpy as np

from kdloss.errors import CheckpointError, ConfigError
from kdloss.files import replacing
from kdloss.inference.metadata import (
    IMAGE,
    POINTS,
    SPREAD,
    attach,
    exported,
    image_signature,
    prepare_export,
    read_metadata,
)
from kdloss.machine import without_messages


def export_litert(model, path, precision="fp32", representative=None, card=None):
    """Writes a Keras model as a LiteRT file for one image at a time, of LiteRT's own operations alone.

    The file takes ``image``, float32 RGB 0..255 (1, S, S, 3), and yields ``points``, float32 unit coordinates
    (1, N, 2), and of a heatmap network ``spread``, float32 (1, N), whatever is inside: see `kdloss.models.deployed`.

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        path: ends in ``.tflite``; appears whole or not at all.
        precision: ``fp32``; ``fp16``: weights are stored in 16 bits and computed with in 32; ``int8``: weights (each
            channel with its scale) and activations are whole numbers of 8 bits, up to what coordinates are made of:
            8 bits over a crop would round a point to half a pixel, and over a heatmap's mass to far more. So a
            heatmap network's read-out computes in float32, and so do a regressor's pooling and last layer, the latter
            with weights in 8 bits.
        representative: of ``int8``: an iterable of batches of images (B, S, S, 3), RGB 0..255, such as the network will
            see. They decide the scales of the activations; some hundred images are enough.
        card: of the checkpoint: the file then holds it, see `kdloss.inference.metadata`.

    Raises:
        ConfigError: an unknown precision, ``int8`` without images or without ai-edge-quantizer, or another back end
            than TensorFlow.
    """
    network, images = prepare_export(model, "LiteRT", precision, representative)
    with replacing(path) as work:
        network.export(
            str(work), format="litert", input_signature=image_signature(network, 1), verbose=False,
            **_converter_options(precision),
        )  # fmt: skip
        if precision == "int8":
            work.write_bytes(_quantised(work.read_bytes(), images))
        if card is not None:
            attach(work, exported(card, network, "litert", precision))


def _converter_options(precision):
    """Attributes of TensorFlow's converter."""
    import tensorflow as tf

    spec = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    if precision != "fp16":
        return {"target_spec": spec}
    return {"optimizations": [tf.lite.Optimize.DEFAULT], "target_spec": spec | {"supported_types": [tf.float16]}}


def _quantised(content, images):
    """A LiteRT file in float32 as one in 8 bits, as `export_litert` says; both as bytes."""
    try:
        from ai_edge_quantizer.qtyping import TFLOperationName as Operation
        from ai_edge_quantizer.quantizer import Quantizer
    except ImportError:
        raise ConfigError("precision int8: ai-edge-quantizer is not installed: pip install ai-edge-quantizer") from None
    quantizer = Quantizer(content)
    before_readout = f"^(?!.*({'|'.join(_readout(content))})).*$"
    for name in _WHOLE_NUMBERS:
        quantizer.add_static_config(
            regex=before_readout, operation_name=Operation[name], activation_num_bits=8, weight_num_bits=8
        )
    quantizer.add_weight_only_config(regex=".*", operation_name=Operation.FULLY_CONNECTED, num_bits=8)
    # It draws progress bars, and warns of the memory that it takes and of channels whose weights are all zero.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), without_messages():
        warnings.filterwarnings("ignore", "Warning: Enabling `experimental_preserve_all_tensors`", UserWarning)
        warnings.filterwarnings("ignore", "invalid value encountered in", RuntimeWarning)
        seen = quantizer.calibrate({"serving_default": [{IMAGE: image[None]} for image in images]}, num_threads=1)
        return bytes(quantizer.quantize(seen).quantized_model)


def _readout(content):
    """Patterns of the names of what a read-out's operators yield: they name the layer, but for the last results, which
    the converter names as outputs of the file."""
    from ai_edge_litert.interpreter import Interpreter

    outputs = Interpreter(model_content=content, num_threads=1).get_output_details()
    return [f"/{POINTS}", f"/{SPREAD}", *(re.escape(output["name"]) for output in outputs)]


# What networks here are made of before their points.
_WHOLE_NUMBERS = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "ADD", "SUB", "MUL", "RELU", "LOGISTIC", "PAD",
    "CONCATENATION",
)  # fmt: skip


class LiteRTModel:
    """A LiteRT file in the place of a Keras model, for `kdloss.inference.prediction`.

    Args:
        path: a file of `export_litert`.
        threads: how many it runs on.

    Raises:
        CheckpointError: no such file, damaged, or one that takes no image.
        ConfigError: LiteRT is not installed.
    """

    def __init__(self, path, threads=1):
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError:
            raise ConfigError("ai-edge-litert is not installed: pip install ai-edge-litert") from None
        try:
            # LiteRT says which delegate it uses, whatever the level of messages.
            with without_messages():
                self._interpreter = Interpreter(str(path), num_threads=threads)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path}: no LiteRT file, or damaged ({error}): export it again") from error
        (entry,) = self._interpreter.get_input_details()
        points, spread = _outputs(self._interpreter.get_output_details(), path)
        self._entry, self._points, self._spread = entry["index"], points["index"], spread and spread["index"]
        self.input_shape = (None, *map(int, entry["shape"][1:]))
        self.output_shape = (None, *map(int, points["shape"][1:]))
        self.card = read_metadata(path)

    def predict_on_batch(self, images):
        """Images (B, S, S, 3) RGB 0..255 -> unit points (B, N, 2) float32, one image after the other."""
        return self.read(images)[0]

    def read(self, images):
        """The same points, and beside them the spread of their heatmaps (B, N) float32, or None if it has none."""
        points = np.zeros((len(images), *self.output_shape[1:]), np.float32)
        spread = None if self._spread is None else np.zeros(points.shape[:2], np.float32)
        for i, image in enumerate(np.asarray(images, np.float32)):
            self._interpreter.set_tensor(self._entry, image[None])
            self._interpreter.invoke()
            points[i] = self._interpreter.get_tensor(self._points)[0]
            if spread is not None:
                spread[i] = self._interpreter.get_tensor(self._spread)[0]
        return points, spread


def _outputs(details, path):
    """Of the outputs of a file, that of the points and that of the spread or None. Their order and names differ from
    converter to converter; their shapes do not.

    Raises:
        CheckpointError: it has no points.
    """
    points = [output for output in details if len(output["shape"]) == 3 and output["shape"][-1] == 2]
    spread = [output for output in details if len(output["shape"]) == 2]
    if len(points) != 1 or len(spread) > 1:
        shapes = ", ".join(str(tuple(map(int, output["shape"]))) for output in details)
        raise CheckpointError(f"{path}: yields {shapes}, expected points (1, N, 2) and perhaps their spread (1, N)")
    return points[0], spread[0] if spread else None


def litert_function(path, threads):
    """A LiteRT file as a function of images (B, S, S, 3) float32 to their points (B, N, 2)."""
    return LiteRTModel(path, threads).predict_on_batch
