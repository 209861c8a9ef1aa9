"""LiteRT, the runtime of phones: networks as its files."""

import io
import re
import warnings
from contextlib import redirect_stderr, redirect_stdout

from kdloss.deploy.exported_files import attach, exported, image_signature, prepare_export
from kdloss.errors import ConfigError
from kdloss.files import replacing
from kdloss.inference.metadata import IMAGE, POINTS, SPREAD
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
