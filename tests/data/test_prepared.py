"""Prepared folders as they are read: whole and checked."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from kdloss.data.geometry import BoxPolicy, FaceCrop, invert, landmark_box, transform_points
from kdloss.data.prepared import (
    BOX_COLUMNS,
    PreparedDataset,
    RowFile,
    is_prepared,
    read_table,
    shared_rows,
    write_manifest,
)
from kdloss.data.schemes import SCHEMES
from kdloss.errors import DataError


@pytest.fixture
def folder(random_faces, tmp_path):
    """A copy of a prepared folder, to be damaged."""
    return shutil.copytree(random_faces.path, tmp_path / "copy")


def refusal(path):
    """The error of opening a folder, which names it."""
    with pytest.raises(DataError, match=re.escape(str(path))) as caught:
        PreparedDataset(path)
    return str(caught.value)


def reseal(folder, **changes):
    """Writes a manifest that fits the changed files."""
    manifest = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, manifest | changes)


def test_what_was_written_is_read(random_faces):
    assert len(random_faces) == 13
    assert (random_faces.dataset, random_faces.size, random_faces.synthetic) == ("cofw", 48, False)
    assert random_faces.scheme == SCHEMES["29"]
    assert random_faces.faces.shape == (13, 48, 48, 3)
    assert random_faces.faces.dtype == np.uint8
    assert random_faces.points.dtype == np.float32
    assert [len(random_faces.indices(split)) for split in ("train", "val", "test")] == [9, 1, 3]
    rows = np.concatenate([random_faces.indices(split) for split in ("train", "val", "test")])
    assert sorted(rows) == list(range(13))
    assert set(random_faces.table["source"][random_faces.indices("test")]) == {"test faces"}


def test_occlusion_flags_are_read_where_there_are_any(random_faces, make_prepared):
    assert random_faces.occluded is None
    flagged = make_prepared("cofw", occluded=2)
    assert flagged.occluded[flagged.indices("test")].tolist() == [[k < 2 * i for k in range(29)] for i in range(8)]


@pytest.mark.parametrize("text", ["gt:1.25", "paper", "dataset:1.1"])
def test_all_boxes_at_once_are_those_one_by_one_to_the_bit(random_faces, text):
    """Stored outputs of teachers are found again by the bytes of the boxes."""
    policy, found = BoxPolicy.parse(text), random_faces.boxes(BoxPolicy.parse(text))
    for row, matrix in enumerate(random_faces.to_image):
        points = transform_points(matrix, random_faces.points[row])
        np.testing.assert_array_equal(random_faces.source_points[row], points)
        own = [random_faces.table[f"box_{name}"][row] for name in ("x", "y", "width", "height")]
        box = policy.grow(landmark_box(points) if policy.source == "gt" else own)
        expected = [*transform_points(invert(matrix), box[:2]), *box[2:] / matrix[0, 0]]
        np.testing.assert_array_equal(found[row], expected)
        # A box in the stored crop shows what it shows in the source.
        shown = FaceCrop.from_box(found[row], 24).points(random_faces.points[row].astype(float))
        np.testing.assert_allclose(shown, FaceCrop.from_box(box, 24).points(points), atol=1e-4)


def test_a_set_without_boxes_has_none_to_cut(make_prepared):
    without = make_prepared("cofw", box=False)
    assert len(without.boxes(BoxPolicy())) == 28
    with pytest.raises(DataError, match=r"--box dataset:1.1: 28 of 28 faces have no box of their own: use gt:1.25"):
        without.boxes(BoxPolicy.parse("dataset:1.1"))


def test_an_empty_split_is_an_error_and_an_empty_subset_is_not(make_prepared):
    no_test = make_prepared("wflw", test=0)
    with pytest.raises(DataError, match=r"holds no test faces \(train 18, val 2, test 0\)"):
        no_test.indices("test")
    some = make_prepared("wflw")
    assert len(some.indices("test", "full")) == 8
    assert len(some.indices("test", "blur")) == 0
    assert len(some.indices("test", "unheard of")) == 0


def test_sets_from_before_pictures_were_hashed_tell_their_crops(folder, random_faces):
    """Tables had no column ``image`` then."""
    lines = (folder / "table.csv").read_text().splitlines()
    place = lines[0].split(",").index("image")
    rows = [line.split(",") for line in lines]
    (folder / "table.csv").write_text("\n".join(",".join(row[:place] + row[place + 1 :]) for row in rows))
    reseal(folder)
    old = PreparedDataset(folder)
    assert not old.unlabelled
    held = random_faces.table["name"][random_faces.indices("val")].tolist()
    for one, other in ((old, random_faces), (random_faces, old), (old, old)):
        assert one.table["name"][shared_rows(one, other)].tolist() == held
        assert shared_rows(one, other, ("test",)).tolist() == []
    everyone = shared_rows(old, random_faces, ("train", "val", "test"))
    assert everyone.tolist() == old.unlabelled_rows().tolist()
    assert len(everyone) == 10


def test_test_faces_never_serve_without_their_labels(make_prepared):
    with pytest.raises(DataError, match="holds test faces only"):
        make_prepared("cofw", train=0, test=3).unlabelled_rows()


def test_no_folder_and_no_manifest(tmp_path, random_faces):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    assert "no manifest.json in it, so not a prepared set: run python -m data_prep" in refusal(tmp_path)
    assert not is_prepared(tmp_path)
    assert not is_prepared(tmp_path / "nowhere")
    assert is_prepared(random_faces.path)
    (tmp_path / "manifest.json").write_text('{"version": 1}')
    assert "prepared format version 1, expected 2: prepare the set again" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"dataset": "cofw"}', '{"version": 2}', "\x00\xff"])
def test_a_damaged_manifest_is_refused(folder, text):
    (folder / "manifest.json").write_bytes(text.encode("latin-1"))
    assert "manifest.json: damaged" in refusal(folder)


@pytest.mark.parametrize("changes", [{"count": 12}, {"content": "0" * 16}, {"source": "elsewhere"}])
def test_a_manifest_that_was_changed_is_refused(folder, changes):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest))  # other spaces, the same content
    assert len(PreparedDataset(folder)) == 13
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))
    assert "manifest.json: changed since it was written (its hash is another): prepare the set" in refusal(folder)


@pytest.mark.parametrize("scale", [10**400, 0, -1.5, float("nan"), float("inf")])
def test_a_crop_scale_that_no_set_has_is_refused(folder, scale):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"crop_scale": scale}))
    assert "manifest.json: damaged (no crop scale): prepare the set again" in refusal(folder)


@pytest.mark.parametrize("name", ["points.npy", "table.csv"])
def test_one_changed_bit_is_noticed(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-3] ^= 1
    (folder / name).write_bytes(content)
    assert f"{name}: damaged (its hash is not the manifest's): prepare the set again" in refusal(folder)
    (folder / name).unlink()
    assert f"{name}: missing: prepare the set again" in refusal(folder)


@pytest.mark.parametrize("name", ["faces.npy", "points.npy", "to_image.npy", "digests.npy"])
@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
        lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
    ],
    ids=["missing", "cut", "pickle"],
)
def test_a_damaged_array_is_refused(folder, name, damage):
    damage(folder / name)
    reseal(folder)
    assert f"{name}: unreadable" in refusal(folder)


def test_files_that_do_not_fit_together_are_refused(folder):
    np.save(folder / "occluded.npy", np.zeros((13, 29), bool))
    assert "occluded.npy: damaged (its hash is not the manifest's)" in refusal(folder)
    (folder / "occluded.npy").unlink()
    points, scheme = np.load(folder / "points.npy"), json.loads((folder / "manifest.json").read_text())["scheme"]
    reseal(folder, scheme={"name": "29"})
    assert "manifest.json: damaged" in refusal(folder)
    for changed, found in ((points[:, :5], "shape (13, 5, 2)"), (points.astype(np.float64), "type float64")):
        np.save(folder / "points.npy", changed)
        reseal(folder, scheme=scheme)
        assert f"points.npy: found {found}, expected " in refusal(folder)
    np.save(folder / "points.npy", points)
    lines = (folder / "table.csv").read_text().splitlines(keepends=True)
    (folder / "table.csv").write_text("".join(lines[:-2]))
    reseal(folder)
    assert "table.csv: found 11 rows, expected 13" in refusal(folder)
    (folder / "table.csv").unlink()
    reseal(folder)
    assert "table.csv: missing" in refusal(folder)


def test_points_that_no_picture_has_are_refused(folder, random_faces):
    points = random_faces.points.copy()
    points[11, 3] = np.nan  # one that is not known
    points[[4, 9], 7, 1] = np.nan, np.inf
    points[10] = np.nan
    np.save(folder / "points.npy", points)
    reseal(folder)
    first = random_faces.table["name"][4]
    assert f"3 of 13 faces have points or transforms that no picture has (the first: {first})" in refusal(folder)


NAMES = ["name", "split", "source", "group", *BOX_COLUMNS, "subset_blur"]
DAMAGED = {
    "header alone": [NAMES],
    "short row": [NAMES, ["a.png", "train"]],
    "no number": [NAMES, ["a.png", "train", "x", "g", "wide", "-2", "3", "4e2", "0"]],
    "binary": [["\0" * 50]],
}


@pytest.mark.parametrize("rows", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_table_is_refused(tmp_path, rows):
    with open(tmp_path / "table.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(DataError, match=r"table\.csv: damaged .* prepare the set again"):
        read_table(tmp_path / "table.csv")


ARRAY = np.random.default_rng(0).integers(0, 256, (12, 5, 4, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "rows.npy", ARRAY)
    return tmp_path / "rows.npy"


def test_rows_are_those_that_were_saved(path):
    rows = RowFile(path)
    assert (rows.shape, rows.dtype, len(rows)) == (ARRAY.shape, np.uint8, 12)
    for number in (0, 11, -1, -12, np.int64(3)):
        np.testing.assert_array_equal(rows[number], ARRAY[number])
    for part in (slice(None), slice(2, 9, 3), slice(None, None, -1), slice(5, 5), slice(-3, 40)):
        assert rows[part].shape == ARRAY[part].shape
        np.testing.assert_array_equal(rows[part], ARRAY[part])


@pytest.mark.parametrize("part", [slice(0, 5), slice(1, 3), slice(2, 2)])
def test_a_part_of_a_row_is_read_where_it_belongs(path, part):
    rows = RowFile(path)
    for number in (0, 7, -1):
        np.testing.assert_array_equal(rows.read_part(number, part)[part], ARRAY[number, part])
    for number in (12, -13):
        with pytest.raises(IndexError, match=r"no row .* of 12"):
            rows.read_part(number, part)


@pytest.mark.parametrize("change", [1, -1])
def test_a_file_longer_or_shorter_than_it_says_is_refused(path, change):
    content = path.read_bytes()
    os.truncate(path, len(content) + change)
    with pytest.raises(ValueError, match=rf"found {path.stat().st_size} bytes, expected {len(content)}"):
        RowFile(path)


def test_a_file_that_shrinks_while_it_is_open_is_an_error_and_no_crash(path):
    rows = RowFile(path)
    os.truncate(path, path.stat().st_size - 30)
    with pytest.raises(OSError, match="was cut short while it was read"):
        rows[11]
