"""The prepared folder: what stands in it, and that it stands there whole or not at all."""

import weakref

import numpy as np
import pytest

from data_prep.prepare import count_report, open_raw, prepare, write_prepared
from data_prep.raw import Face, FacesOnDisk, RawDataset, SkippedFace
from kdloss.data.datasets import DATASETS
from kdloss.data.geometry import transform_points
from kdloss.data.prepared import PreparedDataset
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import DataError
from tests.data_prep.marked_faces import marked


def write(entries, out, dataset="folder", **options):
    raw = RawDataset(LandmarkScheme.plain(5), entries)
    return write_prepared(raw, DATASETS[dataset], out, **{"source": "x", "size": 16} | options)


def face(name="a", seed=0, split="train", group=None, **options):
    """A face of five marked points."""
    image, points = marked(5, seed)
    fields = {"image": image, "points": points, "split": split, "source": "faces", "group": group or name}
    return Face(name, **fields | options)


def test_points_map_back_to_the_source_image(tmp_path):
    faces = [face(str(i), seed=i) for i in range(3)]
    write(faces, tmp_path / "out", size=64, crop_scale=1.5)
    data = PreparedDataset(tmp_path / "out")
    for i, expected in enumerate(faces):
        np.testing.assert_allclose(transform_points(data.to_image[i], data.points[i]), expected.points, atol=1e-3)
        x, y = np.rint(data.points[i]).astype(int).T
        assert data.faces[i][y, x].mean() > 2 * data.faces[i].mean()  # the marked pixels, more or less bright
    # The longer side of the landmark box is 1 / crop_scale of the crop, and centred.
    np.testing.assert_allclose(np.ptp(data.points, axis=1).max(axis=-1), 64 / 1.5, rtol=1e-5)
    np.testing.assert_allclose((data.points.min(axis=1) + data.points.max(axis=1)) / 2, 31.5, atol=1e-3)


def test_table_keeps_boxes_subsets_flags_and_odd_names(tmp_path):
    flags = np.array([0, 1, 0, 0, 1], bool)
    first = face('a "quoted", name\udcff', box=(1.5, 2, 3, 4), occluded=flags)
    write([first, face("plain", seed=1, split="test", subsets=("pose",))], tmp_path / "out", "wflw", size=32)
    data = PreparedDataset(tmp_path / "out")
    texts = {"name": ['a "quoted", name\\udcff', "plain"], "split": ["train", "test"], "source": ["faces", "faces"]}
    assert {name: data.table[name].tolist() for name in texts} == texts
    np.testing.assert_array_equal(data.table["box_x"], [1.5, np.nan])
    np.testing.assert_array_equal(data.occluded, [flags, np.zeros(5, bool)])
    np.testing.assert_array_equal(data.indices("test", "pose"), [1])
    assert len(data.indices("test", "blur")) == 0


def test_a_tenth_of_each_source_is_validation_whole_groups_always_the_same(tmp_path):
    faces = [face(f"{i}", seed=i, group=f"photo {i // 2}") for i in range(40)]
    splits = []
    for out, order in (("a", faces), ("b", faces[::-1])):
        write(order, tmp_path / out)
        table = PreparedDataset(tmp_path / out).table
        splits.append(dict(zip(table["name"], table["split"], strict=True)))
    assert splits[0] == splits[1]
    held, trained = ({int(name) // 2 for name, split in splits[0].items() if split == s} for s in ("val", "train"))
    assert len(held) == 2
    assert held.isdisjoint(trained)


def test_points_outside_the_image_are_counted_but_kept(tmp_path):
    entries = [face(name, seed=seed) for seed, name in enumerate(("in", "edge", "out"))]
    entries[1].points[0] = (-0.5, 89.5)  # the outer edge of the first and of the last row of pixels
    entries[2].points[0] = (30, 89.6)
    manifest = write(entries, tmp_path / "out")
    assert manifest["count"] == 3
    (warning,) = manifest["warnings"]
    assert warning.startswith("1 of 3 faces have points outside their image, the first is out")


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.full((5, 2), 40.0), "within one pixel"),
        (np.array([[40, 40], [50, 50], [60, 40], [50, 30], [99999, 40.0]]), "far outside"),
    ],
)
def test_points_that_form_no_face_are_skipped(tmp_path, points, reason):
    manifest = write([face("a"), face("bad", points=points.astype(np.float32))], tmp_path / "out")
    (skipped,) = manifest["skipped"]
    assert skipped["name"] == "bad"
    assert reason in skipped["reason"]


def test_overwrite_replaces_a_prepared_folder_only_and_only_at_the_end(tmp_path):
    write([face("a")], tmp_path / "out")
    with pytest.raises(DataError, match="exists already"):
        write([face("b")], tmp_path / "out")
    write([face("b")], tmp_path / "out", overwrite=True)
    with pytest.raises(DataError, match="none of its 1 faces could be read; the first: c: empty"):
        write([SkippedFace("c", "empty")], tmp_path / "out", overwrite=True)
    assert PreparedDataset(tmp_path / "out").table["name"].tolist() == ["b"]
    (tmp_path / "precious").mkdir()
    with pytest.raises(DataError, match="is not a prepared folder, so it is not overwritten"):
        write([face("b")], tmp_path / "precious", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "precious"]


def test_nothing_but_a_prepared_set_is_ever_replaced(tmp_path):
    out = tmp_path / "out"
    write([face("a")], out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"out: holds notes\.txt besides a prepared set: give another --out"):
        write([face("b")], out, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    (raw := out / "raw").mkdir()
    with pytest.raises(DataError, match=r"holds notes\.txt and 1 more besides"):
        prepare("300w", raw, out, overwrite=True)
    (link := tmp_path / "link").symlink_to(raw)
    for source, place in [(link, tmp_path / "out" / "raw" / "new"), (raw, raw / "new"), (raw, link / "new")]:
        with pytest.raises(DataError, match=rf"new: lies in {raw}, or holds it: give another --out"):
            prepare("300w", source, place)
    assert raw.is_dir()


def test_synthetic_mark_and_report(tmp_path, faces_300w, capsys):
    assert not open_raw("300w", faces_300w).synthetic
    (faces_300w / "SYNTHETIC.json").write_text("{}")
    for name in ("100_1", "100_2", "101_1", "101_2", "102_1", "102_2", "103_1"):
        (faces_300w / "afw" / f"{name}.png").write_bytes(b"")
    manifest = prepare("300w", faces_300w, tmp_path / "out", size=16)
    assert PreparedDataset(tmp_path / "out").synthetic
    said, progress = capsys.readouterr()
    assert len(progress.splitlines()) == 10
    assert progress.splitlines()[-1].startswith("100 %  14/14 faces")
    lines = said.splitlines()
    assert lines[:-1] == count_report(manifest)
    assert lines[0] == "300w (synthetic, 68 points): 7 faces"
    assert "  train afw: 3" in lines  # rendered faces miss none of the official ones
    assert "  test  together: 2" in lines
    assert "skipped 7 faces, the first 5 are shown, all are in manifest.json:" in lines
    assert sum("empty file" in line for line in lines) == 5
    assert len(manifest["skipped"]) == 7
    assert any(line.startswith("warning: lfpw/testset absent") for line in lines)


def test_memory_does_not_grow_with_the_faces(tmp_path):
    """Images are dropped as they are written: at most two are alive at any time."""
    images, alive = [], []

    def read(i):
        one = face(str(i), seed=i)
        images.append(weakref.ref(one.image))
        alive.append(sum(image() is not None for image in images))
        return one

    write(FacesOnDisk([(i,) for i in range(30)], read), tmp_path / "out")
    assert max(alive) <= 2
