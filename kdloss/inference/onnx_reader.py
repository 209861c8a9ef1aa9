"""ONNX files as readers. ONNX is the format between frameworks."""

import numpy as np

from kdloss.errors import CheckpointError, ConfigError
from kdloss.files import read_input
from kdloss.inference.metadata import IMAGE, POINTS, REMEDY, SPREAD
from kdloss.models.card import CARD, parsed_card

INSTALL = "pip install 'kdloss[onnx]'"
_PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}


class OnnxModel:
    """An ONNX file as a reader, see `kdloss.inference.readers`.

    Args:
        path: a file of `kdloss.deploy.onnx.export_onnx`.
        threads: of the runtime.
        device: ``"cpu"`` or ``"gpu"``.

    Raises:
        CheckpointError: no such file, damaged, or a network with other inputs and outputs.
        ConfigError: ONNX Runtime is not installed, or has no such device.
    """

    def __init__(self, path, threads=1, device="cpu"):
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as errors
        except ImportError:
            raise ConfigError(f"onnxruntime is not installed: {INSTALL}") from None
        provider = _provider(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors only, which are raised too
        # Without this, processors without 8-bit dot products add up in 16 bits, which overflow. It costs int8 files a
        # fifth of their time, on other processors too.
        options.add_session_config_entry("session.x64quantprecision", "1")
        refusals = (
            OSError, errors.Fail, errors.InvalidArgument, errors.InvalidGraph, errors.InvalidProtobuf,
            errors.NotImplemented, errors.RuntimeException,
        )  # fmt: skip
        try:
            self._session = onnxruntime.InferenceSession(read_input(path), options, [provider])
        except refusals as error:
            raise CheckpointError(f"{path}: no ONNX file, or damaged ({error}): export it again") from error
        if provider not in self._session.get_providers():
            raise ConfigError(f"device {device}: onnxruntime could not start it: see that CUDA and cuDNN are installed")
        shapes = {value.name: value.shape for value in (*self._session.get_inputs(), *self._session.get_outputs())}
        if IMAGE not in shapes or POINTS not in shapes:
            raise CheckpointError(
                f"{path}: takes and yields {', '.join(shapes)}, expected {IMAGE} and {POINTS}: give a file of "
                "python -m kdloss.export"
            )
        self._outputs = [name for name in (POINTS, SPREAD) if name in shapes]
        self.input_shape = (None, *shapes[IMAGE][1:])
        self.output_shape = (None, *shapes[POINTS][1:])
        text = self._session.get_modelmeta().custom_metadata_map.get(CARD)
        self.card = None if text is None else parsed_card(text, path, REMEDY)

    def predict_on_batch(self, images):
        """Images (B, S, S, 3) RGB 0..255 -> unit points (B, N, 2) float32."""
        return self.read(images)[0]

    def read(self, images):
        """The same points, and the spread of their heatmaps (B, N) float32, or None without heatmaps."""
        found = self._session.run(self._outputs, {IMAGE: np.asarray(images, np.float32)})
        return found[0], found[1] if len(found) > 1 else None


def _provider(device, available):
    if device not in _PROVIDERS:
        raise ConfigError(f"device {device}: expected one of {', '.join(_PROVIDERS)}")
    provider = _PROVIDERS[device]
    if provider not in available:
        raise ConfigError(
            f"device {device}: this onnxruntime has no {provider}: pip install onnxruntime-gpu, or use the cpu"
        )
    return provider
