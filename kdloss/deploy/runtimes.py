"""The runtimes in which networks are measured.

TensorFlow and ONNX Runtime are imported where they are used: what a process imports counts in its measured memory.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from importlib.metadata import version

from kdloss.inference.litert_reader import LiteRTModel
from kdloss.inference.onnx_reader import OnnxModel

SUFFIXES = {"keras": ".keras", "litert": ".tflite", "onnx": ".onnx"}
# Format -> the packages that write and run its files, and the modules that running them imports.
_NEEDS = {"keras": ("tensorflow",), "litert": ("ai_edge_litert",), "onnx": ("onnxruntime", "onnx", "tf2onnx")}
_IMPORTS = {
    "keras": ("tensorflow", "keras", "kdloss.models"),
    "litert": ("ai_edge_litert.interpreter",),
    "onnx": ("onnxruntime",),
}


@dataclass(frozen=True)
class Runtime:
    """One way to run a network."""

    title: str  # in tables
    form: str  # the format of its files, a key of `SUFFIXES`
    precision: str = "fp32"  # of the weights; or fp16, int8

    @property
    def version(self):
        """The runtime's package and its version, a dict with one entry."""
        name = _NEEDS[self.form][0].replace("_", "-")
        return {name: version(name)}

    def load(self):
        """Imports the runtime, but opens no network."""
        for name in _IMPORTS[self.form]:
            importlib.import_module(name)

    def read(self, path, threads):
        """Opens a file as a model with ``predict_on_batch``. TensorFlow sets its threads once in a process's life."""
        if self.form == "litert":
            return LiteRTModel(path, threads)
        return OnnxModel(path, threads, device="cpu") if self.form == "onnx" else _read_keras(path, threads)


RUNTIMES = {
    "keras": Runtime("Keras", "keras"),
    "litert": Runtime("LiteRT fp32", "litert"),
    "litert-fp16": Runtime("LiteRT fp16", "litert", "fp16"),
    "litert-int8": Runtime("LiteRT int8", "litert", "int8"),
    "onnx": Runtime("ONNX fp32", "onnx"),
    "onnx-fp16": Runtime("ONNX fp16", "onnx", "fp16"),
    "onnx-int8": Runtime("ONNX int8", "onnx", "int8"),
}
USUAL = ("keras", "litert", "onnx")  # files in 8 bits take a minute to write


def not_installed(form, precision):
    """What is missing to write and run the files of a format and how to install it; None if nothing is."""
    needs = _NEEDS.get(form, ()) + (("ai_edge_quantizer",) if (form, precision) == ("litert", "int8") else ())
    missing = (name.replace("_", "-") for name in needs if importlib.util.find_spec(name) is None)
    how = "tensorflow" if form == "keras" else f"'kdloss[{form}]'"
    return next((f"{name} is not installed: pip install {how}" for name in missing), None)


def _read_keras(path, threads):
    import tensorflow as tf

    # Before TensorFlow's first operation; setting the same numbers again is no error.
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    return load_keras(path)


def load_keras(path):
    """The network of a ``.keras`` file, as Keras itself loads it."""
    import keras

    import kdloss.models.heatmap_networks  # noqa: F401 - registers the layers of the project

    return keras.saving.load_model(path, compile=False, safe_mode=True)
