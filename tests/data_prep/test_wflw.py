"""The WFLW reader and its list format."""

import gzip

import numpy as np
import pytest
from PIL import Image

from data_prep.raw import SkippedFace
from data_prep.wflw import parse_line, read_wflw
from tests.data_prep.marked_faces import at_marks, marked

LISTS = "WFLW_annotations/list_98pt_rect_attr_train_test"


def line_of(points, path, flags="0 0 0 0 0 0", box=(10, 20, 110, 80)):
    numbers = " ".join(f"{value:.6f}" for value in points.reshape(-1))
    return f"{numbers} {' '.join(map(str, box))} {flags} {path}"


@pytest.fixture
def source(tmp_path):
    images = tmp_path / "WFLW_images" / "0--Parade show"
    images.mkdir(parents=True)
    lines = []
    for seed in range(3):
        image, points = marked(98, seed)
        Image.fromarray(image).save(images / f"{seed}.png")
        lines.append(line_of(points, f"0--Parade show/{seed}.png", "1 0 0 1 0 1"))
    lists = tmp_path / LISTS
    lists.mkdir(parents=True)
    (lists / "list_98pt_rect_attr_train.txt").write_text("\n".join(lines) + "\n")
    (lists / "list_98pt_rect_attr_test.txt").write_text(lines[0].replace(" 1 0 0 1 0 1 ", " 0 1 1 0 1 0 ") + "\n")
    return tmp_path


def test_faces_flags_and_boxes(source):
    raw = read_wflw(source)
    faces = list(raw.entries)
    assert all(at_marks(face) for face in faces)
    expected = ("0--Parade show/0.png#1", "0--Parade show/0.png", (10, 20, 100, 60), ())
    assert (faces[0].name, faces[0].group, faces[0].box, faces[0].subsets) == expected
    assert faces[3].subsets == ("expression", "illumination", "occlusion")
    assert [face.split for face in faces] == ["train"] * 3 + ["test"]


def test_several_faces_of_one_picture_have_names_of_their_own_and_one_group(source):
    path = source / LISTS / "list_98pt_rect_attr_train.txt"
    first = path.read_text().splitlines()[0]
    path.write_text(path.read_text() + first.replace("110 80", "111 81") + "\n" + first + "\n")
    faces = list(read_wflw(source).entries)
    assert faces[3].name == "0--Parade show/0.png#4"
    assert faces[3].group == faces[0].group
    assert faces[4] == SkippedFace("list_98pt_rect_attr_train.txt:5", "repeats line 1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda line: line.split(maxsplit=5)[-1], "found 203 words, expected 196 coordinates"),
        (lambda line: "nan " + line.split(maxsplit=1)[1], "not finite"),
        (lambda line: line.replace(" 1 0 0 1 0 1 ", " 1 0 0 1 0 2 "), "expected six of 0 or 1"),
        (lambda line: line.replace("0.png", "absent.png"), "No such file"),
    ],
)
def test_a_bad_line_is_skipped_with_its_number(source, change, reason):
    path = source / LISTS / "list_98pt_rect_attr_train.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[1], change(lines[0]), lines[2]]))
    entries = list(read_wflw(source).entries)
    assert [isinstance(entry, SkippedFace) for entry in entries] == [False, True, False, False]
    assert reason in entries[1].reason
    assert entries[1].name.endswith(("train.txt:2", "#2"))


@pytest.mark.parametrize("folder", ["list_98pt_rect_attr_train_test", "."])
def test_lists_lie_elsewhere_or_one_is_absent(source, folder):
    lists = source / LISTS
    (source / folder).mkdir(exist_ok=True)
    (lists / "list_98pt_rect_attr_test.txt").unlink()
    (lists / "list_98pt_rect_attr_train.txt").rename(source / folder / "list_98pt_rect_attr_train.txt")
    raw = read_wflw(source)
    assert (len(raw.entries), raw.warnings) == (3, ("list_98pt_rect_attr_test.txt absent: no test set (2500 faces)",))


def test_real_coordinates_parse(raw_faces):
    path = raw_faces.parent / "samples" / "wflw_test_annotations" / "list_98pt_test_1966_of_2500.txt.gz"
    if not path.exists():
        pytest.skip(f"no WFLW annotations at {path}")
    with gzip.open(path, "rt") as file:
        points = np.stack([parse_line(f"{line.rsplit(maxsplit=1)[0]} 0 0 1 1 0 0 0 0 0 0 x")[0] for line in file])
    assert points.shape == (1966, 98, 2)
    # Outer eye corners: the subject's right one is on the left in nearly every face.
    assert (points[:, 60, 0] < points[:, 72, 0]).mean() > 0.97
