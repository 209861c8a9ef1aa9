"""The COFW reader, on v7.3 files written here in the official structure (not by the project's own writer)."""

import h5py
import numpy as np
import pytest
import scipy.io

from data_prep.cofw import read_cofw
from data_prep.raw import SkippedFace
from kdloss.errors import DataError
from tests.data_prep.marked_faces import at_marks, marked

NAMES = {"train": ("IsTr", "phisTr", "bboxesTr"), "test": ("IsT", "phisT", "bboxesT")}


def write_mat(path, split, images, points, occluded):
    """MATLAB v7.3: a 512-byte user block, transposed arrays, cells as references into #refs#."""
    images_name, phis_name, boxes_name = NAMES[split]
    with h5py.File(path, "w", userblock_size=512) as file:
        cells = file.create_dataset(images_name, (1, len(images)), dtype=h5py.ref_dtype)
        for i, image in enumerate(images):
            cells[0, i] = file.create_dataset(f"#refs#/{i}", data=image.T).ref
        phis = np.concatenate([points[..., 0] + 1, points[..., 1] + 1, occluded], axis=1).astype(np.float64)
        file[phis_name] = phis.T
        low, high = points.min(axis=1), points.max(axis=1)
        file[boxes_name] = np.concatenate([low + 1, high - low], axis=1).T
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: PCWIN64".ljust(124) + b"\x00\x02IM")


@pytest.fixture
def faces():
    images, points = zip(*(marked(29, seed) for seed in range(5)), strict=True)
    occluded = np.random.default_rng(0).random((5, 29)) < 0.3
    return [*images[:3], images[3][:, :, 0], images[4]], np.stack(points), occluded


@pytest.fixture
def source(tmp_path, faces):
    images, points, occluded = faces
    write_mat(tmp_path / "COFW_train_color.mat", "train", images, points, occluded)
    write_mat(tmp_path / "COFW_test_color.mat", "test", images[:2], points[:2], occluded[:2])
    return tmp_path


def test_images_points_boxes_and_flags(source, faces):
    _, points, occluded = faces
    raw = read_cofw(source)
    found = list(raw.entries)
    assert raw.warnings == ()
    assert [face.name for face in found[:2]] == ["train/0001", "train/0002"]
    assert [face.split for face in found] == ["train"] * 5 + ["test"] * 2
    for face, truth, flags in zip(found, points, occluded, strict=False):
        assert (face.image.shape, face.image.dtype) == ((90, 120, 3), np.uint8)
        np.testing.assert_allclose(face.points, truth, atol=1e-5)
        assert at_marks(face)
        np.testing.assert_array_equal(face.occluded, flags)
        np.testing.assert_allclose(face.box, [*truth.min(axis=0), *np.ptp(truth, axis=0)])
    assert found[5].source == "COFW_test_color.mat"


def test_one_file_is_enough_with_a_warning_about_the_other(source):
    (source / "COFW_train_color.mat").unlink()
    raw = read_cofw(source)
    assert (len(raw.entries), raw.warnings) == (2, ("COFW_train_color.mat absent: no train set (1345 faces)",))


def test_bad_faces_are_skipped(source):
    with h5py.File(source / "COFW_train_color.mat", "r+") as file:
        file["IsTr"][0, 0] = file.create_dataset("#refs#/bad", data=np.zeros((7,), np.float64)).ref
        file["phisTr"][4, 1] = np.nan
        file["IsTr"][0, 2] = h5py.Reference()
    skipped = {entry.name: entry.reason for entry in read_cofw(source).entries if isinstance(entry, SkippedFace)}
    assert [*skipped] == ["train/0001", "train/0002", "train/0003"]
    assert "expected an image" in skipped["train/0001"]


def test_a_v5_file_and_no_file_at_all_are_named(source):
    path = source / "COFW_test_color.mat"
    scipy.io.savemat(path, {"IsT": np.zeros(3), "phisT": np.zeros((3, 87))})
    with pytest.raises(DataError, match=r"a MATLAB v5 file, expected v7\.3"):
        read_cofw(source)
    for file in source.iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"found neither COFW_train_color\.mat nor COFW_test"):
        read_cofw(source)


def test_other_variables_and_shapes_are_named(source):
    path = source / "COFW_test_color.mat"
    with h5py.File(path, "r+") as file:
        points = file["phisT"][()]
        del file["phisT"]
    with pytest.raises(DataError, match="expected phisT in it"):
        read_cofw(source)
    with h5py.File(path, "r+") as file:
        file["phisT"] = points[:58]
    with pytest.raises(DataError, match=r"found phisT of \(2, 58\), expected \(2, 87\)"):
        read_cofw(source)
