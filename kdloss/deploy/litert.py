"""LiteRT, the runtime of phones: networks as its files, and such files run in a network's place."""

import io
import warnings
from contextlib import redirect_stderr, redirect_stdout

import numpy as np

from asm.atomic import replacing
from kdloss.errors import CheckpointError, ConfigError

PRECISIONS = ("fp32", "fp16", "int8")
OUTPUTS = "points"  # the layer that makes points of what the network says: it stays in float32 throughout


def export_litert(model, path, precision="fp32", representative=None):
    """Writes a Keras model as a LiteRT file for one image at a time, of LiteRT's own operations alone.

    The file takes float32 RGB 0..255 (1, S, S, 3) and yields float32 unit points (1, N, 2), whatever is inside.

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

    Raises:
        ConfigError: an unknown precision, ``int8`` without images or without ai-edge-quantizer, or another back end
            than TensorFlow.
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()}: export to LiteRT needs tensorflow: unset it")
    if precision not in PRECISIONS:
        raise ConfigError(f"precision {precision}: expected one of {', '.join(PRECISIONS)}")
    # One image at a time, as the file takes them.
    images = [image[None].astype(np.float32) for batch in representative or () for image in np.asarray(batch)]
    if precision == "int8" and not images:
        raise ConfigError("precision int8: found no representative images, expected some hundred training crops")
    image = keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype="float32", name=_INPUT)
    with replacing(path) as work:
        model.export(
            str(work), format="litert", input_signature=[image], verbose=False, **_converter_options(precision)
        )
        if precision == "int8":
            work.write_bytes(_quantised(work.read_bytes(), images))


_INPUT = "image"


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
    for name in _WHOLE_NUMBERS:
        quantizer.add_static_config(
            regex=f"^(?!.*{OUTPUTS}).*$", operation_name=Operation[name], activation_num_bits=8, weight_num_bits=8
        )
    quantizer.add_weight_only_config(regex=".*", operation_name=Operation.FULLY_CONNECTED, num_bits=8)
    # It draws progress bars, and warns of the memory that it takes and of channels whose weights are all zero.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.filterwarnings("ignore", "Warning: Enabling `experimental_preserve_all_tensors`", UserWarning)
        warnings.filterwarnings("ignore", "invalid value encountered in", RuntimeWarning)
        seen = quantizer.calibrate({"serving_default": [{_INPUT: image} for image in images]}, num_threads=1)
        return bytes(quantizer.quantize(seen).quantized_model)


# What networks here are made of before their points.
_WHOLE_NUMBERS = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "ADD", "SUB", "MUL", "RELU", "LOGISTIC", "PAD",
    "CONCATENATION",
)  # fmt: skip


class LiteRTModel:
    """A LiteRT file in the place of a Keras model, for `kdloss.prediction`.

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
            self._interpreter = Interpreter(str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path}: no LiteRT file, or damaged ({error}): export it again") from error
        (entry,), (result,) = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._entry, self._result = entry["index"], result["index"]
        self.input_shape = (None, *map(int, entry["shape"][1:]))
        self.output_shape = (None, *map(int, result["shape"][1:]))

    def predict_on_batch(self, images):
        """Images (B, S, S, 3) RGB 0..255 -> unit points (B, N, 2) float32, one image after the other."""
        points = [self._predict(image) for image in np.asarray(images, np.float32)]
        return np.concatenate(points) if points else np.zeros((0, *self.output_shape[1:]), np.float32)

    def _predict(self, image):
        self._interpreter.set_tensor(self._entry, image[None])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._result)


def litert_function(path, threads):
    """A LiteRT file as a function of images (B, S, S, 3) float32 to their points (B, N, 2)."""
    return LiteRTModel(path, threads).predict_on_batch
