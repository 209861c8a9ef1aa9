"""The runtimes that are measured, in a table: a new one is a new row."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version

from kdloss.deploy.litert import export_litert, litert_function
from kdloss.errors import ConfigError


@dataclass(frozen=True)
class Runtime:
    """One way to run a network.

    Args:
        title: what tables call it.
        module, package: what is imported, and the distribution that brings it.
        install: what to type where it is absent.
        suffix: of the file that it runs.
        write: (Keras model, path) writes that file.
        function: (path, threads) -> a function of images (B, S, S, 3) float32 to points. Called in a process of its
            own, in which all runtimes have the same number of threads.
        batches: whether the function takes more than one image.
    """

    title: str
    module: str
    package: str
    install: str
    suffix: str
    write: Callable
    function: Callable
    batches: bool

    def check(self):
        """The version that is installed.

        Raises:
            ConfigError: there is none, or Keras' back end is not the one that writes the file.
        """
        if importlib.util.find_spec(self.module) is None:
            raise ConfigError(f"{self.package} is not installed: {self.install}")
        import keras

        # It exports, and the number of its threads can be set.
        if keras.backend.backend() != "tensorflow":
            raise ConfigError(f"KERAS_BACKEND={keras.backend.backend()}: {self.title} needs tensorflow: unset it")
        return version(self.package)


def _keras_function(path, threads):
    import tensorflow as tf

    # Before TensorFlow's first operation; to set the same numbers again later is no error.
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    import keras

    import kdloss.models  # noqa: F401 - registers the project's own layers

    return keras.saving.load_model(path, compile=False, safe_mode=True).predict_on_batch


RUNTIMES = {
    "keras": Runtime(
        "Keras",
        "tensorflow",
        "tensorflow",
        "pip install tensorflow",
        ".keras",
        write=lambda model, path: model.save(path),
        function=_keras_function,
        batches=True,
    ),
    "litert": Runtime(
        "LiteRT fp32",
        "ai_edge_litert",
        "ai-edge-litert",
        "pip install '.[litert]', or leave it out with --runtime keras",
        ".tflite",
        write=export_litert,
        function=litert_function,
        batches=False,
    ),
}
