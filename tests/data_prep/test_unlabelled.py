"""Faces without landmarks, from the command to the prepared folder."""

import csv

import numpy as np
import pytest
from PIL import Image

from data_prep.__main__ import main
from kdloss.data.geometry import BoxPolicy, transform_each
from kdloss.data.prepared import PreparedDataset, shared_rows
from kdloss.errors import DataError
from tests.data_prep.marked_faces import marked, write_face

BOX = [30, 20, 40, 50]


@pytest.fixture
def source(tmp_path):
    """Three pictures of 120 x 90 pixels, one of them with landmarks, and files that are no pictures."""
    source = tmp_path / "pictures"
    for seed, name in enumerate(("a.png", "sub dir/b.png", "sub dir/c.png")):
        write_face(source / name, num_points=5, seed=seed)
    for name in ("a", "sub dir/b"):
        (source / f"{name}.pts").unlink()
    (source / "__MACOSX").mkdir()
    for name in ("notes.txt", ".hidden.png", "__MACOSX/a.png"):
        (source / name).write_text("no picture")
    return source


@pytest.fixture
def prepare(tmp_path, source, capsys):
    """Prepares the pictures with rows of name, x, y, width, height; returns the set and what was printed."""

    def run(rows):
        with open(tmp_path / "boxes.csv", "w", newline="") as file:
            csv.writer(file).writerows([["name", "x", "y", "width", "height"], *rows])
        arguments = ["--unlabelled", "--boxes", tmp_path / "boxes.csv", "--size", 32, "--overwrite"]
        command = ["folder", "--source", source, "--out", tmp_path / "out", *arguments]
        assert main([*map(str, command)]) == 0
        return PreparedDataset(tmp_path / "out"), capsys.readouterr().out

    return run


def test_each_row_is_a_face_and_its_box_the_landmark_box(prepare, source):
    rows = [("sub dir/b.png", *BOX), ("a.png", 1.5, 2, 30, 20), ("sub dir/b.png", 60, 30, 20, 20)]
    faces, said = prepare(rows)
    assert faces.unlabelled
    assert faces.table["name"].tolist() == ["a.png", "sub dir/b.png#1", "sub dir/b.png#2"]
    assert set(faces.table["split"]) == {"unlabelled"}
    assert faces.table["source"].tolist() == ["faces", "sub dir", "sub dir"]
    assert faces.points.shape == (3, 0, 2)
    assert faces.scheme.num_points == 0
    assert faces.table["box_height"].tolist() == [20, 50, 20]
    assert said.splitlines()[:3] == ["folder (no points): 3 faces", "  unlabelled faces: 1", "  unlabelled sub dir: 2"]
    assert faces.unlabelled_rows().tolist() == [0, 1, 2]
    # Boxes of all policies are grown from it, and lie in the stored crop where they lie in the picture.
    for text in ("gt:1.25", "dataset:1.1", "paper"):
        policy = BoxPolicy.parse(text)
        stored = faces.boxes(policy)
        corners = np.stack([stored[:, :2], stored[:, :2] + stored[:, 2:]], axis=1)
        x, y, width, height = policy.grow(BOX)
        expected = [[x, y], [x + width, y + height]]
        np.testing.assert_allclose(transform_each(faces.to_image, corners)[1], expected, atol=1e-9)
    # The crop is twice the longer side of the box around its centre.
    np.testing.assert_allclose(faces.to_image[1], [[100 / 32, 0, 50 - 50 + 50 / 32], [0, 100 / 32, -5 + 50 / 32]])
    assert main(["check", str(faces.path)]) == 0


def test_what_cannot_be_used_is_said_and_the_rest_prepared(prepare, source):
    (source / "d.png").write_bytes(b"damaged")
    write_face(source.parent / "out of it.png")
    boxes = {
        "nan": ("nan", 2, 3, 4),
        "text": ("x", 2, 3, 4),
        "empty": (1, 2, 0, 4),
        "outside": (119.6, 0, 20, 20),
        "far": (0, 0, 481, 20),
        "tiny": (5, 5, 0.5, 0.9),
    }
    rows = [
        ("a.png", *BOX),
        ("d.png", *BOX),
        ("../out of it.png", *BOX),
        *(("sub dir/b.png", *box) for box in boxes.values()),
    ]
    faces, said = prepare([*rows, ("sub dir/c.png", 119.4, -19, 20, 20)])
    assert faces.table["name"].tolist() == ["a.png", "sub dir/c.png"]
    assert "skipped 8 faces, the first 5 are shown" in said
    skipped = {face["name"]: face["reason"] for face in faces.manifest["skipped"]}
    reasons = [
        "not an image",
        "there is no such picture below",
        "found box nan 2 3 4, expected finite",
        "found box x 2 3 4",
        "found box 1 2",
    ]
    reasons += ["its box 119.6 0 20 20 lies outside its image of 120 x 90 pixels", "is far larger than its image"]
    reasons += ["its box is smaller than one pixel"]
    names = ["d.png", "../out of it.png", *(f"sub dir/b.png#{number}" for number in range(1, 7))]
    assert skipped.keys() == set(names)
    for name, reason in zip(names, reasons, strict=True):
        assert reason in skipped[name]


def test_the_detector_finds_faces(tmp_path):
    from skimage.data import astronaut

    photograph = astronaut()[:256, 96:352]
    (tmp_path / "in").mkdir()
    Image.fromarray(photograph).save(tmp_path / "in" / "a.png")
    Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(tmp_path / "in" / "black.png")
    (tmp_path / "in" / "damaged.png").write_bytes(b"no picture")
    arguments = ["--source", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--unlabelled", "--size", "32"]
    assert main(["folder", *arguments]) == 0
    faces = PreparedDataset(tmp_path / "out")
    assert faces.table["name"].tolist() == ["a.png"]
    x, y, width, height = (faces.table[f"box_{value}"][0] for value in ("x", "y", "width", "height"))
    # Eyes, nose and mouth of the astronaut lie in her landmark box, her hairline does not.
    assert x < 106 < 148 < x + width
    assert 70 < y < 100 < 160 < y + height < 185
    skipped = {face["name"]: face["reason"] for face in faces.manifest["skipped"]}
    assert skipped["black.png"] == "no face was found in it"
    assert "not an image" in skipped["damaged.png"]


def test_options_and_files_that_do_not_fit(tmp_path, source, fails):
    folder = ["folder", "--source", source, "--out", tmp_path / "out"]
    boxes = tmp_path / "boxes.csv"
    assert fails(*folder, "--boxes", boxes).endswith("without landmarks: add --unlabelled, or leave it out")
    assert "--annotations: is for landmarks" in fails(*folder, "--unlabelled", "--annotations", "a.json")
    unlabelled = [*folder, "--unlabelled", "--boxes", boxes]
    boxes.write_text("name,x,y,width,height\nb.png,1,2,3,4\n")
    assert "names none of the 3 pictures below " in (line := fails(*unlabelled))
    assert line.endswith("expected paths below that folder, such as a.png")
    (tmp_path / "out").mkdir()
    assert "out: exists already" in fails(*unlabelled)  # before anything is read
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boxes.csv", "out", "pictures"]


def test_nothing_trains_or_measures_on_them(prepare):
    faces, _ = prepare([("a.png", *BOX)])
    with pytest.raises(DataError, match=r"holds no test faces \(train 0, val 0, test 0, unlabelled 1\)"):
        faces.indices("test")
    with pytest.raises(DataError, match=r"out: holds faces without landmarks: give another --data"):
        faces.require("folder")


def test_test_faces_are_found_under_other_names_boxes_and_formats(prepare, source, tmp_path):
    labelled = tmp_path / "labelled"
    for number in range(10):
        write_face(labelled / "train" / f"{number}.png", num_points=5, seed=100 + number)
    write_face(labelled / "test" / "0.png", num_points=5, seed=200)
    assert main(["folder", "--source", str(labelled), "--out", str(tmp_path / "faces"), "--size", "32"]) == 0
    evaluated = PreparedDataset(tmp_path / "faces")
    validation = evaluated.table["name"][evaluated.indices("val")[0]]
    Image.fromarray(marked(5, 200)[0]).save(source / "tested.bmp")
    changed = marked(5, 200)[0]
    changed[40, 61, 1] += 1
    Image.fromarray(changed).save(source / "changed.png")
    for name in (validation, "train/0.png" if validation != "train/0.png" else "train/1.png"):
        (labelled / name).rename(source / name.replace("/", " "))
    names = ["a.png", "changed.png", "tested.bmp", *sorted(path.name for path in source.glob("train *"))]
    faces, _ = prepare([(name, *BOX) for name in names])
    assert faces.table["name"].tolist() == names
    names = faces.table["name"]
    assert names[shared_rows(faces, evaluated)].tolist() == ["tested.bmp", validation.replace("/", " ")]
    assert names[shared_rows(faces, evaluated, ("test",))].tolist() == ["tested.bmp"]
    # A labelled set shares its validation faces with itself, never a test face.
    assert shared_rows(evaluated, evaluated).tolist() == evaluated.indices("val").tolist()
    assert evaluated.unlabelled_rows().tolist() == [row for row in range(11) if evaluated.table["split"][row] != "test"]
