"""The runtimes that are measured, in a table: a new one is a new row.

Nothing here imports a network library before it is used, so that a process pays for its own runtime alone.
"""

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from kdloss.errors import ConfigError

PACKAGES = {
    "tensorflow": "tensorflow",
    "ai_edge_litert": "ai-edge-litert",
    "ai_edge_quantizer": "ai-edge-quantizer",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "tf2onnx": "tf2onnx",
}


@dataclass(frozen=True)
class Runtime:
    """One way to run a network.

    Args:
        title: what tables call it.
        imports: the modules that a process needs in order to run files.
        needs: the modules that have to be installed to write and to run files, the runtime's own first.
        install: what to type where one of them is absent.
        suffix: of the file that it runs.
        write: (Keras model, path, representative) writes that file; ``representative`` is that of
            `kdloss.deploy.litert.export_litert` where it decides what is computed, else None.
        read: (path, threads) -> the file as a model with ``input_shape``, ``output_shape`` and ``predict_on_batch``. On
            one thread or many, TensorFlow has that number once in a process's life.
        batches: whether it computes several images at once; else they run one after the other.
        whole_numbers: whether ``representative`` decides what it computes: that is so in 8 bits.
    """

    title: str
    imports: tuple
    needs: tuple
    install: str
    suffix: str
    write: Callable
    read: Callable
    batches: bool
    whole_numbers: bool = False

    def installed(self):
        """Whether all that it needs is there."""
        return not self._absent()

    def check(self):
        """What is installed, a dict of package -> version.

        Raises:
            ConfigError: there is none, or Keras' back end is not the one that writes the file.
        """
        if absent := self._absent():
            raise ConfigError(f"{PACKAGES[absent[0]]} is not installed: {self.install}")
        import keras

        # It exports, and the number of its threads can be set.
        if keras.backend.backend() != "tensorflow":
            raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()}: {self.title} needs tensorflow: unset it")
        return {PACKAGES[self.needs[0]]: version(PACKAGES[self.needs[0]])}

    def load(self):
        """Imports the runtime, and no network."""
        for name in self.imports:
            importlib.import_module(name)

    def _absent(self):
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


def _write_keras(model, path, representative):
    model.save(path)


def _read_keras(path, threads):
    import tensorflow as tf

    # Before TensorFlow's first operation; to set the same numbers again later is no error.
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    import keras

    import kdloss.models  # noqa: F401 - registers the project's own layers

    return keras.saving.load_model(path, compile=False, safe_mode=True)


def _write_litert(precision):
    def write(model, path, representative):
        from kdloss.deploy.litert import export_litert

        export_litert(model, path, precision, representative)

    return write


def _read_litert(path, threads):
    from kdloss.deploy.litert import LiteRTModel

    return LiteRTModel(path, threads)


def _write_onnx(precision):
    def write(model, path, representative):
        from kdloss.deploy.onnx import export_onnx

        export_onnx(model, path, precision, representative)

    return write


def _read_onnx(path, threads):
    from kdloss.deploy.onnx import OnnxModel

    return OnnxModel(path, threads, device="cpu")


_LITERT = {
    "imports": ("ai_edge_litert.interpreter", "kdloss.deploy.litert"),
    "install": "pip install '.[litert]', or leave it out of --runtime",
    "suffix": ".tflite",
    "read": _read_litert,
    "batches": False,
}
_ONNX = {
    "imports": ("onnxruntime", "kdloss.deploy.onnx"),
    "needs": ("onnxruntime", "onnx", "tf2onnx"),
    "install": "pip install '.[onnx]', or leave it out of --runtime",
    "suffix": ".onnx",
    "read": _read_onnx,
    "batches": True,
}
_QUANTISED = ("ai_edge_litert", "ai_edge_quantizer")

RUNTIMES = {
    "keras": Runtime(
        title="Keras",
        imports=("tensorflow", "keras", "kdloss.models"),
        needs=("tensorflow",),
        install="pip install tensorflow",
        suffix=".keras",
        write=_write_keras,
        read=_read_keras,
        batches=True,
    ),
    "litert": Runtime(title="LiteRT fp32", needs=("ai_edge_litert",), write=_write_litert("fp32"), **_LITERT),
    "litert-fp16": Runtime(title="LiteRT fp16", needs=("ai_edge_litert",), write=_write_litert("fp16"), **_LITERT),
    "litert-int8": Runtime(
        title="LiteRT int8", needs=_QUANTISED, write=_write_litert("int8"), whole_numbers=True, **_LITERT
    ),
    "onnx": Runtime(title="ONNX fp32", write=_write_onnx("fp32"), **_ONNX),
    "onnx-fp16": Runtime(title="ONNX fp16", write=_write_onnx("fp16"), **_ONNX),
    "onnx-int8": Runtime(title="ONNX int8", write=_write_onnx("int8"), whole_numbers=True, **_ONNX),
}
USUAL = ("keras", "litert", "onnx")  # 8 bits take a minute to write
SUFFIXES = (_LITERT["suffix"], _ONNX["suffix"])  # of exported files


def runtime_of(form, precision):
    """The name of the runtime that runs files of a format (``litert``, ``onnx``) and a precision of `kdloss.export`."""
    return form if precision == "fp32" else f"{form}-{precision}"


def usual_runtimes():
    """Those of `USUAL` that are installed, and one line for each that is not."""
    found = [name for name in USUAL if RUNTIMES[name].installed()]
    absent = [RUNTIMES[name] for name in USUAL if name not in found]
    return found, [f"left out: {runtime.title}, which is not installed: {runtime.install}" for runtime in absent]
