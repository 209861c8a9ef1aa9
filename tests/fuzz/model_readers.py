"""Readers of models, their cards and weights, and of boxes and calibrations."""

import contextlib
import functools
import io
import json
import types

import h5py
import keras
import numpy as np
import onnx
from hypothesis import strategies as st

from kdloss.cards import CARD
from kdloss.deploy.metadata import read_metadata
from kdloss.detector_calibration import read_calibration
from kdloss.geometry import BoxPolicy
from kdloss.given_boxes import GivenBoxes, checked_boxes
from kdloss.models.published_student import load_published_student
from kdloss.models.torch_arrays import read_torch_arrays
from kdloss.schemes import SCHEMES
from kdloss.training.checkpoint import load_state, read_card, require_scheme
from tests.fuzz import structures
from tests.fuzz.reader import Reader
from tests.fuzz.structures import JSON, TEXTS, with_odd_values
from tests.models.torch_files import torch_file, torch_numbers, torch_tensor

_FACES, _POINTS = 12, 5
_SHAPE = np.array([[6.0, 6], [14, 6], [10, 10], [7, 14], [13, 14]])


# models


def _card():
    return {
        "arch": "mobilenetv2",
        "dataset": "300w",
        "scheme": SCHEMES["29"].to_json(),
        "image_size": 64,
        "box": "gt:1.25",
        "mean_shape": [[0.0, 0.1]] * 3,
    }


def _keras(text):
    return structures.zipped([("metadata.json", b"{}"), ("model.weights.h5", b"x" * 200), (CARD, text)])


def _begin_checkpoint(folder):
    return [_keras(structures.to_json(_card()))]


_CARDS = st.one_of(with_odd_values(_card()), JSON).map(structures.to_json)


def _read_checkpoint(folder):
    card = read_card(folder / "best.keras")
    require_scheme(card, SCHEMES["29"], "best.keras")
    BoxPolicy.parse(card["box"])


def _begin_litert(folder):
    return [bytes(4) + b"TFL3" + bytes(200) + _keras(structures.to_json(_card()))]


def _read_litert(folder):
    read_metadata(folder / "model.tflite")


def _onnx(text):
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {CARD: text})
    return model.SerializeToString()


def _begin_onnx(folder):
    return [_onnx(json.dumps(_card()))]


def _read_onnx(folder):
    read_metadata(folder / "model.onnx")


_STATE = {
    "v00000": np.zeros((3, 4), "f4"),
    "v00001": np.zeros(4, "f4"),
    "v00002": np.zeros((), "i4"),
    "m00000": np.ones(2),
}
_PROGRESS = {"epoch": 1, "best": 3.5, "rows": [{"epoch": 1, "loss": 0.1}], "step": 2, "seconds": 1.5, "loss_sum": 0.2}


@functools.lru_cache(1)
def _variables():
    return [keras.Variable(_STATE[name], dtype=str(_STATE[name].dtype)) for name in sorted(_STATE) if name[0] == "v"]


def _begin_state(folder):
    file = io.BytesIO()
    np.savez(file, progress=np.array(json.dumps(_PROGRESS)), **_STATE)
    return [file.getvalue()]


@st.composite
def _structured_state(draw):
    progress = draw(with_odd_values(_PROGRESS))
    text = draw(st.one_of(st.just(json.dumps(progress)), TEXTS)).replace("\0", "")
    return draw(structures.odd_npz({"progress": np.array(structures.encodable(text) or "{}"), **_STATE}))


def _read_state(folder):
    load_state(folder / "state.npz", _variables())


def _begin_torch(folder):
    numbers = torch_numbers(range(6))
    return [torch_file(torch_tensor((2, 3), (3, 1)), numbers), torch_file(torch_tensor((3, 2), (1, 3)), numbers)]


_OPCODES = st.sampled_from([bytes([code]) for code in b"(.0K]})tqhRQcbNXsuae\x80\x85\x86\x88J\x8a"])


def _read_torch(folder):
    read_torch_arrays((folder / "weights.pth").read_bytes())


def _begin_weights(folder):
    contents = []
    for options in ({}, {"libver": "latest"}):
        file = io.BytesIO()
        with h5py.File(file, "w", **options) as weights:
            layer = weights.create_group("model_weights/Conv1")
            layer["kernel:0"] = np.zeros((3, 3, 3, 4), "f4")
            layer.create_dataset("bias:0", data=np.ones(40), chunks=True, compression="gzip")
            weights.attrs["names"] = np.array([b"Conv1", b"O_L"])
        contents.append(file.getvalue())
    return contents


@st.composite
def _structured_weights(draw):
    file = io.BytesIO()
    with h5py.File(file, "w") as weights:
        for name in draw(
            st.lists(st.sampled_from(("a", "O_L/kernel:0", "model_weights/b", "model_weights")), unique=True)
        ):
            kind = draw(st.integers(0, 4))
            with contextlib.suppress(Exception):  # of names that are taken, whatever h5py makes of them
                if kind == 0:
                    weights[name] = h5py.SoftLink("/a")
                elif kind == 1:
                    weights[name] = h5py.ExternalLink("/etc/passwd", "/")
                elif kind == 2:
                    weights.create_dataset(name, (4,), "u1", external=[("/etc/passwd", 0, 4)])
                else:
                    array = draw(structures.odd_arrays())
                    weights[name] = array if array.dtype.kind in "fiub" else array.shape
    return file.getvalue()


def _read_weights(folder):
    # Without the layer by which it knows its own, no network is built.
    load_published_student(folder / "weights.h5")


# boxes and calibrations


def _boxes():
    return {"face.png": [[1, 2, 10, 10], [3.5, 2, 8, 9]], "a/face 2.png": []}


def _begin_boxes(folder):
    return [structures.to_json(_boxes())]


def _read_boxes(folder):
    boxes = GivenBoxes(folder / "boxes.json").of("face.png")
    checked_boxes(boxes, np.zeros((20, 20, 3), np.uint8))


_CALIBRATION = {"dx": 0.1, "dy": 0.1, "scale": 1.1, "faces": 10, "scatter": [0.1, 0.1, 0.1]}
_CALIBRATION |= {"detector": "yunet", "detector_model_sha256": "0", "scheme": "68"}


def _begin_calibration(folder):
    return [structures.to_json(_CALIBRATION)]


def _read_calibration(folder):
    read_calibration(folder / "calibration.json", _DETECTOR, SCHEMES["68"])


_DETECTOR = types.SimpleNamespace(name="yunet", model_sha256="0")

MODEL_READERS = (
    Reader("checkpoint card", "best.keras", _begin_checkpoint, _read_checkpoint, _CARDS.map(_keras), 1.5),
    Reader(
        "LiteRT card",
        "model.tflite",
        _begin_litert,
        _read_litert,
        _CARDS.map(lambda text: b"TFL3" + _keras(text)),
        0.7,
    ),
    Reader("ONNX card", "model.onnx", _begin_onnx, _read_onnx, _CARDS.map(lambda text: _onnx(text)), 0.5),
    Reader("training state", "state.npz", _begin_state, _read_state, _structured_state()),
    Reader(
        "PyTorch arrays", "weights.pth", _begin_torch, _read_torch, st.lists(_OPCODES, max_size=40).map(b"".join), 1.5
    ),
    Reader("HDF5 weights", "weights.h5", _begin_weights, _read_weights, _structured_weights()),
    Reader("boxes", "boxes.json", _begin_boxes, _read_boxes, with_odd_values(_boxes()).map(structures.to_json), 2),
    Reader(
        "calibration",
        "calibration.json",
        _begin_calibration,
        _read_calibration,
        with_odd_values(_CALIBRATION).map(structures.to_json),
        1.5,
    ),
)
