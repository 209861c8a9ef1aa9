"""What fuzzing found: each of these once ended in a traceback, a warning or the death of the process."""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

from data_prep.cofw import read_cofw
from kdloss.data.hdf5 import read_dataset
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import UserError
from kdloss.models.published_student import load_published_student
from kdloss.models.weights import load_weights
from tests.fuzz.readers import ACCEPTED, PROGRESS, READERS, REFUSED, card, checkpoint, in_file, outcome, state, zipped

DEEP = "[" * 100_000
OBJECTS = b"\x80\x04cposix\nsystem\nX\x04\x00\x00\x00true\x85R."


def header(descr, shape):
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    return in_file(np.lib.format.write_array_header_1_0, fields)


def npy(array):
    return header(array.dtype.str, array.shape) + array.tobytes()


def damaged_card():
    content = bytearray(checkpoint(card(), zipfile.ZIP_LZMA))
    content[-400:-330] = bytes(70)
    return bytes(content)


def scheme(**changes):
    return checkpoint(card(scheme=LandmarkScheme.plain(5).to_json() | changes))


FOUND = {
    "a text of no size": ("shapes .npy", header("<U0", (10**12,))),  # numpy divides by it: SIGFPE
    "more than memory holds": ("shapes .npy", header("<f8", (10**12,))),
    "more than a number holds": ("shapes .npy", header("<f8", (2**62, 2**62))),
    "objects": ("shapes .npy", header("|O", (1,)) + OBJECTS),
    "half a header": ("shapes .npy", b"\x93NUMPY\x01\x00\x0a\x00{'descr': ("),
    "squares that overflow": ("shapes .npy", npy(np.full((1, 5, 2), 1e200))),
    "a member that claims too much": ("predictions .npz", zipped({"points.npy": header("<f8", (10**12,))})),
    "metadata too deep": ("shape model", "metadata", np.array(DEEP)),
    "modes of no size": ("shape model", "modes", np.zeros((2, 0, 0))),
    "points no picture has": ("prepared points.npy", npy(np.full((12, 5, 2), 3e38, "<f4"))),
    "a map to nowhere": ("prepared to_image.npy", npy(np.full((12, 2, 3), np.nan))),
    "faces beyond counting": ("prepared faces.npy", header("|u1", (2**64, 8, 8, 3))),
    "an open quote": ("prepared table.csv", b'name,split\n"'),
    "predictions that overflow": ("predictions .npz", "points", np.full((4, 5, 2), 1e200)),
    "COCO too deep": ("coco", DEEP.encode()),
    "a card too deep": ("checkpoint card", checkpoint(DEEP)),
    "a card too large": ("LiteRT card", checkpoint(b" " * 5_000_000)),
    "a card with an impossible box": ("checkpoint card", checkpoint(card(box="gt:1e9"))),
    "a card with a list for a name": ("LiteRT card", checkpoint(card(arch=["mobilefan"]))),
    "a damaged card in LZMA": ("checkpoint card", damaged_card()),
    "a scheme without points": ("checkpoint card", scheme(names=[])),
    "a scheme with a line to nowhere": ("checkpoint card", scheme(skeleton=[[0, -1]])),
    "a state too deep": ("training state", state(DEEP)),
    "a state that unpacks to too much": ("training state", state(PROGRESS, v00000=np.zeros(20_000_000, "f4"))),
    "PyTorch texts with odd escapes": ("PyTorch arrays", b"\x80\x02K\x01." * 3 + b"\x80\x02P\\ud800\n."),
}


@pytest.mark.parametrize("case", FOUND)
def test_it_is_refused(case, tmp_path):
    name, *content = FOUND[case]
    valid = READERS[name].begin(tmp_path)
    if len(content) == 2:  # one array of a good file replaced
        (tmp_path / "good.npz").write_bytes(valid[0])
        with np.load(tmp_path / "good.npz", allow_pickle=False) as good:
            content = [in_file(np.savez, **dict(good) | {content[0]: content[1]})]
    assert outcome(READERS[name], tmp_path, content[0]) == REFUSED


def test_a_name_of_a_picture_that_no_disk_takes_is_a_face_to_skip(tmp_path):
    READERS["coco"].begin(tmp_path)
    images = [{"id": 1, "file_name": "a" * 5000}]
    faces = {"images": images, "annotations": [{"image_id": 1, "keypoints": [1, 2, 2] * 5}]}
    assert outcome(READERS["coco"], tmp_path, json.dumps(faces).encode()) == ACCEPTED


# HDF5 files that point to others


def _link(file):
    file["IsT"] = h5py.ExternalLink("other.mat", "/IsT")


def _external(file):
    file.create_dataset("IsT", (1, 2), "u1", external=[("/etc/passwd", 0, 2)])


def _virtual(file):
    layout = h5py.VirtualLayout((1, 2), "u1")
    layout[0] = h5py.VirtualSource("other.mat", "x", (2,))
    file.create_virtual_dataset("IsT", layout)


@pytest.mark.parametrize(
    ("build", "says"),
    [(_link, "is a link to 'other.mat:/IsT'"), (_external, "in another file"), (_virtual, "in another")],
)
def test_no_other_file_is_opened(build, says, tmp_path):
    path = tmp_path / "COFW_test_color.mat"
    with h5py.File(path, "w") as file:  # in memory there is no external storage
        build(file)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    for read in (lambda _: read_cofw(tmp_path), load_published_student, lambda path: load_weights(model, model, path)):
        with pytest.raises(UserError, match=says):
            read(path)
    with h5py.File(path) as file:
        if build is not _link:
            with pytest.raises(ValueError, match="is stored in another file"):
                read_dataset(file[file["IsT"].ref])


def test_an_image_that_claims_more_than_memory_holds(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file, pytest.raises(ValueError, match="expected 512 MB at most"):
        read_dataset(file.create_dataset("x", (3, 10**6, 10**6), "u1", chunks=True))
