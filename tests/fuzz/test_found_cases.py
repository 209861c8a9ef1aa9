"""What fuzzing found: each of these ended in a traceback, a warning or the death of the process, and is now refused."""

import io
import json
import warnings
import zipfile

import h5py
import numpy as np
import pytest

from asm.__main__ import load_points
from asm.array_files import map_npy, read_npy, read_npz
from asm.errors import UserError
from asm.procrustes import checked_points
from asm.shape_model import ShapeModel
from data_prep.cofw import read_cofw
from data_prep.folder import read_folder
from kdloss.cards import CARD
from kdloss.deploy.metadata import read_metadata
from kdloss.detector_calibration import read_calibration
from kdloss.evaluation.evaluation import evaluate_predicted
from kdloss.evaluation.predictions import load_predictions
from kdloss.given_boxes import GivenBoxes
from kdloss.hdf5_files import read_dataset
from kdloss.manifest import NAME, write_manifest
from kdloss.models.published_student import load_published_student
from kdloss.models.torch_arrays import read_torch_arrays
from kdloss.models.weights import load_weights
from kdloss.prepared import PreparedDataset
from kdloss.schemes import SCHEMES, LandmarkScheme
from kdloss.training.checkpoint import load_state, read_card
from tests.fuzz.prepared_readers import write_prepared_faces
from tests.fuzz.reader import REFUSED, outcome
from tests.fuzz.readers import READERS

_BY_NAME = {reader.name: reader for reader in READERS}
_DEEP = b"[" * 100_000


def refused(read, *arguments):
    """The line that refuses a file, without a warning."""
    with pytest.raises(UserError) as caught, warnings.catch_warnings(action="error"):
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def header(descr, shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue()


# headers of arrays


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (header("<U0", (10**12,)), "expected plain numbers"),  # numpy divides by the size of a text: SIGFPE
        (header("<f8", (10**12,)), "found 128 bytes, expected 8000000000128"),  # MemoryError
        (header("<f8", (2**62, 2**62)), "expected"),  # OverflowError
        (header("<f8", (-1,)), "expected plain numbers"),
        (header("|u1", (2**64, 1)), "expected plain numbers"),  # OverflowError, once somebody asks for its length
        (header("|O", (1,)) + b"\x80\x04cposix\nsystem\nX\x04\x00\x00\x00true\x85R.", "expected plain numbers"),
        (b"\x93NUMPY\x01\x00\x0a\x00{'descr': (", "EOF in multi-line statement"),  # TokenError
        (b"\x93NUMPY\x01\x00\x0a\x00" + b"(" * 10, "EOF"),
        (b"\x93NUMPY\x09\x09", "found .npy format (9, 9)"),
        (b"", "magic string"),
    ],
)
def test_headers_that_claim_what_is_not_there(content, says, tmp_path):
    path = tmp_path / "points.npy"
    path.write_bytes(content)
    for read in (read_npy, map_npy):
        with pytest.raises(ValueError, match=r"^[^\n]*$") as caught:
            read(path)
        assert says in str(caught.value)
    refused(load_points, path)


@pytest.mark.parametrize(
    "members",
    [
        {"a.npy": header("<U0", (10**12,))},
        {"a.npy": header("<f8", (10**12,))},
        {"a": b"no array"},
        {"a.npy": header("|O", (1,)) + b"\x80\x04N."},
    ],
)
def test_members_of_archives_that_claim_what_is_not_there(members, tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"^[^\n]*$"):
        read_npz(path, 1 << 20)


def test_an_archive_larger_than_it_may_be_is_not_unpacked(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1_000_000))
    assert (tmp_path / "a.npz").stat().st_size < 20_000
    assert read_npz(tmp_path / "a.npz", 8_000_200)["a"].sum() == 0
    with pytest.raises(ValueError, match="holds 8 MB unpacked, expected 1 MB at most"):
        read_npz(tmp_path / "a.npz", 1_000_000)


# points


@pytest.mark.parametrize("value", [1e200, np.inf, 1j, np.float32(3e38)])
def test_points_whose_squares_overflow(value):
    refused(checked_points, np.full((1, 5, 2), value), "shapes")


def test_a_shape_model_whose_numbers_overflow(tmp_path):
    shapes = np.random.default_rng(0).normal(0, 1, (20, 5, 2))
    ShapeModel.fit(shapes, modes=2).save(tmp_path / "a.npz")
    arrays = read_npz(tmp_path / "a.npz", 1 << 20)
    for mean in (arrays["mean"] + 1e200, np.zeros((5, 2), np.float16)):
        np.savez(tmp_path / "b.npz", **arrays | {"mean": mean, "modes": np.zeros((2, 0, 0))})
        refused(ShapeModel.load, tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", **arrays | {"metadata": np.array(_DEEP.decode())})
    assert "recursion" in refused(ShapeModel.load, tmp_path / "c.npz")


# prepared folders


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return write_prepared_faces(tmp_path_factory.mktemp("prepared") / "faces")


def _resealed(prepared, tmp_path, name, change):
    """A copy of a prepared folder, one file of it changed, its hashes mended."""
    folder = tmp_path / "faces"
    folder.mkdir()
    for path in prepared.path.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / name).write_bytes(change((folder / name).read_bytes()))
    if name != NAME:
        facts = json.loads((folder / NAME).read_text())
        write_manifest(folder, {key: value for key, value in facts.items() if key not in ("files", "manifest")})
    return folder


def _npy(array):
    return lambda _: header(array.dtype.str, array.shape) + array.tobytes()


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (NAME, lambda text: _DEEP, "recursion"),
        ("points.npy", lambda _: header("<f4", (10**12,)), "bytes, expected"),
        ("points.npy", _npy(np.zeros((12, 5, 2), "V4")), "found type |V4, expected float32"),
        ("points.npy", _npy(np.zeros((12, 5, 2), "<c8")), "found type complex64"),
        ("points.npy", _npy(np.full((12, 5, 2), 3e38, "<f4")), "no picture has"),
        ("to_image.npy", _npy(np.zeros((12, 2, 3))), "no picture has"),
        ("to_image.npy", _npy(np.full((12, 2, 3), 1e300)), "no picture has"),
        ("to_image.npy", _npy(np.full((12, 2, 3), np.nan)), "no picture has"),
        ("faces.npy", lambda _: header("|u1", (2**64, 8, 8, 3)), "expected plain numbers"),
        ("faces.npy", lambda _: b"\x93NUMPY\x01\x00\x0a\x00{'descr': (", "EOF"),
        ("table.csv", lambda text: text.replace(b"box_x", b"bo"), "no column box_x"),
        ("table.csv", lambda text: text.replace(b",,,,", b",inf,1,1,1", 1), "box_x that no picture has"),
        ("table.csv", lambda text: text + b'"', "damaged"),
    ],
)
def test_prepared_folders_that_were_changed_and_sealed_anew(name, change, says, prepared, tmp_path):
    assert says in refused(PreparedDataset, _resealed(prepared, tmp_path, name, change))


@pytest.mark.parametrize(
    "change",
    [
        {"names": 5},
        {"names": []},
        {"names": [1, 2, 3, 4, 5]},
        {"parts": []},
        {"parts": {"a": [7]}},
        {"skeleton": [[0, -1]]},
        {"skeleton": [["0"]]},
        {"ocular": [0, 1, 2]},
        {"pupils": [[0]]},
        {"mirrorable": "yes"},
    ],
)
def test_schemes_that_none_are(change):
    plain = LandmarkScheme.plain(5).to_json()
    assert LandmarkScheme.from_json(plain) == LandmarkScheme.plain(5)
    assert "a scheme that none is" in refused(LandmarkScheme.from_json, plain | change)


# predictions


@pytest.mark.parametrize("value", [1e200, -1e9, np.float32(3e38)])
def test_predictions_whose_distances_overflow(value, prepared, tmp_path):
    rows = prepared.indices("test")
    points = prepared.source_points[rows]
    points[0, 0, 0] = value
    np.savez(tmp_path / "a.npz", names=prepared.table["name"][rows], points=points)
    assert "no pixels" in refused(load_predictions, tmp_path / "a.npz", prepared, rows)
    points[0, 0, 0] = 1e8
    np.savez(tmp_path / "a.npz", names=prepared.table["name"][rows], points=points)
    evaluate_predicted(prepared, load_predictions(tmp_path / "a.npz", prepared, rows)[0])


@pytest.mark.parametrize(
    "points", [np.zeros((4, 5, 2), complex), np.zeros((4, 5, 2), "M8[s]"), np.zeros((4, 5, 2), "S3")]
)
def test_predictions_that_are_no_numbers(points, prepared, tmp_path):
    rows = prepared.indices("test")
    np.savez(tmp_path / "a.npz", names=prepared.table["name"][rows], points=points)
    assert "plain arrays of numbers" in refused(load_predictions, tmp_path / "a.npz", prepared, rows)


# texts


def test_names_of_points_that_are_no_text(tmp_path):
    folder, reader = tmp_path, _BY_NAME["point names"]
    reader.begin(folder)
    assert outcome(reader, folder, b"left_eye\n\xff\xfe") == REFUSED
    assert "no text in UTF-8" in refused(read_folder, folder)


def test_a_name_of_a_picture_that_no_disk_takes(tmp_path):
    _BY_NAME["coco"].begin(tmp_path)
    faces = {
        "images": [{"id": 1, "file_name": "a" * 5000}],
        "annotations": [{"image_id": 1, "keypoints": [1, 2, 2] * 5}],
    }
    (tmp_path / "faces.json").write_text(json.dumps(faces))
    (face,) = read_folder(tmp_path, json=tmp_path / "faces.json").entries
    assert "cannot be read (File name too long)" in face.reason


def test_json_that_is_nested_too_deep(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(_DEEP)
    assert "no JSON" in refused(GivenBoxes, path)
    detector = type("Detector", (), {"name": "yunet", "model_sha256": "0"})
    assert "no calibration" in refused(read_calibration, path, detector, SCHEMES["68"])
    assert "recursion" in refused(read_folder, tmp_path, path)


# cards


def _archive(path, card, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(CARD, card)
    return path


_CARD = {"arch": "mobilefan", "dataset": "300w", "scheme": SCHEMES["68"].to_json(), "image_size": 64, "box": "gt:1.25"}


@pytest.mark.parametrize("read", [read_card, read_metadata])
@pytest.mark.parametrize(
    ("card", "says"),
    [
        (b" " * 5_000_000, "has 5000000 bytes, expected 1048576 at most"),
        (_DEEP, "recursion"),
        (b"\xff", "utf-8"),
        (json.dumps(_CARD | {"scheme": {}}), "a scheme that none is"),
        (json.dumps(_CARD | {"box": "gt:1e9"}), "expected gt:SCALE"),
        (json.dumps(_CARD | {"image_size": "64"}), "values that no card has"),
        (json.dumps(_CARD | {"arch": ["mobilefan"]}), "values that no card has"),
    ],
)
def test_cards_that_none_are(read, card, says, tmp_path):
    path = _archive(tmp_path / ("a.keras" if read is read_card else "a.tflite"), card)
    assert says in refused(read, path)


@pytest.mark.parametrize("content", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_card_whose_bytes_do_not_unpack(content, tmp_path):
    path = _archive(tmp_path / "a.keras", json.dumps(_CARD), content)
    damaged = bytearray(path.read_bytes())
    damaged[60:90] = bytes(30)
    path.write_bytes(damaged)
    refused(read_card, path)


# states and weights


def test_a_state_that_holds_texts_or_bombs(tmp_path):
    import keras

    variable, path = keras.Variable(np.zeros(3, "f4")), tmp_path / "state.npz"
    progress = np.array('{"epoch": 0, "rows": []}')
    np.savez(path, progress=progress, v00000=np.array(["", "", ""]))
    assert "no numbers" in refused(load_state, path, [variable])
    np.savez(path, progress=np.array(_DEEP.decode()), v00000=np.zeros(3, "f4"))
    assert "recursion" in refused(load_state, path, [variable])
    np.savez_compressed(path, progress=progress, v00000=np.zeros(20_000_000, "f4"))
    assert "MB unpacked" in refused(load_state, path, [variable])


def test_texts_of_a_pytorch_file_with_odd_escapes():
    content = b"\x80\x02K\x01." * 3 + b"\x80\x02P\\ud800\n."
    assert "expected arrays alone" in refused(read_torch_arrays, content)


def _hdf5(path, build):
    with h5py.File(path, "w") as file:
        build(file)
    return path


def _external_link(file):
    file["IsT"] = h5py.ExternalLink("other.mat", "/IsT")


def _external_storage(file):
    file.create_dataset("IsT", (1, 2), "u1", external=[("/etc/passwd", 0, 2)])


def _virtual(file):
    layout = h5py.VirtualLayout((1, 2), "u1")
    layout[0] = h5py.VirtualSource("other.mat", "x", (2,))
    file.create_virtual_dataset("IsT", layout)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (_external_link, "'/IsT' is a link to 'other.mat:/IsT'"),
        (_external_storage, "'/IsT' is stored in another file"),
        (_virtual, "'/IsT' is stored in another file"),
    ],
)
def test_hdf5_files_that_point_to_others_are_refused(build, says, tmp_path):
    path = _hdf5(tmp_path / "COFW_test_color.mat", build)
    assert says in refused(read_cofw, tmp_path)
    weights = tmp_path / "a.h5"
    weights.write_bytes(path.read_bytes())
    assert says in refused(load_published_student, weights)
    assert says in refused(load_weights, None, None, weights)


@pytest.mark.parametrize("build", [_external_storage, _virtual])
def test_a_reference_to_numbers_elsewhere_is_not_followed(build, tmp_path):
    with (
        h5py.File(_hdf5(tmp_path / "a.mat", build)) as file,
        pytest.raises(ValueError, match="is stored in another file"),
    ):
        read_dataset(file[file["IsT"].ref])


def test_an_image_that_claims_more_than_memory_holds(tmp_path):
    path = _hdf5(tmp_path / "a.mat", lambda file: file.create_dataset("x", (3, 10**6, 10**6), "u1", chunks=True))
    assert path.stat().st_size < 10_000
    with h5py.File(path) as file, pytest.raises(ValueError, match="expected 512 MB at most"):
        read_dataset(file["x"])


def test_positions_that_are_complex_numbers(tmp_path):
    def build(file):
        file.create_dataset("IsT", (1, 1), h5py.ref_dtype)
        file["phisT"], file["bboxesT"] = np.zeros((87, 1), complex), np.zeros((4, 1))

    _hdf5(tmp_path / "COFW_test_color.mat", build)
    assert "expected numbers" in refused(read_cofw, tmp_path)
