"""LiteRT files as readers. LiteRT is the runtime of phones."""

import numpy as np

from kdloss.errors import CheckpointError, ConfigError
from kdloss.files import read_input
from kdloss.inference.metadata import read_metadata
from kdloss.machine import without_messages


class LiteRTModel:
    """A LiteRT file as a reader, see `kdloss.inference.readers`. It needs neither Keras nor TensorFlow.

    Args:
        path: a file of `kdloss.deploy.litert.export_litert`.
        threads: of the runtime.

    Raises:
        CheckpointError: no such file, damaged, or a network with other outputs.
        ConfigError: LiteRT is not installed.
    """

    def __init__(self, path, threads=1):
        try:
            self._interpreter = open_litert(path, threads)
            (entry,) = self._interpreter.get_input_details()
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path}: no LiteRT file, or damaged ({error}): export it again") from error
        points, spread = _outputs(self._interpreter.get_output_details(), path)
        self._entry, self._points, self._spread = entry["index"], points["index"], spread and spread["index"]
        self.input_shape = (None, *map(int, entry["shape"][1:]))
        self.output_shape = (None, *map(int, points["shape"][1:]))
        self.card = read_metadata(path)

    def predict_on_batch(self, images):
        """Images (B, S, S, 3) RGB 0..255 -> unit points (B, N, 2) float32, one image after the other."""
        return self.read(images)[0]

    def read(self, images):
        """The same points, and the spread of their heatmaps (B, N) float32, or None without heatmaps."""
        points = np.zeros((len(images), *self.output_shape[1:]), np.float32)
        spread = None if self._spread is None else np.zeros(points.shape[:2], np.float32)
        for i, image in enumerate(np.asarray(images, np.float32)):
            self._interpreter.set_tensor(self._entry, image[None])
            self._interpreter.invoke()
            points[i] = self._interpreter.get_tensor(self._points)[0]
            if spread is not None:
                spread[i] = self._interpreter.get_tensor(self._spread)[0]
        return points, spread


def open_litert(path, threads):
    """LiteRT's interpreter of a file, ready to run.

    Raises `OSError`, `ValueError` or `RuntimeError` for a damaged file, and `ConfigError` without LiteRT.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise ConfigError("ai-edge-litert is not installed: pip install ai-edge-litert") from None
    # At every level of messages, LiteRT writes which delegate it uses.
    with without_messages():
        interpreter = Interpreter(model_content=read_input(path), num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter


def _outputs(details, path):
    """The output of the points, and that of the spread or None. Converters order and name outputs differently, so they
    are told apart by their shapes."""
    points = [output for output in details if len(output["shape"]) == 3 and output["shape"][-1] == 2]
    spread = [output for output in details if len(output["shape"]) == 2]
    if len(points) != 1 or len(spread) > 1:
        shapes = ", ".join(str(tuple(map(int, output["shape"]))) for output in details)
        raise CheckpointError(f"{path}: yields {shapes}, expected points (1, N, 2) and perhaps their spread (1, N)")
    return points[0], spread[0] if spread else None
