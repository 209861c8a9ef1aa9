"""Synthetic faces in the official layouts, looked at byte by byte and through the real readers."""

import collections
import json

import h5py
import numpy as np
import pytest

from data_prep.cofw import read_cofw
from data_prep.layouts import to_29, to_68, write_layout
from data_prep.synthetic import render_face
from data_prep.w300 import read_300w
from data_prep.wflw import read_wflw
from kdloss.data.geometry import mirror_points
from kdloss.data.schemes import SCHEMES
from kdloss.errors import ConfigError, DataError

# Some names that a smaller scheme has for points of the 98; mirroring says the rest.
RENAMED = {
    "68": {"right_jaw_4": "right_jaw_8", "left_brow_1": "left_brow_upper_1", "right_eye_lower_1": "right_eye_lower_2"},
    "29": {"nose_tip": "nose_bridge_3", "left_brow_lower": "left_brow_lower_2", "right_eye_upper": "right_eye_upper_1"},
}
COUNT, TEST_COUNT, SIZE = 8, 4, 64
# Reader, right eye's outer corner, and name of the first face.
READERS = {
    "300w": (read_300w, 36, "helen/trainset/0000000001_1.jpg"),
    "cofw": (read_cofw, 8, "train/0001"),
    "wflw": (read_wflw, 60, "0--Synthetic_Parade/0_Synthetic_Parade_0_1.jpg#1"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("layouts")
    for layout in READERS:
        write_layout(layout, root / layout, count=COUNT, test_count=TEST_COUNT, seed=1, size=SIZE)
    return root


@pytest.fixture(scope="module")
def first_face():
    """Training face 0 of seed 1, drawn without a layout."""
    rng = np.random.default_rng([1, 0, 0])
    return render_face(rng, (SIZE + int(rng.integers(1, SIZE // 6)), SIZE))


@pytest.mark.parametrize("layout", READERS)
def test_the_same_seed_gives_the_same_bytes(written, tmp_path, layout):
    write_layout(layout, tmp_path / "again", count=COUNT, test_count=TEST_COUNT, seed=1, size=SIZE)
    one, two = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "again", written / layout)
    )
    assert one == two
    with pytest.raises(DataError, match="exists already"):
        write_layout(layout, tmp_path / "again", count=1)


@pytest.mark.parametrize("layout", READERS)
def test_the_folder_says_that_its_faces_are_synthetic_and_the_reader_finds_them(written, layout, first_face):
    mark = json.loads((written / layout / "SYNTHETIC.json").read_text())
    assert [mark[name] for name in ("synthetic", "seed", "layout", "size")] == [True, 1, layout, SIZE]
    read, eye, first = READERS[layout]
    entries = {entry.name: entry for entry in read(written / layout).entries}
    assert sorted(entry.split for entry in entries.values()) == ["test"] * TEST_COUNT + ["train"] * COUNT
    assert mark["counts"] == collections.Counter(entry.source for entry in entries.values())
    entry = entries[first]
    np.testing.assert_allclose(entry.points[eye], first_face.points98[60], atol=1e-4)
    assert entry.image.shape == first_face.image.shape
    assert np.abs(entry.image.astype(int) - first_face.image).mean() < (1e-9 if layout == "cofw" else 8)


def test_cofw_lies_as_released(written):
    for split, end, channels in (("train", "Tr", {(), (3,)}), ("test", "T", {(3,)})):
        path = written / "cofw" / f"COFW_{split}_color.mat"
        start = path.read_bytes()[:512]
        assert (start[:19], start[124:128]) == (b"MATLAB 7.3 MAT-file", b"\x00\x02IM")
        with h5py.File(path) as file:
            phis, cells = file[f"phis{end}"], file[f"Is{end}"]
            assert set(np.unique(phis[58:])) <= {0.0, 1.0}
            assert (file.userblock_size, cells.attrs["MATLAB_class"]) == (512, b"cell")
            images = [file[reference] for reference in cells[0]]
            assert all(image.dtype == np.uint8 and image.shape[-2] == SIZE < image.shape[-1] for image in images)
            assert {image.shape[:-2] for image in images} == channels  # some are grey


@pytest.mark.parametrize("options", [{"count": 0}, {"test_count": -1}, {"seed": -1}, {"size": 20}, {"layout": "aflw"}])
def test_bad_numbers_are_refused(tmp_path, options):
    ((name, value),) = options.items()
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')} {value}.*expected"):
        write_layout(out=tmp_path / "new", **{"layout": "cofw", "count": 1} | options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("scheme", "convert"), [("68", to_68), ("29", to_29)])
def test_points_of_the_smaller_schemes_are_those_of_the_98(scheme, convert):
    points = np.random.default_rng(0).uniform(0, 100, (2, 98, 2)).astype(np.float32)
    of98 = dict(zip(SCHEMES["98"].names, points[1], strict=True))
    found = dict(zip(SCHEMES[scheme].names, convert(points)[1], strict=True))
    same = ("right_eye_outer", "left_eye_inner", "nose_base", "right_mouth_corner", "inner_lower_lip", "chin")
    for name, source in [*zip(same, same, strict=True), *RENAMED[scheme].items()]:
        np.testing.assert_array_equal(found[name], of98[source])
    inner = (of98["right_brow_upper_4"] + of98["right_brow_lower_0"]) / 2
    np.testing.assert_allclose(found.get("right_brow_inner", inner), inner, rtol=1e-6)
    mirrored = convert(mirror_points(points, 100, SCHEMES["98"].mirror))
    np.testing.assert_allclose(mirrored, mirror_points(convert(points), 100, SCHEMES[scheme].mirror), atol=1e-4)
