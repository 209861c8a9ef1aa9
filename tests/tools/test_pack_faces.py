"""``tools/pack_faces.py``: a prepared folder through one small file and back."""

import hashlib

import numpy as np
import pytest

from kdloss.data.prepared import PreparedDataset, content_hash
from tests.random_faces import prepared_faces
from tools import pack_faces


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    return prepared_faces(tmp_path_factory.mktemp("made") / "300w", train=10, test=4, occluded=2)


@pytest.fixture(scope="module")
def carried(faces, tmp_path_factory):
    """The file, and the folder that it was unpacked into."""
    file, folder = (tmp_path_factory.mktemp("carried") / name for name in ("faces.zip", "300w"))
    assert pack_faces.main(["pack", str(faces.path), str(file)]) == 0
    assert pack_faces.main(["unpack", str(file), str(folder)]) == 0
    return file, PreparedDataset(folder)


def test_all_but_the_pixels_is_the_same(faces, carried):
    _, found = carried
    for name in ("points", "to_image", "occluded"):
        np.testing.assert_array_equal(getattr(found, name), getattr(faces, name))
    assert found.table["name"].tolist() == faces.table["name"].tolist()
    assert {**found.manifest, **dict.fromkeys(("content", "files", "manifest"))} == {
        **faces.manifest,
        **dict.fromkeys(("content", "files", "manifest")),
        "pixels": f"WebP, quality 80, of content {faces.manifest['content']}",
    }


def test_pixels_are_close_and_have_hashes_of_their_own(faces, carried):
    _, found = carried
    was, now = faces.faces[:].astype(int), found.faces[:].astype(int)
    assert 0 < np.abs(now - was).mean() < 40  # noise, which no coding keeps
    assert np.corrcoef(now[..., 0].ravel(), was[..., 0].ravel())[0, 1] > 0.5  # red is still red
    assert [row.tobytes() for row in found.digests] == [hashlib.sha256(face).digest() for face in found.faces]
    own = content_hash(found.points, found.table["name"], found.table["split"], found.digests)
    assert own == found.manifest["content"] != faces.manifest["content"]


def test_what_is_there_is_kept_and_other_files_are_refused(carried, tmp_path, capsys):
    file, found = carried
    assert pack_faces.main(["unpack", str(file), str(found.path)]) == 2
    assert "exists already" in capsys.readouterr().err
    (tmp_path / "no.zip").write_text("no")
    assert pack_faces.main(["unpack", str(tmp_path / "no.zip"), str(tmp_path / "new")]) == 2
    assert "no .zip" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["no.zip"]
