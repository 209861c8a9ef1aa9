"""The prepared folder: what stands in it, and that it stands there whole or not at all."""

import weakref

import numpy as np
import pytest

from data_prep.prepare import count_report, open_raw, prepare, print_progress, write_prepared
from data_prep.raw import Face, FacesOnDisk, RawDataset, SkippedFace
from kdloss.data.datasets import DATASETS
from kdloss.data.geometry import transform_points
from kdloss.data.prepared import PreparedDataset
from kdloss.data.schemes import LandmarkScheme
from kdloss.errors import DataError

SPEC = DATASETS["folder"]


def make(entries, **options):
    return RawDataset(LandmarkScheme.plain(5), list(entries), **options)


@pytest.fixture
def face(marked):
    """A face of five marked points."""

    def build(name="a", seed=0, split="train", group=None, shift=0.0, **options):
        image, points = marked(5, seed)
        points = (points + shift).astype(np.float32)
        return Face(name, image, points, split, "faces", group or name, **options)

    return build


def test_points_map_back_to_the_source_image(tmp_path, face):
    faces = [face(str(i), seed=i) for i in range(3)]
    write_prepared(make(faces), SPEC, tmp_path / "out", source="x", size=64, crop_scale=1.5)
    data = PreparedDataset(tmp_path / "out")
    for i, expected in enumerate(faces):
        np.testing.assert_allclose(transform_points(data.to_image[i], data.points[i]), expected.points, atol=1e-3)
        x, y = np.rint(data.points[i]).astype(int).T
        assert data.faces[i][y, x].mean() > 2 * data.faces[i].mean()  # the marked pixels, more or less bright
    # The longer side of the landmark box is 1 / crop_scale of the crop, and centred.
    sides = np.ptp(data.points, axis=1).max(axis=-1)
    np.testing.assert_allclose(sides, 64 / 1.5, rtol=1e-5)
    centre = (data.points.min(axis=1) + data.points.max(axis=1)) / 2
    np.testing.assert_allclose(centre, 31.5, atol=1e-3)


def test_table_keeps_boxes_subsets_flags_and_odd_names(tmp_path, face):
    flags = np.array([0, 1, 0, 0, 1], bool)
    odd = 'a "quoted", name\udcff'
    raw = make([face(odd, box=(1.5, 2, 3, 4), occluded=flags), face("plain", seed=1, split="test", subsets=("pose",))])
    write_prepared(raw, DATASETS["wflw"], tmp_path / "out", source="x", size=32)
    data = PreparedDataset(tmp_path / "out")
    assert data.table["name"].tolist() == ['a "quoted", name\\udcff', "plain"]
    assert data.table["box_x"][0] == 1.5
    assert np.isnan(data.table["box_x"][1])
    np.testing.assert_array_equal(data.occluded, [flags, np.zeros(5, bool)])
    np.testing.assert_array_equal(data.indices("test", "pose"), [1])
    assert len(data.indices("test", "blur")) == 0


def test_a_tenth_of_each_source_is_validation_whole_groups_always_the_same(tmp_path, face):
    faces = [face(f"{i}", seed=i, group=f"photo {i // 2}") for i in range(40)]
    splits = []
    for out, order in (("a", faces), ("b", faces[::-1])):
        write_prepared(make(order), SPEC, tmp_path / out, source="x", size=16)
        table = PreparedDataset(tmp_path / out).table
        splits.append(dict(zip(table["name"], table["split"], strict=True)))
    assert splits[0] == splits[1]
    held = {int(name) // 2 for name, split in splits[0].items() if split == "val"}
    assert len(held) == 2
    assert held.isdisjoint(int(name) // 2 for name, split in splits[0].items() if split == "train")


def test_points_outside_the_image_are_counted_but_kept(tmp_path, face):
    entries = [face(name, seed=seed) for seed, name in enumerate(("in", "edge", "out"))]
    entries[1].points[0] = (-0.5, 89.5)  # the outer edge of the first and of the last row of pixels
    entries[2].points[0] = (30, 89.6)
    manifest = write_prepared(make(entries), SPEC, tmp_path / "out", source="x", size=16)
    assert manifest["count"] == 3
    (warning,) = manifest["warnings"]
    assert warning.startswith("1 of 3 faces have points outside their image, the first is out")


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.full((5, 2), 500.0) + np.arange(5)[:, None], "no point lies inside its image of 120 x 90"),
        (np.full((5, 2), 40.0), "within one pixel"),
        (np.array([[40, 40], [50, 50], [60, 40], [50, 30], [99999, 40.0]]), "far outside"),
    ],
)
def test_points_that_are_no_face_are_skipped(tmp_path, face, points, reason):
    bad = Face(**{**vars(face("bad")), "points": points.astype(np.float32)})
    manifest = write_prepared(make([face("a"), bad]), SPEC, tmp_path / "out", source="x", size=16)
    assert [entry["name"] for entry in manifest["skipped"]] == ["bad"]
    assert reason in manifest["skipped"][0]["reason"]


def test_nothing_readable_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="none of its 1 faces could be read; the first: b: empty"):
        write_prepared(make([SkippedFace("b", "empty")]), SPEC, tmp_path / "out", source="x")
    assert list(tmp_path.iterdir()) == []


def test_an_error_half_way_leaves_nothing_and_keeps_what_was_there(tmp_path, face):
    write_prepared(make([face("a")]), SPEC, tmp_path / "out", source="x", size=16)
    before = (tmp_path / "out" / "manifest.json").read_text()

    def broken(number):
        if number:
            raise KeyboardInterrupt
        return face("b")

    raw = RawDataset(LandmarkScheme.plain(5), FacesOnDisk([(0,), (1,)], broken))
    with pytest.raises(KeyboardInterrupt):
        write_prepared(raw, SPEC, tmp_path / "out", source="x", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "manifest.json").read_text() == before


def test_overwrite_replaces_a_prepared_folder_only(tmp_path, face):
    out = tmp_path / "out"
    write_prepared(make([face("a")]), SPEC, out, source="x", size=16)
    with pytest.raises(DataError, match="exists already"):
        write_prepared(make([face("b")]), SPEC, out, source="x", size=16)
    write_prepared(make([face("b")]), SPEC, out, source="x", size=16, overwrite=True)
    assert PreparedDataset(out).table["name"].tolist() == ["b"]
    (tmp_path / "precious").mkdir()
    with pytest.raises(DataError, match="is not a prepared folder, so it is not overwritten"):
        write_prepared(make([face("b")]), SPEC, tmp_path / "precious", source="x", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "precious"]


def test_synthetic_mark_and_report(tmp_path, faces_300w, capsys):
    assert not open_raw("300w", faces_300w).synthetic
    (faces_300w / "SYNTHETIC.json").write_text("{}")
    for name in ("100_1", "100_2", "101_1", "101_2", "102_1", "102_2", "103_1"):
        (faces_300w / "afw" / f"{name}.png").write_bytes(b"")
    manifest = prepare("300w", faces_300w, tmp_path / "out", size=16)
    assert PreparedDataset(tmp_path / "out").synthetic
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == count_report(manifest)
    assert lines[0] == "300w (synthetic, 68 points): 7 faces"
    assert "  train afw: 3 of 337 official, -334" in lines
    assert "  test  together: 2 of 689 official, -687" in lines
    assert "skipped 7 faces, the first 5 are shown, all are in manifest.json:" in lines
    assert sum("empty file" in line for line in lines) == 5
    assert len(manifest["skipped"]) == 7
    assert any(line.startswith("warning: lfpw/testset absent") for line in lines)


def test_progress_passes_everything_on_and_writes_ten_lines(capsys):
    assert list(print_progress(iter(range(95)), 95)) == list(range(95))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("100 %  95/95 faces")


def test_memory_does_not_grow_with_the_faces(tmp_path, face):
    """Images are dropped as they are written: at most two are alive at any time."""
    images, most = [], 0

    def read(i):
        nonlocal most
        one = face(str(i), seed=i)
        images.append(weakref.ref(one.image))
        most = max(most, sum(image() is not None for image in images))
        return one

    raw = RawDataset(LandmarkScheme.plain(5), FacesOnDisk([(i,) for i in range(30)], read))
    write_prepared(raw, SPEC, tmp_path / "out", source="x", size=16)
    assert most <= 2
