"""``python -m data_prep check`` reads all of a prepared folder and names damage."""

import numpy as np
import pytest

from data_prep.__main__ import main
from kdloss.data.prepared import PreparedDataset, read_manifest, write_manifest


@pytest.fixture
def prepared(tmp_path, faces_300w):
    assert main(["300w", "--source", str(faces_300w), "--out", str(tmp_path / "out"), "--size", "16"]) == 0
    return tmp_path / "out"


def test_an_undamaged_folder_passes(prepared, capsys):
    capsys.readouterr()
    assert main(["check", str(prepared), "--processes", "2"]) == 0
    content = read_manifest(prepared)["content"]
    assert capsys.readouterr().out == f"{prepared}: all well: 14 faces of 300w, content {content}\n"


@pytest.mark.parametrize(("rows", "rest"), [([4], ""), ([0, 3, 9, 13, 5], " and 2 more")])
def test_changed_pixels_are_found_and_their_faces_named(prepared, fails, rows, rest):
    faces = np.load(prepared / "faces.npy")
    faces[rows, 15, 15, 2] ^= 1
    np.save(prepared / "faces.npy", faces)
    names = ", ".join(PreparedDataset(prepared).table["name"][sorted(rows)[:3]])  # opening reads no picture
    assert fails("check", prepared) == (
        f"error: {prepared}/faces.npy: damaged: {len(rows)} of 14 faces are not those that were written "
        f"({names}{rest}): prepare the set again"
    )


def test_pixels_and_digests_of_other_faces_are_noticed(prepared, fails):
    """Two faces are swapped with their digests, and the manifest fits the files: only the content hash is wrong."""
    for name in ("faces", "digests"):
        array = np.load(prepared / f"{name}.npy")
        array[[0, 1]] = array[[1, 0]]
        np.save(prepared / f"{name}.npy", array)
    write_manifest(prepared, read_manifest(prepared))
    assert "manifest.json: its content hash is of other faces" in fails("check", prepared)
