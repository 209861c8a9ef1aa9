"""Readers of files that anybody may have written, valid files for each, and what one input leads to."""

import contextlib
import functools
import gzip
import io
import json
import resource
import shutil
import tarfile
import traceback
import types
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import keras
import numpy as np
import onnx
from PIL import Image

from asm.__main__ import load_points, load_training_shapes
from asm.shape_model import ShapeModel
from data_prep.archives import unpack
from data_prep.check import check_prepared
from data_prep.cofw import read_cofw
from data_prep.folder import read_folder
from data_prep.prepare import print_progress
from data_prep.unlabelled import read_unlabelled
from data_prep.w300 import read_pts
from data_prep.wflw import ANNOTATIONS, IMAGES, LISTS, read_wflw
from kdloss.data.boxes import CSV_COLUMNS
from kdloss.data.geometry import BoxPolicy
from kdloss.data.images import read_image
from kdloss.data.prepared import NAME, PreparedDataset, write_manifest
from kdloss.data.schemes import SCHEMES
from kdloss.errors import USER_ERRORS, DataError
from kdloss.evaluation.evaluation import evaluate_predicted
from kdloss.evaluation.predictions import load_predictions, save_predictions
from kdloss.inference.box_calibration import read_calibration
from kdloss.inference.landmarker import checked_boxes
from kdloss.inference.metadata import read_metadata
from kdloss.inference.sources import GivenBoxes
from kdloss.models.card import CARD
from kdloss.models.checkpoint import read_card, require_scheme
from kdloss.models.published_student import load_published_student
from kdloss.models.torch_arrays import read_torch_arrays
from kdloss.training.state import load_state
from tests.models.torch_files import torch_file, torch_numbers, torch_tensor
from tests.random_faces import prepared_faces

MOST_SECONDS = 5
MOST_KILOBYTES = 1 << 20
ACCEPTED, REFUSED = "accepted", "refused"

_PIXELS = np.random.default_rng(1).integers(0, 256, (16, 20, 3), np.uint8)
IMAGE = np.zeros((20, 20, 3), np.uint8)
WFLW_LIST = f"{ANNOTATIONS}/{LISTS}/list_98pt_rect_attr_test.txt"
ARRAYS = ("points.npy", "to_image.npy", "faces.npy", "digests.npy")
_POINTS = np.random.default_rng(0).uniform(2, 18, (98, 2))
_SHAPES = _POINTS[:5] + np.random.default_rng(3).normal(0, 1, (20, 5, 2))


@dataclass(frozen=True)
class Reader:
    """Reads ``file``, a path within its folder, as a command does. ``begin`` writes the other files of the folder."""

    file: str
    begin: Callable[[Path], list[bytes]]  # returns the bytes of valid files
    read: Callable[[Path], object]  # raises one of `USER_ERRORS` where it refuses a file


def outcome(reader, folder, content):
    """Has a reader read one input: `ACCEPTED`, `REFUSED`, or a text that says what went wrong."""
    (folder / reader.file).write_bytes(content)
    before, result = resource.getrusage(resource.RUSAGE_SELF), ACCEPTED
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            reader.read(folder / reader.file)
    except USER_ERRORS as error:
        if not str(error).strip():
            return "refused without a word"
        result = REFUSED
    except Exception:  # whatever it is, it is a finding
        return traceback.format_exc()
    if seen:
        return f"warning at {seen[0].filename}:{seen[0].lineno}: {seen[0].message}"
    after = resource.getrusage(resource.RUSAGE_SELF)
    if after.ru_utime - before.ru_utime > MOST_SECONDS or after.ru_maxrss - before.ru_maxrss > MOST_KILOBYTES:
        return f"takes too much: before {before}, after {after}"
    return result


def in_file(write, *arguments, **options):
    """The bytes of a file that ``write(file, ...)`` writes."""
    file = io.BytesIO()
    write(file, *arguments, **options)
    return file.getvalue()


def zipped(members, packing=zipfile.ZIP_DEFLATED):
    """The bytes of a zip archive of name -> content."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, packing)
    return file.getvalue()


def hdf5(build):
    """The bytes of an HDF5 file that ``build(file)`` fills."""
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        build(content)
    return file.getvalue()


def _json(value):
    return json.dumps(value).encode()


def _entries(raw):
    for number in range(len(raw.entries)):
        raw.entries[number]


# raw data sets


def _picture(mode="RGB", form="PNG", **options):
    return in_file(Image.fromarray(_PIXELS).convert(mode).save, form, **options)


def _pts(count):
    lines = [f"{x + 1:.3f} {y + 1:.3f}" for x, y in _POINTS[:count]]
    return ["version: 1", f"n_points: {count}", "{", *lines, "}"]


def _begin_pts(folder):
    return ["\n".join(lines).encode() for lines in (_pts(68), _pts(5), _pts(68)[3:-1])]


def _begin_wflw(folder):
    (folder / ANNOTATIONS / LISTS).mkdir(parents=True)
    (folder / IMAGES / "a").mkdir(parents=True)
    (folder / IMAGES / "a" / "face.png").write_bytes(_picture())
    words = [f"{value:.4f}" for value in _POINTS.reshape(-1)] + [*"22", "18", "18", *"001001", "a/face.png"]
    return [(" ".join(words) + "\n").encode() * 2]


def _begin_coco(folder):
    (folder / "train").mkdir()
    for name in ("face.png", "train/face.png"):
        (folder / name).write_bytes(_picture())
    points = [value for x, y in _POINTS[:5] for value in (x, y, 2)]
    images = [{"id": 1, "file_name": "face.png"}, {"id": 2, "file_name": "train/face.png"}]
    faces = [{"id": i, "image_id": 1 + i % 2, "keypoints": points, "bbox": [1, 2, 15, 16]} for i in range(3)]
    return [_json({"images": images, "annotations": faces, "categories": [{"keypoints": list("abcde")}]})]


def _begin_labelme(folder):
    (folder / "face.png").write_bytes(_picture())
    shapes = [{"label": f"p {i}", "shape_type": "point", "points": [xy.tolist()]} for i, xy in enumerate(_POINTS[:5])]
    return [_json({"shapes": shapes, "imagePath": "face.png", "imageWidth": 20, "imageHeight": 16})]


def _begin_imglab(folder):
    (folder / "face.png").write_bytes(_picture())
    parts = "".join(f"<part name='{i}' x='{x:.0f}' y='{y:.0f}'/>" for i, (x, y) in enumerate(_POINTS[:5]))
    box = f"<box top='1' left='2' width='15' height='12'>{parts}</box>"
    return [f"<?xml version='1.0'?><dataset><images><image file='face.png'>{box}</image></images></dataset>".encode()]


def _begin_csv(folder):
    (folder / "face.png").write_bytes(_picture())
    columns = ",".join(f"x{i},y{i}" for i in range(5))
    return [f"image,{columns}\nface.png,{','.join(map(str, _POINTS[:5].ravel()))}\n".encode()]


def _begin_unlabelled(folder):
    (folder / "face.png").write_bytes(_picture())
    boxes = ["face.png,1,2,12,13", 'face.png,3,4,"5",6.5', "gone.png,1,2,3,4"]
    return ["\n".join([columns, *boxes]).encode() for columns in map(",".join, CSV_COLUMNS)]


def _begin_names(folder):
    (folder / "face.png").write_bytes(_picture())
    (folder / "face.pts").write_text("\n".join(_pts(5)))
    return [b"left_eye\nright_eye\nnose\nleft_mouth\nright_mouth\n"]


def _begin_cofw(folder):
    def build(mat):
        cells = mat.create_dataset("IsT", (1, 2), h5py.ref_dtype)
        cells[0, 0] = mat.create_dataset("#refs#/0", data=_PIXELS.transpose(2, 1, 0)).ref
        cells[0, 1] = mat.create_dataset("#refs#/1", data=_PIXELS[..., 0].T, chunks=True, compression="gzip").ref
        mat["phisT"] = np.stack([np.concatenate([_POINTS[:29].T.reshape(-1), np.zeros(29)])] * 2, axis=1)
        mat["bboxesT"] = np.array([[2.0, 2, 16, 16]] * 2).T

    return [hdf5(build)]


def _begin_pictures(folder):
    exif = Image.Exif()
    exif[0x0112] = 6
    modes = [_picture(mode) for mode in ("RGB", "P", "LA", "I;16")]
    jpegs = [_picture("RGB", "JPEG", exif=exif), _picture("L", "JPEG"), _picture("CMYK", "JPEG")]
    others = [_picture("RGB", form) for form in ("BMP", "WEBP", "PPM")]
    return [*modes, *jpegs, *others, _picture("RGB", "TIFF", compression="tiff_lzw")]


def _begin_archives(folder):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name in ("faces/1.png", "faces/1.pts"):
            member = tarfile.TarInfo(name)
            member.size = 30
            tar.addfile(member, io.BytesIO(b"x" * 30))
    packed = gzip.compress(plain.getvalue(), 1, mtime=0)
    return [plain.getvalue(), packed, zipped({"faces/1.png": b"x" * 30, "faces/1.pts": b"y" * 9})]


def _read_archive(path):
    try:
        unpack([path], path.parent / "out", most_bytes=1e8)
    finally:
        shutil.rmtree(path.parent / "out", ignore_errors=True)
        assert list(path.parent.iterdir()) == [path], "something is left behind, or outside"


# prepared folders, predictions and shapes


def write_prepared(folder):
    """A prepared folder of 12 faces with 5 points, below a folder."""
    return prepared_faces(folder / "folder", custom=5, test=4, train=8, size=16)


def _prepared(name):
    return Reader(f"folder/{name}", lambda at: [(write_prepared(at).path / name).read_bytes()], _read_prepared)


def _read_prepared(path):
    folder = path.parent
    with contextlib.suppress(Exception):  # renews its hashes where that is possible
        facts = json.loads((folder / NAME).read_text(encoding="utf-8"))
        write_manifest(folder, {key: value for key, value in facts.items() if key not in ("files", "manifest")})
    try:
        prepared = check_prepared(folder, processes=1)
    except DataError as error:
        if "hash is of other faces" not in str(error):
            raise
        prepared = PreparedDataset(folder)  # as trainings do
    for policy in (BoxPolicy(), BoxPolicy("dataset")):
        with contextlib.suppress(DataError):
            prepared.boxes(policy)
    with contextlib.suppress(DataError):
        prepared.indices("test")
    prepared.source_points, prepared.dataset, prepared.synthetic, prepared.faces[0]
    load_training_shapes(folder)


def _predictions(suffix):
    def begin(folder):
        prepared = write_prepared(folder)
        rows, path = prepared.indices("test"), folder / f"predictions{suffix}"
        points = prepared.source_points[rows]
        save_predictions(path, prepared.table["name"][rows], points, points)
        return [path.read_bytes()]

    def read(path):
        prepared = PreparedDataset(path.parent / "folder")
        points, _ = load_predictions(path, prepared, prepared.indices("test"), missing="fail")
        evaluate_predicted(prepared, points, missing="fail")

    return Reader(f"predictions{suffix}", begin, read)


def _begin_shape_model(folder):
    model = ShapeModel.fit(_SHAPES, modes=3, align=True, metadata={"scheme": "5", "skeleton": "[[0, 1], [2, 3]]"})
    model.save(folder / "shape.npz")
    return [(folder / "shape.npz").read_bytes()]


def _read_shape_model(path):
    model = ShapeModel.load(path)
    model.skeleton, model.explained, model.soften(model.mean[None].astype(np.float64))


# models, their cards and weights, boxes and calibrations


def card(**changes):
    """The JSON of a card, as bytes."""
    fields = {"arch": "mobilenetv2", "dataset": "300w", "scheme": SCHEMES["29"].to_json(), "image_size": 64}
    return _json(fields | {"box": "gt:1.25", "mean_shape": [[0.0, 0.1]] * 3} | changes)


def checkpoint(text, packing=zipfile.ZIP_DEFLATED):
    """A .keras file with that card, and no network."""
    return zipped({"metadata.json": b"{}", "model.weights.h5": b"x" * 200, CARD: text}, packing)


def _read_checkpoint(path):
    found = read_card(path)
    require_scheme(found, SCHEMES["29"], path.name)
    BoxPolicy.parse(found["box"])


def _begin_onnx(folder):
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    model = onnx.helper.make_model(graph)
    onnx.helper.set_model_props(model, {CARD: card().decode()})
    return [model.SerializeToString()]


STATE = {"v00000": np.zeros((3, 4), "f4"), "v00001": np.zeros(4, "f4"), "v00002": np.zeros((), "i4")}
PROGRESS = '{"epoch": 1, "best": 3.5, "rows": [{"epoch": 1}], "step": 2, "seconds": 1.5, "loss_sum": 0.2}'


def state(progress, **arrays):
    """The bytes of a training state; ``progress`` is its JSON."""
    return in_file(np.savez_compressed, progress=np.array(progress), **STATE | {"m00000": np.ones(2)} | arrays)


@functools.cache
def _variables():
    return [keras.Variable(array, dtype=str(array.dtype)) for array in STATE.values()]


def _begin_torch(folder):
    numbers = torch_numbers(range(6))
    return [torch_file(torch_tensor(*form), numbers) for form in (((2, 3), (3, 1)), ((3, 2), (1, 3)))]


def _begin_weights(folder):
    def build(weights):
        layer = weights.create_group("model_weights/Conv1")
        layer["kernel:0"] = np.zeros((3, 3, 3, 4), "f4")
        layer.create_dataset("bias:0", data=np.ones(40), chunks=True, compression="gzip")
        weights.attrs["names"] = np.array([b"Conv1", b"O_L"])

    return [hdf5(build)]


_CALIBRATION = {"dx": 0.1, "dy": 0.1, "scale": 1.1, "faces": 10, "scatter": [0.1, 0.1, 0.1]}
_CALIBRATION |= {"detector": "yunet", "detector_model_sha256": "0", "scheme": "68"}
_DETECTOR = types.SimpleNamespace(name="yunet", model_sha256="0")

_BOXES = {"face.png": [[1, 2, 10, 10], [3.5, 2, 8, 9]], "a/face 2.png": []}

READERS = {
    "pts": Reader("face.pts", _begin_pts, read_pts),
    "wflw": Reader(WFLW_LIST, _begin_wflw, lambda path: _entries(read_wflw(path.parents[2]))),
    "coco": Reader("faces.json", _begin_coco, lambda path: _entries(read_folder(path.parent, [path]))),
    "labelme": Reader("a.json", _begin_labelme, lambda path: _entries(read_folder(path.parent, [path]))),
    "imglab": Reader("a.xml", _begin_imglab, lambda path: _entries(read_folder(path.parent, [path]))),
    "CSV of points": Reader("a.csv", _begin_csv, lambda path: _entries(read_folder(path.parent, [path]))),
    "unlabelled": Reader(
        "a.csv", _begin_unlabelled, lambda path: _entries(read_unlabelled(path.parent, path, print_progress))
    ),
    "point names": Reader("points.txt", _begin_names, lambda path: _entries(read_folder(path.parent))),
    "cofw": Reader("COFW_test_color.mat", _begin_cofw, lambda path: _entries(read_cofw(path.parent))),
    "images": Reader("face.png", _begin_pictures, lambda path: (read_image(path.read_bytes()), read_image(path))),
    "archives": Reader("faces.archive", _begin_archives, _read_archive),
    **{f"prepared {name}": _prepared(name) for name in (NAME, "table.csv", *ARRAYS)},
    "predictions .npz": _predictions(".npz"),
    "predictions .csv": _predictions(".csv"),
    "shape model": Reader("shape.npz", _begin_shape_model, _read_shape_model),
    "shapes .npy": Reader(
        "a.npy", lambda _: [in_file(np.save, _SHAPES)], lambda path: ShapeModel.fit(load_points(path), variance=0.9)
    ),
    "checkpoint card": Reader("best.keras", lambda _: [checkpoint(card())], _read_checkpoint),
    "LiteRT card": Reader("a.tflite", lambda _: [bytes(4) + b"TFL3" + checkpoint(card())], read_metadata),
    "ONNX card": Reader("a.onnx", _begin_onnx, read_metadata),
    "training state": Reader("a.npz", lambda _: [state(PROGRESS)], lambda path: load_state(path, _variables())),
    "PyTorch arrays": Reader("a.pth", _begin_torch, lambda path: read_torch_arrays(path.read_bytes())),
    # Of the student that the paper's authors published: all else is refused.
    "HDF5 weights": Reader("a.h5", _begin_weights, load_published_student),
    "boxes": Reader(
        "a.json", lambda _: [_json(_BOXES)], lambda path: checked_boxes(GivenBoxes(path).of("face.png"), IMAGE)
    ),
    "calibration": Reader(
        "a.json", lambda _: [_json(_CALIBRATION)], lambda path: read_calibration(path, _DETECTOR, SCHEMES["68"])
    ),
}
