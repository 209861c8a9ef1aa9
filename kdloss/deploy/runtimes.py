"""The runtimes that are measured, in a table. No network library is imported here before it is used."""

import importlib
import importlib.util
from dataclasses import dataclass
from importlib.metadata import version

from kdloss.errors import ConfigError

_NEEDS = {"keras": ("tensorflow",), "litert": ("ai_edge_litert",), "onnx": ("onnxruntime", "onnx", "tf2onnx")}
_IMPORTS = {
    "keras": ("tensorflow", "keras", "kdloss.models"),
    "litert": ("ai_edge_litert.interpreter", "kdloss.inference.litert_reader"),
    "onnx": ("onnxruntime", "kdloss.inference.onnx_reader"),
}
_SUFFIXES = {"keras": ".keras", "litert": ".tflite", "onnx": ".onnx"}


@dataclass(frozen=True)
class Runtime:
    """One way to run a network: what tables call it, the format of its file (as in `_NEEDS`), and the precision."""

    title: str
    form: str
    precision: str = "fp32"

    @property
    def suffix(self):
        """Of its file."""
        return _SUFFIXES[self.form]

    @property
    def batches(self):
        """Whether it computes several images at once; else they run one after the other."""
        return self.form != "litert"

    @property
    def version(self):
        """The runtime's package and its version, a dict with one entry."""
        name = _NEEDS[self.form][0].replace("_", "-")
        return {name: version(name)}

    def absent(self):
        """Why it cannot run here, or None: the first package that it needs, and how to install it."""
        needs = _NEEDS[self.form] + (("ai_edge_quantizer",) if self is RUNTIMES["litert-int8"] else ())
        extra = "tensorflow" if self.form == "keras" else f"'.[{self.form}]', or leave it out of --runtime"
        missing = (name.replace("_", "-") for name in needs if importlib.util.find_spec(name) is None)
        return next((f"{name} is not installed: pip install {extra}" for name in missing), None)

    def check(self):
        """Raises `ConfigError` if something that it needs is not installed."""
        if absent := self.absent():
            raise ConfigError(absent)

    def load(self):
        """Imports the runtime, and no network."""
        for name in _IMPORTS[self.form]:
            importlib.import_module(name)

    def write(self, model, path, representative):
        """Writes the file of a Keras model; ``representative``: images for the scales of 8 bits, or None."""
        from kdloss.deploy.litert import export_litert
        from kdloss.deploy.onnx import export_onnx

        if self.form == "keras":
            model.save(path)
        else:
            export = {"litert": export_litert, "onnx": export_onnx}[self.form]
            export(model, path, self.precision, representative)

    def read(self, path, threads):
        """The file as a model with ``predict_on_batch``; TensorFlow takes its threads once in a process's life."""
        if self.form == "keras":
            return _read_keras(path, threads)
        if self.form == "litert":
            from kdloss.inference.litert_reader import LiteRTModel

            return LiteRTModel(path, threads)
        from kdloss.inference.onnx_reader import OnnxModel

        return OnnxModel(path, threads, device="cpu")


def _read_keras(path, threads):
    import tensorflow as tf

    # Before TensorFlow's first operation; to set the same numbers again later is no error.
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    import keras

    import kdloss.models  # noqa: F401 - registers the project's own layers

    return keras.saving.load_model(path, compile=False, safe_mode=True)


RUNTIMES = {
    "keras": Runtime("Keras", "keras"),
    "litert": Runtime("LiteRT fp32", "litert"),
    "litert-fp16": Runtime("LiteRT fp16", "litert", "fp16"),
    "litert-int8": Runtime("LiteRT int8", "litert", "int8"),
    "onnx": Runtime("ONNX fp32", "onnx"),
    "onnx-fp16": Runtime("ONNX fp16", "onnx", "fp16"),
    "onnx-int8": Runtime("ONNX int8", "onnx", "int8"),
}
USUAL = ("keras", "litert", "onnx")  # 8 bits take a minute to write
