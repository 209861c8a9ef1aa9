"""Synthetic faces in the official layouts, looked at byte by byte and through the real readers."""

import csv
import hashlib
import json

import h5py
import numpy as np
import pytest

from data_prep.cofw import read_cofw
from data_prep.layouts import write_layout
from data_prep.points98 import to_68
from data_prep.synthetic import render_face
from data_prep.w300 import read_300w
from data_prep.wflw import read_wflw
from kdloss.errors import ConfigError, DataError

COUNT, TEST_COUNT, SIZE = 8, 4, 64
LAYOUTS = ("300w", "cofw", "wflw")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("layouts")
    for layout in LAYOUTS:
        write_layout(layout, root / layout, count=COUNT, test_count=TEST_COUNT, seed=1, size=SIZE)
    return root


def digests(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def first_face():
    """Training face 0 of seed 1, drawn without a layout."""
    rng = np.random.default_rng([1, 0, 0])
    return render_face(rng, (SIZE + int(rng.integers(1, SIZE // 6)), SIZE))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_seed_gives_the_same_bytes(written, tmp_path, layout):
    write_layout(layout, tmp_path / "again", count=COUNT, test_count=TEST_COUNT, seed=1, size=SIZE)
    assert digests(tmp_path / "again") == digests(written / layout)
    write_layout(layout, tmp_path / "other", count=COUNT, test_count=TEST_COUNT, seed=2, size=SIZE)
    assert digests(tmp_path / "other") != digests(written / layout)


def test_a_face_does_not_depend_on_how_many_there_are(written, tmp_path):
    write_layout("300w", tmp_path / "few", count=3, test_count=2, seed=1, size=SIZE)
    few, many = digests(tmp_path / "few"), digests(written / "300w")
    pictures = {name: digest for name, digest in few.items() if "/" in name}
    assert len(pictures) == 2 * 5
    assert pictures.items() <= many.items()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_folder_says_that_its_faces_are_synthetic(written, layout):
    mark = json.loads((written / layout / "SYNTHETIC.json").read_text())
    assert mark["synthetic"] is True
    assert (mark["seed"], mark["layout"], mark["size"]) == (1, layout, SIZE)
    assert sum(mark["counts"].values()) == COUNT + TEST_COUNT
    with open(written / layout / mark["attributes"], newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["train"] * COUNT + ["test"] * TEST_COUNT
    assert len({row["name"] for row in rows}) == COUNT + TEST_COUNT
    assert len({row["yaw"] for row in rows}) > COUNT
    assert float(rows[0]["yaw"]) == first_face().attributes["yaw"]


def test_300w_lies_as_released(written):
    root = written / "300w"
    pts = sorted(root.rglob("*.pts"))
    folders = {path.parent.relative_to(root).as_posix() for path in pts}
    assert folders == {"afw", "helen/trainset", "helen/testset", "lfpw/trainset", "lfpw/testset", "ibug"}
    assert len(pts) == COUNT + TEST_COUNT
    lines = (root / "helen" / "trainset" / "0000000001_1.pts").read_text().splitlines()
    assert lines[0] == "version: 1"
    assert lines[1].split() == ["n_points:", "68"]
    assert (lines[2], lines[-1]) == ("{", "}")
    one_based = np.array([line.split() for line in lines[3:-1]], float)
    np.testing.assert_allclose(one_based, to_68(first_face().points98) + 1, atol=1e-5)
    assert all(any(path.with_suffix(end).exists() for end in (".jpg", ".png")) for path in pts)


def test_cofw_lies_as_released(written):
    for split, end, count in (("train", "Tr", COUNT), ("test", "T", TEST_COUNT)):
        path = written / "cofw" / f"COFW_{split}_color.mat"
        start = path.read_bytes()[:512]
        assert start.startswith(b"MATLAB 7.3 MAT-file")
        assert start[124:128] == b"\x00\x02IM"
        with h5py.File(path) as file:
            assert file.userblock_size == 512
            assert file[f"phis{end}"].shape == (87, count)
            assert file[f"bboxes{end}"].shape == (4, count)
            assert file[f"phis{end}"].dtype == np.float64
            assert file[f"Is{end}"].shape == (1, count)
            assert file[f"Is{end}"].attrs["MATLAB_class"] == b"cell"
            images = [file[reference] for reference in file[f"Is{end}"][0]]
            assert {image.dtype for image in images} == {np.dtype(np.uint8)}
            assert {image.shape[0] for image in images if image.ndim == 3} == {3}
            assert {image.shape[-2] for image in images} == {SIZE}
            assert all(image.shape[-1] > SIZE for image in images)
            assert {image.ndim for image in images} == ({2, 3} if count > 6 else {3})
            assert set(np.unique(file[f"phis{end}"][58:])) <= {0.0, 1.0}


def test_wflw_lies_as_released(written):
    root = written / "wflw"
    lists = root / "WFLW_annotations" / "list_98pt_rect_attr_train_test"
    for split, count in (("train", COUNT), ("test", TEST_COUNT)):
        lines = (lists / f"list_98pt_rect_attr_{split}.txt").read_text().splitlines()
        assert len(lines) == count
        for line in lines:
            words = line.split()
            assert len(words) == 196 + 4 + 6 + 1
            points = np.array(words[:196], float).reshape(98, 2)
            box = np.array(words[196:200], float).reshape(2, 2)
            np.testing.assert_allclose(box, [points.min(0), points.max(0)], atol=0.51)
            assert set(words[200:206]) <= {"0", "1"}
            assert (root / "WFLW_images" / words[206]).is_file()
    words = (lists / "list_98pt_rect_attr_train.txt").read_text().split()
    face = first_face()
    np.testing.assert_allclose(np.array(words[:196], float).reshape(98, 2), face.points98, atol=1e-5)
    assert [word == "1" for word in words[200:206]] == list(face.flags.values())


@pytest.mark.parametrize(
    ("layout", "read", "index"), [("300w", read_300w, 36), ("cofw", read_cofw, 8), ("wflw", read_wflw, 60)]
)
def test_the_readers_find_the_same_face(written, layout, read, index):
    entries = {entry.name: entry for entry in read(written / layout).entries}
    assert len(entries) == COUNT + TEST_COUNT
    with open(written / layout / "attributes.csv", newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert set(names) == set(entries)
    entry, face = entries[names[0]], first_face()
    np.testing.assert_allclose(entry.points[index], face.points98[60], atol=1e-4)
    assert entry.image.shape == face.image.shape
    assert np.abs(entry.image.astype(int) - face.image).mean() < (1e-9 if layout == "cofw" else 8)


def test_an_existing_folder_and_bad_numbers_are_refused(written, tmp_path):
    with pytest.raises(DataError, match="exists already"):
        write_layout("300w", written / "300w", count=1)
    for options, message in (
        ({"count": 0}, "--count 0"),
        ({"count": 1, "test_count": -1}, "--test-count -1"),
        ({"count": 1, "seed": -1}, "--seed -1"),
        ({"count": 1, "size": 20}, "--size 20"),
    ):
        with pytest.raises(ConfigError, match=message):
            write_layout("cofw", tmp_path / "new", **options)
    with pytest.raises(ConfigError, match="300w, cofw, wflw"):
        write_layout("aflw", tmp_path / "new", count=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_failure_half_way_leaves_nothing(tmp_path, layout):
    def breaks(jobs):
        yield jobs[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_layout(layout, tmp_path / "new", count=3, size=SIZE, progress=breaks)
    assert list(tmp_path.iterdir()) == []


def test_a_quarter_of_the_faces_are_for_testing_unless_said(tmp_path):
    counts = write_layout("cofw", tmp_path / "a", count=5, size=SIZE)
    assert counts == {"COFW_train_color.mat": 5, "COFW_test_color.mat": 1}
    write_layout("cofw", tmp_path / "b", count=1, test_count=0, size=SIZE)
    assert not (tmp_path / "b" / "COFW_test_color.mat").exists()
