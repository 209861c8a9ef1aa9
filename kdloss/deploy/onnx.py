"""ONNX, the format between frameworks: networks as its files."""

import tempfile
import warnings
from pathlib import Path

import numpy as np

from kdloss.deploy.exported_files import attach, exported, image_signature, prepare_export
from kdloss.deploy.half_precision import half
from kdloss.errors import ConfigError
from kdloss.files import replacing
from kdloss.inference.metadata import IMAGE, POINTS, SPREAD
from kdloss.inference.onnx_reader import INSTALL

_BATCH = "batch"  # the symbolic size of the batch dimension


def export_onnx(model, path, precision="fp32", representative=None, card=None):
    """Writes a Keras model as an ONNX file for batches of any size.

    The file takes ``image``, float32 RGB 0..255 (B, S, S, 3), and yields ``points``, float32 unit coordinates
    (B, N, 2), and of a heatmap network ``spread``, float32 (B, N), whatever is inside: see `kdloss.models.deployed`.

    Args:
        model: images (B, S, S, 3) -> (B, N, 2) unit points.
        path: ends in ``.onnx``; appears whole or not at all.
        precision: ``fp32``; ``fp16``: kernels are stored in 16 bits and computed with in 32; ``int8``: kernels (each
            channel with its scale) and activations are whole numbers of 8 bits (QDQ), up to what coordinates are made
            of, see `kdloss.deploy.litert.export_litert`.
        representative: of ``int8``, see `kdloss.deploy.litert.export_litert`.
        card: of the checkpoint: the file then holds it, see `kdloss.inference.metadata`.

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
        _name_batch(file.graph)
        if precision == "fp16":
            file = halved(file)
        elif precision == "int8":
            file = quantised(file, images)
        onnx.checker.check_model(file, full_check=True)
        onnx.save(file, work)
        if card is not None:
            attach(work, exported(card, network, "onnx", precision))


def _name_batch(graph):
    """tf2onnx numbers the unknown dimensions, each apart."""
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = _BATCH


# What networks here are made of before their points.
_WHOLE_NUMBERS = ("Conv", "ConvTranspose", "Add", "Mul", "Relu", "Clip", "Sigmoid", "Pad", "Concat")


def halved(model):
    """An ``onnx.ModelProto``, which is changed, with kernels stored in float16 where `half` allows it, and a conversion
    to float32 behind each."""
    from onnx import TensorProto, helper, numpy_helper

    def stored(tensor):
        array = numpy_helper.to_array(tensor)
        rounded = half(array)
        if rounded.dtype == array.dtype:
            return None
        name, kernel = tensor.name, numpy_helper.from_array(rounded, f"{tensor.name}_fp16")
        return [kernel], helper.make_node("Cast", [kernel.name], [name], f"{name}_fp32", to=TensorProto.FLOAT)

    return _store(model, stored)


def quantised(model, images):
    """An ONNX model in whole numbers of 8 bits, as `kdloss.deploy.onnx.export_onnx` says; another ``onnx.ModelProto``.

    Args:
        model: ``onnx.ModelProto``.
        images: a list of (S, S, 3) float32.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Crops(CalibrationDataReader):
        def __init__(self):
            self.left = iter(images)

        def get_next(self):
            image = next(self.left, None)
            return None if image is None else {IMAGE: image[None]}

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, whole, small = (str(Path(folder) / f"{name}.onnx") for name in ("plain", "whole", "small"))
        onnx.save(model, plain)
        # Folds normalisation into convolutions. What it knows of shapes is enough without symbols.
        quant_pre_process(plain, whole, skip_symbolic_shape=True)
        quantize_static(
            whole, small, Crops(), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QInt8, weight_type=QuantType.QInt8,
            op_types_to_quantize=list(_WHOLE_NUMBERS), nodes_to_exclude=_in_float32(onnx.load(whole).graph),
        )  # fmt: skip
        found = onnx.load(small)
    # The optimiser names every domain that it knows; other runtimes may not know them.
    used = {node.domain for node in found.graph.node}
    domains = [entry for entry in found.opset_import if entry.domain in used]
    del found.opset_import[:]
    found.opset_import.extend(domains)
    return _store(found, _last_layers(found.graph))


def _in_float32(graph):
    """Names of the nodes of a read-out, and of sums and products with constants: what is left of normalisation, and the
    bias of a last layer. Those cost little, and 8 bits more would only round."""
    constants = {tensor.name for tensor in graph.initializer}
    return [
        node.name
        for node in graph.node
        if any(f"/{layer}" in node.name for layer in (POINTS, SPREAD))
        or (node.op_type in ("Add", "Mul") and constants.intersection(node.input))
    ]


def _last_layers(graph):
    """Stores the kernels (inputs, outputs) of dense layers, each output with a scale of its own; see `_store`."""
    from onnx import helper, numpy_helper

    kernels = {node.input[1]: node for node in graph.node if node.op_type in ("MatMul", "Gemm")}

    def stored(tensor):
        if tensor.name not in kernels:
            return None
        name, kernel = tensor.name, numpy_helper.to_array(tensor)
        turned = any(field.name == "transB" and field.i for field in kernels[name].attribute)
        scale = np.abs(kernel).max(axis=1 if turned else 0) / 127
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        whole = np.rint(kernel / (scale[:, None] if turned else scale)).astype(np.int8)
        of_parts = {"int8": whole, "scale": scale, "zero_point": np.zeros(len(scale), np.int8)}
        parts = [numpy_helper.from_array(part, f"{name}_{suffix}") for suffix, part in of_parts.items()]
        inputs = [part.name for part in parts]
        return parts, helper.make_node("DequantizeLinear", inputs, [name], f"{name}_fp32", axis=0 if turned else 1)

    return stored


def _store(model, stored):
    """Puts other tensors, and a node that makes the old one of them, in the place of a model's constants.

    Args:
        model: ``onnx.ModelProto``; it is changed and returned.
        stored: (constant) -> (list of tensors, node), or None to leave it.
    """
    tensors, nodes = [], []
    for tensor in model.graph.initializer:
        parts, node = stored(tensor) or ([tensor], None)
        tensors += parts
        nodes += [node] if node else []
    nodes += model.graph.node
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(tensors)
    model.graph.node.extend(nodes)
    return model
