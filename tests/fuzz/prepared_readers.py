"""Readers of prepared folders, predictions, shape models and arrays of shapes."""

import contextlib
import csv
import functools
import io
import json

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from asm.__main__ import load_points, load_training_shapes
from asm.shape_model import ShapeModel
from data_prep.check import check_prepared
from data_prep.prepare import prepare
from kdloss.errors import DataError
from kdloss.evaluation.evaluation import evaluate_predicted
from kdloss.evaluation.predictions import load_predictions
from kdloss.geometry import BoxPolicy
from kdloss.manifest import NAME, write_manifest
from kdloss.prepared import PreparedDataset
from tests.fuzz import structures
from tests.fuzz.reader import Reader
from tests.fuzz.structures import NUMBERS, TEXTS, with_odd_values

_FACES, _POINTS = 12, 5
_SHAPE = np.array([[6.0, 6], [14, 6], [10, 10], [7, 14], [13, 14]])


# prepared folders


def write_prepared_faces(folder):
    """A prepared folder of 12 faces with 5 points."""
    raw, rng = folder.with_name(f"{folder.name}-raw"), np.random.default_rng(0)
    for i in range(_FACES):
        path = raw / ("test" if i < 4 else "train") / f"face{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(path)
        lines = [f"{x + 1:.3f} {y + 1:.3f}" for x, y in _SHAPE + rng.normal(0, 0.5, _SHAPE.shape)]
        path.with_suffix(".pts").write_text("\n".join(lines))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        prepare("folder", raw, folder, size=16, processes=1)
    return PreparedDataset(folder)


def _begin_prepared(name, folder):
    write_prepared_faces(folder / "prepared")
    return [(folder / "prepared" / name).read_bytes()]


def _read_prepared(folder):
    folder = folder / "prepared"
    with contextlib.suppress(Exception):  # what cannot be sealed is read as it is
        facts = json.loads((folder / NAME).read_text(encoding="utf-8"))
        write_manifest(folder, {key: value for key, value in facts.items() if key not in ("files", "manifest")})
    try:
        prepared = check_prepared(folder, processes=1)
    except DataError as error:
        if "hash is of other faces" not in str(error):
            raise
        prepared = PreparedDataset(folder)  # as trainings do
    for split in ("train", "val", "test"):
        with contextlib.suppress(DataError):
            prepared.indices(split, "common")
            prepared.indices(split)
    for box in ("gt:1.25", "dataset:1.0", "paper"):
        with contextlib.suppress(DataError):
            prepared.boxes(BoxPolicy.parse(box))
    prepared.source_points, prepared.dataset, prepared.synthetic, prepared.faces[0]
    load_training_shapes(folder)


def _manifest():
    scheme = {"name": "custom-5", "names": [f"point_{i}" for i in range(5)], "parts": {"all": [0, 1, 2, 3, 4]}}
    scheme |= {"skeleton": [], "ocular": None, "pupils": None, "mirrorable": False}
    facts = {"version": 2, "dataset": "folder", "scheme": scheme, "count": _FACES, "size": 16, "crop_scale": 2.0}
    facts |= {"source": "raw", "synthetic": False, "counts": {}, "official": {}, "skipped": [], "warnings": []}
    return facts | {"content": "0" * 16, "files": {}}


@st.composite
def _structured_table(draw):
    names = ["name", "split", "source", "group", "box_x", "box_y", "box_width", "box_height", "subset_common"]
    rows = [[f"face{i}", "test" if i < 4 else "train", "faces", str(i), "1", "1", "9", "9", "0"] for i in range(_FACES)]
    for _ in range(draw(st.integers(0, 4))):
        row = draw(st.sampled_from([names, *rows]))
        if row:
            row[draw(st.integers(0, len(row) - 1))] = draw(st.one_of(NUMBERS, TEXTS))
            if draw(st.integers(0, 5)) == 0:
                row.pop()
    file = io.StringIO()
    csv.writer(file).writerows([names, *rows])
    return file.getvalue().encode("utf-8", "surrogateescape" if _escaped(file.getvalue()) else "replace")


def _escaped(text):
    return all(not 0xD800 <= ord(c) <= 0xDFFF or 0xDC80 <= ord(c) <= 0xDCFF for c in text)


def _prepared_array(name, like):
    read = functools.partial(_begin_prepared, name)
    return Reader(f"prepared {name}", f"prepared/{name}", read, _read_prepared, structures.odd_npy(like), 0.4)


# predictions


def _begin_predictions(suffix, folder):
    prepared = write_prepared_faces(folder / "prepared")
    rows = prepared.indices("test")
    names, points = prepared.table["name"][rows], prepared.source_points[rows]
    if suffix == ".csv":
        return [_csv(names, points)]
    file, short = io.BytesIO(), io.BytesIO()
    np.savez(file, names=names, points=points, truth=points, allow_pickle=False)
    np.savez_compressed(short, names=names.astype("S"), points=points.astype("f4"), allow_pickle=False)
    return [file.getvalue(), short.getvalue()]


def _csv(names, points):
    header = ["name", *(f"{axis}{i}" for i in range(points.shape[1]) for axis in "xy")]
    file = io.StringIO()
    csv.writer(file).writerows([header, *([name, *row.reshape(-1)] for name, row in zip(names, points, strict=True))])
    return file.getvalue().encode()


_NAMES = np.array([f"test/face{i}.png" for i in range(4)])
_FOUND = np.stack([_SHAPE] * 4)


@st.composite
def _structured_csv(draw):
    lines = _csv(_NAMES, _FOUND).decode().splitlines()
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        cells = lines[place].split(",")
        cells[draw(st.integers(0, len(cells) - 1))] = draw(st.one_of(NUMBERS, TEXTS))
        lines[place] = ",".join(cells)
    text = "\n".join(lines)
    return text.encode("utf-8", "surrogateescape" if _escaped(text) else "replace")


@functools.lru_cache(1)
def _prepared_of(folder):
    return PreparedDataset(folder / "prepared")


def _read_predictions(suffix, folder):
    prepared = _prepared_of(folder)
    rows = prepared.indices("test")
    points, _ = load_predictions(folder / f"predictions{suffix}", prepared, rows, missing="fail")
    evaluate_predicted(prepared, points, missing="fail")


# shape models and shapes


def _shape_arrays():
    rng = np.random.default_rng(3)
    shapes = _SHAPE + rng.normal(0, 1, (20, *_SHAPE.shape))
    model = ShapeModel.fit(shapes, modes=3, align=True, metadata={"scheme": "5", "skeleton": "[[0, 1], [2, 3]]"})
    arrays = {"format": np.array("asm.shape_model"), "version": np.array(1), "mean": model.mean, "modes": model.modes}
    arrays |= {
        "spectrum": model.spectrum,
        "reference": model.reference,
        "metadata": np.array(json.dumps(model.metadata)),
    }
    return model, arrays


def _begin_shape_model(folder):
    path = folder / "shape.npz"
    _shape_arrays()[0].save(path)
    return [path.read_bytes()]


def _read_shape_model(folder):
    model = ShapeModel.load(folder / "shape.npz")
    model.skeleton, model.explained, model.soften(model.mean[None].astype(np.float64))


def _begin_points(folder):
    shapes = _SHAPE + np.random.default_rng(4).normal(0, 1, (6, *_SHAPE.shape))
    return [structures.npy(shapes), structures.npy(shapes.astype("f4")), structures.npy(np.asfortranarray(shapes))]


def _read_points(folder):
    points = load_points(folder / "points.npy")
    ShapeModel.fit(points, variance=0.9)


PREPARED_READERS = (
    Reader(
        "prepared manifest",
        f"prepared/{NAME}",
        functools.partial(_begin_prepared, NAME),
        _read_prepared,
        with_odd_values(_manifest()).map(structures.to_json),
    ),
    Reader(
        "prepared table",
        "prepared/table.csv",
        functools.partial(_begin_prepared, "table.csv"),
        _read_prepared,
        _structured_table(),
        0.7,
    ),
    _prepared_array("points.npy", np.zeros((_FACES, _POINTS, 2), "f4")),
    _prepared_array("to_image.npy", np.stack([np.eye(2, 3)] * _FACES)),
    _prepared_array("faces.npy", np.zeros((_FACES, 16, 16, 3), "u1")),
    _prepared_array("digests.npy", np.zeros((_FACES, 32), "u1")),
    Reader(
        "predictions .npz",
        "predictions.npz",
        functools.partial(_begin_predictions, ".npz"),
        functools.partial(_read_predictions, ".npz"),
        structures.odd_npz({"names": _NAMES, "points": _FOUND, "truth": _FOUND}),
        1.5,
    ),
    Reader(
        "predictions .csv",
        "predictions.csv",
        functools.partial(_begin_predictions, ".csv"),
        functools.partial(_read_predictions, ".csv"),
        _structured_csv(),
        1.5,
    ),
    Reader("shape model", "shape.npz", _begin_shape_model, _read_shape_model, structures.odd_npz(_shape_arrays()[1])),
    Reader("shapes .npy", "points.npy", _begin_points, _read_points, structures.odd_npy(np.stack([_SHAPE] * 3))),
)
