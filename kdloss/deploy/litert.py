"""LiteRT, the runtime of phones: writes networks as its files."""

import io
import re
import warnings
from contextlib import redirect_stderr, redirect_stdout

from kdloss.deploy.exported_files import attach_export, image_signature, prepare_export
from kdloss.errors import ConfigError
from kdloss.files import replacing
from kdloss.inference.metadata import IMAGE, POINTS, SPREAD
from kdloss.machine import without_messages

# Operations of the networks before their points; their weights and activations go into 8 bits.
_QUANTISED = (
    "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "ADD", "SUB", "MUL", "RELU", "LOGISTIC", "PAD",
    "CONCATENATION",
)  # fmt: skip


def export_litert(model, path, precision="fp32", representative=None, card=None):
    """Writes a Keras model as a LiteRT file for one image at a time. It uses LiteRT's built-in operations only.

    The file takes ``image``, float32 RGB 0..255 (1, S, S, 3). It yields ``points``, float32 unit coordinates (1, N, 2),
    and of a heatmap network ``spread``, float32 (1, N): see `kdloss.models.deployed`. This holds for every precision.

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        path: ends in ``.tflite``; the file appears whole or not at all.
        precision: ``fp32``; ``fp16``: weights are stored in 16 bits, and computed with in 32; ``int8``: weights (with a
            scale for each channel) and activations have 8 bits, except in the read-out: 8 bits over a crop would round
            a point to half a pixel, and the mass of a heatmap is even finer. So the read-out of a heatmap network
            computes in float32, and so do the pooling and the last layer of a regressor, whose weights have 8 bits.
        representative: for ``int8``, an iterable of batches of images (B, S, S, 3), RGB 0..255, like those that the
            network will see. They decide the scales of the activations; some hundred images are enough.
        card: of the checkpoint, to be stored in the file, see `kdloss.inference.metadata`; None: none.

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
        attach_export(work, card, network, "litert", precision)


def _converter_options(precision):
    """Attributes of TensorFlow's converter."""
    import tensorflow as tf

    spec = {"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]}
    if precision != "fp16":
        return {"target_spec": spec}
    return {"optimizations": [tf.lite.Optimize.DEFAULT], "target_spec": spec | {"supported_types": [tf.float16]}}


def _quantised(content, images):
    """A float32 LiteRT file in 8 bits, see `export_litert`; both as bytes."""
    try:
        from ai_edge_quantizer.qtyping import TFLOperationName as Operation
        from ai_edge_quantizer.quantizer import Quantizer
    except ImportError:
        raise ConfigError("precision int8: ai-edge-quantizer is not installed: pip install 'kdloss[litert]'") from None
    quantizer = Quantizer(content)
    before_readout = f"^(?!.*({'|'.join(_readout_patterns(content))})).*$"
    for name in _QUANTISED:
        quantizer.add_static_config(
            regex=before_readout, operation_name=Operation[name], activation_num_bits=8, weight_num_bits=8
        )
    quantizer.add_weight_only_config(regex=".*", operation_name=Operation.FULLY_CONNECTED, num_bits=8)
    # The quantizer draws progress bars, and warns of its memory and of channels whose weights are all zero.
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), without_messages():
        warnings.filterwarnings("ignore", "Warning: Enabling `experimental_preserve_all_tensors`", UserWarning)
        warnings.filterwarnings("ignore", "invalid value encountered in", RuntimeWarning)
        seen = quantizer.calibrate({"serving_default": [{IMAGE: image[None]} for image in images]}, num_threads=1)
        return bytes(quantizer.quantize(seen).quantized_model)


def _readout_patterns(content):
    """Patterns of the names of the read-out's tensors: the layer's name, or for the last ones those of the outputs."""
    from ai_edge_litert.interpreter import Interpreter

    outputs = Interpreter(model_content=content, num_threads=1).get_output_details()
    return [f"/{POINTS}", f"/{SPREAD}", *(re.escape(output["name"]) for output in outputs)]
