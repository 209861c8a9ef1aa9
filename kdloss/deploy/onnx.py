"""ONNX, the format between frameworks: writes networks as its files."""

import tempfile
import warnings
from pathlib import Path

import numpy as np

from kdloss.deploy.exported_files import attach_export, image_signature, prepare_export
from kdloss.deploy.half_precision import half
from kdloss.errors import ConfigError
from kdloss.files import replacing
from kdloss.inference.metadata import IMAGE, POINTS, SPREAD
from kdloss.inference.onnx_reader import INSTALL

_BATCH = "batch"  # the name of the batch dimension
# Operators of the networks before their points; their weights and activations go into 8 bits.
_QUANTISED = ("Conv", "ConvTranspose", "Add", "Mul", "Relu", "Clip", "Sigmoid", "Pad", "Concat")


def export_onnx(model, path, precision="fp32", representative=None, card=None):
    """Writes a Keras model as an ONNX file for batches of any size.

    Inputs, outputs and arguments are those of `kdloss.deploy.litert.export_litert`, with B images in place of one.
    Files in 8 bits are in the QDQ format.

    Args:
        path: ends in ``.onnx``; the file appears whole or not at all.
        model, precision, representative, card: see there.

    Raises:
        ConfigError: an unknown precision, ``int8`` without images, another back end than TensorFlow, or a package is
            not installed.
    """
    network, images = prepare_export(model, "ONNX", precision, representative)
    try:
        import onnx
        import tf2onnx  # noqa: F401 - Keras imports it where it is needed
    except ImportError as error:
        raise ConfigError(f"{error.name} is not installed: {INSTALL}") from None
    with replacing(path) as work:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network.export(work, format="onnx", input_signature=image_signature(network), verbose=False)
        file = onnx.load(work)
        # tf2onnx gives every unknown dimension a number of its own.
        for value in (*file.graph.input, *file.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = _BATCH
        if precision == "fp16":
            _store_kernels(file, _halved)
        elif precision == "int8":
            file = _quantised(file, images)
        onnx.checker.check_model(file, full_check=True)
        onnx.save(file, work)
        attach_export(work, card, network, "onnx", precision)


def _halved(tensor):
    """For `_store_kernels`: a kernel in float16 where `half` allows it, and its conversion to float32."""
    from onnx import TensorProto, helper, numpy_helper

    array = numpy_helper.to_array(tensor)
    rounded = half(array)
    if rounded.dtype == array.dtype:
        return None
    name, kernel = tensor.name, numpy_helper.from_array(rounded, f"{tensor.name}_fp16")
    return [kernel], helper.make_node("Cast", [kernel.name], [name], f"{name}_fp32", to=TensorProto.FLOAT)


def _quantised(model, images):
    """An ``onnx.ModelProto`` in 8 bits, see `export_onnx`, with scales of a list of images (S, S, 3) float32."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    inputs = ({IMAGE: image[None]} for image in images)

    class Crops(CalibrationDataReader):
        def get_next(self):
            return next(inputs, None)

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, folded, small = (str(Path(folder) / f"{name}.onnx") for name in ("plain", "folded", "small"))
        onnx.save(model, plain)
        # Folds normalisation into convolutions. The shapes are known well enough without symbols.
        quant_pre_process(plain, folded, skip_symbolic_shape=True)
        quantize_static(
            folded, small, Crops(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=list(_QUANTISED), nodes_to_exclude=_float_nodes(onnx.load(folded).graph),
        )  # fmt: skip
        found = onnx.load(small)
    # The optimiser declares every domain that it knows; other runtimes may not know them.
    used = {node.domain for node in found.graph.node}
    domains = [entry for entry in found.opset_import if entry.domain in used]
    del found.opset_import[:]
    found.opset_import.extend(domains)
    dense = {node.input[1]: node for node in found.graph.node if node.op_type in ("MatMul", "Gemm")}
    _store_kernels(found, lambda tensor: _quantised_dense(tensor, dense.get(tensor.name)))
    return found


def _float_nodes(graph):
    """Names of the nodes that stay in float32: the read-out, and sums and products with constants (the rest of a
    normalisation, or the bias of a last layer), which cost little and would only be rounded."""
    constants = {tensor.name for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if any(f"/{layer}" in node.name for layer in (POINTS, SPREAD))
        or (node.op_type in ("Add", "Mul") and constants.intersection(node.input))
    ]


def _quantised_dense(tensor, node):
    """For `_store_kernels`: the kernel of a dense layer's node in 8 bits, with a scale for each output."""
    from onnx import helper, numpy_helper

    if node is None:
        return None
    name, kernel = tensor.name, numpy_helper.to_array(tensor)
    transposed = any(field.name == "transB" and field.i for field in node.attribute)
    scale = np.abs(kernel).max(axis=1 if transposed else 0) / 127
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    rounded = np.rint(kernel / (scale[:, None] if transposed else scale)).astype(np.int8)
    arrays = {"int8": rounded, "scale": scale, "zero_point": np.zeros(len(scale), np.int8)}
    parts = [numpy_helper.from_array(array, f"{name}_{suffix}") for suffix, array in arrays.items()]
    inputs = [part.name for part in parts]
    return parts, helper.make_node("DequantizeLinear", inputs, [name], f"{name}_fp32", axis=0 if transposed else 1)


def _store_kernels(model, stored):
    """Replaces constants of an ``onnx.ModelProto``: ``stored(constant)`` returns a list of tensors, and the node that
    computes the constant from them; or None to keep the constant."""
    tensors, nodes = [], []
    for tensor in model.graph.initializer:
        parts, node = stored(tensor) or ([tensor], None)
        tensors += parts
        nodes += [node] if node else []
    nodes += model.graph.node
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(tensors)
    model.graph.node.extend(nodes)
