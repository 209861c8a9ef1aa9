"""The runtimes in which networks are measured.

Packages of networks are imported where they are used: what a process imports counts in its measured memory.
"""

import importlib
import importlib.util
from dataclasses import dataclass
from importlib.metadata import version
from typing import NamedTuple

from kdloss.errors import ConfigError


class _Format(NamedTuple):
    """Suffix of its files, modules that writing and running them needs, and modules that running them imports."""

    suffix: str
    needs: tuple
    imports: tuple


_FORMATS = {
    "keras": _Format(".keras", ("tensorflow",), ("tensorflow", "keras", "kdloss.models")),
    "litert": _Format(".tflite", ("ai_edge_litert",), ("ai_edge_litert.interpreter", "kdloss.inference.litert_reader")),
    "onnx": _Format(".onnx", ("onnxruntime", "onnx", "tf2onnx"), ("onnxruntime", "kdloss.inference.onnx_reader")),
}


def missing_package(form, precision):
    """The name on PyPI of the first package that is missing to write and run a format's files, or None."""
    needs = _FORMATS[form].needs + (("ai_edge_quantizer",) if (form, precision) == ("litert", "int8") else ())
    return next((name.replace("_", "-") for name in needs if importlib.util.find_spec(name) is None), None)


@dataclass(frozen=True)
class Runtime:
    """One way to run a network.

    Args:
        title: its name in tables.
        form: the format of its files: ``keras``, ``litert`` or ``onnx``.
        precision: of the weights: ``fp32``, ``fp16`` or ``int8``.
    """

    title: str
    form: str
    precision: str = "fp32"

    @property
    def suffix(self):
        """The suffix of its files."""
        return _FORMATS[self.form].suffix

    @property
    def batches(self):
        """Whether it computes several images at once. LiteRT runs one after the other."""
        return self.form != "litert"

    @property
    def version(self):
        """The runtime's package and its version, a dict with one entry."""
        name = _FORMATS[self.form].needs[0].replace("_", "-")
        return {name: version(name)}

    def absent(self):
        """Why it cannot run here, and how to change that; None if it can."""
        if (name := missing_package(self.form, self.precision)) is None:
            return None
        extra = "tensorflow" if self.form == "keras" else f"'.[{self.form}]', or leave it out of --runtime"
        return f"{name} is not installed: pip install {extra}"

    def check(self):
        """Raises `ConfigError` if it cannot run here."""
        if reason := self.absent():
            raise ConfigError(reason)

    def load(self):
        """Imports the runtime, but opens no network."""
        for name in _FORMATS[self.form].imports:
            importlib.import_module(name)

    def write(self, model, path, representative):
        """Writes the file of a Keras model; ``representative``: images for the scales of 8 bits, or None."""
        from kdloss.deploy.litert import export_litert
        from kdloss.deploy.onnx import export_onnx

        if self.form == "keras":
            model.save(path)
        else:
            export = export_litert if self.form == "litert" else export_onnx
            export(model, path, self.precision, representative)

    def read(self, path, threads):
        """Opens a file as a model with ``predict_on_batch``. TensorFlow sets its threads once in a process's life."""
        if self.form == "keras":
            return _read_keras(path, threads)
        if self.form == "litert":
            from kdloss.inference.litert_reader import LiteRTModel

            return LiteRTModel(path, threads)
        from kdloss.inference.onnx_reader import OnnxModel

        return OnnxModel(path, threads, device="cpu")


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


def _read_keras(path, threads):
    import tensorflow as tf

    # Before TensorFlow's first operation; setting the same numbers again is no error.
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    import keras

    import kdloss.models  # noqa: F401 - registers the project's own layers

    return keras.saving.load_model(path, compile=False, safe_mode=True)
