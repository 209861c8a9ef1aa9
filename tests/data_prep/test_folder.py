"""The user's own faces: points, names, splits and groups, in .pts files and COCO-style JSON."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from data_prep.folder import read_folder
from data_prep.formats import SUFFIXES
from data_prep.prepare import prepare
from data_prep.raw import SkippedFace
from kdloss.data.prepared import PreparedDataset
from kdloss.errors import DataError
from tests.data_prep.marked_faces import at_marks, marked, write_face


@pytest.fixture
def coco(tmp_path):
    """Writes ``count`` pictures of five points and faces.json; ``visible`` gives v of each face."""

    def write(visible, categories=()):
        data = {"categories": list(categories), "images": [], "annotations": []}
        for i, v in enumerate(visible):
            image, points = marked(5, i)
            file = f"face {i}.png"
            Image.fromarray(image).save(tmp_path / file)
            data["images"].append({"id": 10 + i, "file_name": file})
            keypoints = np.column_stack([points, v]).reshape(-1).tolist()
            data["annotations"].append({"id": i, "image_id": 10 + i, "keypoints": keypoints, "bbox": [1, 2, 30, 40]})
        (tmp_path / "faces.json").write_text(json.dumps(data))
        return data

    return write


def test_pts_of_any_number_of_points(tmp_path):
    for seed in range(3):
        write_face(tmp_path / "sub" / f"my face {seed}.png", num_points=7, seed=seed)
    raw = read_folder(tmp_path)
    faces = list(raw.entries)
    assert all(at_marks(face) for face in faces)
    assert (raw.scheme.num_points, raw.scheme.mirrorable) == (7, False)
    assert [face.name for face in faces] == [f"sub/my face {seed}.png" for seed in range(3)]


def test_schemes_are_known_by_their_number_of_points_or_by_names(tmp_path):
    for num_points in (29, 68, 98):
        write_face(tmp_path / "a.png", num_points=num_points)
        assert read_folder(tmp_path).scheme.name == str(num_points)
    write_face(tmp_path / "a.png", num_points=3)
    (tmp_path / "points.txt").write_text("left_eye\nnose\nright_eye\n")
    np.testing.assert_array_equal(read_folder(tmp_path).scheme.mirror, [2, 1, 0])
    refused = {"left_eye\nnose\n": "points.txt: found 2 names, expected 3", "nose\nnose\nchin\n": "point names repeat"}
    for names, reason in refused.items():
        (tmp_path / "points.txt").write_text(names)
        with pytest.raises(DataError, match=reason):
            read_folder(tmp_path)


def test_faces_with_another_number_of_points_and_unpaired_files_are_skipped(tmp_path):
    for seed in range(3):
        write_face(tmp_path / f"a{seed}.png", num_points=5, seed=seed)
    write_face(tmp_path / "odd.png", num_points=6)
    write_face(tmp_path / "lonely.png", num_points=5)
    (tmp_path / "lonely.pts").unlink()
    write_face(tmp_path / "pts only.png", num_points=5)
    (tmp_path / "pts only.png").unlink()
    write_face(tmp_path / "nan.png", num_points=5)
    (tmp_path / "nan.pts").write_text("nan 1\n" * 5)
    skipped = {entry.name: entry.reason for entry in read_folder(tmp_path).entries if isinstance(entry, SkippedFace)}
    expected = {
        "nan.png": "nan.pts:1",
        "odd.png": "has 6 points, expected 5 as most faces",
        "pts only": "no such picture",
    }
    assert list(skipped) == list(expected)
    assert "1 pictures have no annotation, the first is lonely.png" in read_folder(tmp_path).warnings
    assert all(reason in skipped[name] for name, reason in expected.items())


def test_without_a_test_folder_a_fifth_is_held_out_person_by_person(tmp_path):
    for person in range(12):
        for frame in range(3):
            write_face(tmp_path / "raw" / f"person {chr(97 + person)}_{frame:02d}.png", 5, seed=3 * person + frame)
    splits = []
    for out in ("a", "b"):
        manifest = prepare("folder", tmp_path / "raw", tmp_path / out, size=16)
        assert "no test folder: 6 of 36 faces are kept for testing, always the same ones" in manifest["warnings"]
        table = PreparedDataset(tmp_path / out).table
        splits.append(dict(zip(table["name"], table["split"], strict=True)))
    people = {s: {name[:8] for name, split in splits[0].items() if split == s} for s in ("test", "train", "val")}
    assert {split: len(some) for split, some in people.items()} == {"test": 2, "train": 9, "val": 1}
    assert splits[0] == splits[1]


def test_names_that_only_count_are_not_taken_for_one_person(tmp_path):
    for number in range(10):
        write_face(tmp_path / f"img_{number:04d}.png", num_points=5, seed=number)
    assert len({face.group for face in read_folder(tmp_path).entries}) == 10


def test_people_in_both_of_the_given_folders_cause_a_warning(tmp_path):
    for person in "abcdefghij":
        write_face(tmp_path / "train" / f"{person}_1.png", num_points=5)
    write_face(tmp_path / "test" / "a_2.png", num_points=5)
    write_face(tmp_path / "test" / "z_1.png", num_points=5)
    for folder in ("train", "test"):
        write_face(tmp_path / folder / "0001.png", num_points=5)  # the same name says nothing
    warnings = read_folder(tmp_path).warnings
    assert "by their file names 1 of 3 test pictures are of people or videos also trained on" in warnings


def test_coco_points_are_zero_based_and_hidden_ones_occluded(tmp_path, coco):
    names = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    coco([[2, 2, 1, 2, 1], [2, 2, 2, 2, 2]], [{"keypoints": names}])
    raw = read_folder(tmp_path)
    faces = list(raw.entries)
    assert raw.scheme.names == names
    assert all(at_marks(face) for face in faces)
    assert [face.name for face in faces] == ["face 0.png", "face 1.png"]
    np.testing.assert_array_equal(faces[0].occluded, [0, 0, 1, 0, 1])
    assert not faces[1].occluded.any()
    assert faces[0].box == (1, 2, 30, 40)
    coco([[1] * 5, [1] * 5])  # a file that knows no visible points tells nothing of hidden ones
    assert [face.occluded for face in read_folder(tmp_path).entries] == [None, None]


def test_several_faces_of_one_picture(tmp_path, coco):
    data = coco([[2] * 5])
    data["annotations"].append({**data["annotations"][0], "id": 77})
    (tmp_path / "faces.json").write_text(json.dumps(data))
    faces = list(read_folder(tmp_path).entries)
    assert [face.name for face in faces] == ["face 0.png#0", "face 0.png#77"]
    assert faces[0].group == faces[1].group


def test_coco_faces_that_cannot_be_used_are_skipped(tmp_path, coco):
    data = coco([[2] * 5] * 7)
    faces = data["annotations"]
    faces[0]["keypoints"][2::3] = [0] * 5
    faces[1]["keypoints"] = faces[1]["keypoints"][:-1]
    faces[2]["keypoints"][0] = float("nan")
    faces[3]["image_id"] = 999
    faces[4]["keypoints"][0] = 10**400
    (tmp_path / "face 5.png").unlink()
    (tmp_path / "faces.json").write_text(json.dumps(data))
    entries = list(read_folder(tmp_path).entries)
    assert [isinstance(entry, SkippedFace) for entry in entries] == [True] * 6 + [False]
    reasons = ["none of its 5 points is labelled", "found 14", "not finite", "999", "large", "no such picture"]
    assert all(reason in entry.reason for entry, reason in zip(entries, reasons, strict=False))


def test_points_that_are_not_labelled_are_unknown(tmp_path, coco):
    data = coco([[2] * 5] * 2)
    data["annotations"][0]["keypoints"][:6] = [0, 0, 0, float("nan"), 1, 0]
    (tmp_path / "faces.json").write_text(json.dumps(data))
    some, whole = read_folder(tmp_path).entries
    np.testing.assert_array_equal(np.isnan(some.points), [[True, True]] * 2 + [[False, False]] * 3)
    np.testing.assert_array_equal(some.points[2:], marked(5, 0)[1][2:])
    assert np.isfinite(whole.points).all()


def test_annotations_may_lie_elsewhere_and_must_be_chosen_where_there_are_several(tmp_path, tmp_path_factory, coco):
    coco([[2] * 5])
    write_face(tmp_path / "other.png", num_points=6)
    with pytest.raises(DataError, match=r"several formats, COCO JSON \(faces\.json\), \.pts \(other\.pts\): choose"):
        read_folder(tmp_path)
    file = (tmp_path / "faces.json").rename(tmp_path_factory.mktemp("labels") / "labels.json")
    assert read_folder(tmp_path, annotations=[str(file)]).scheme.num_points == 5
    assert read_folder(tmp_path).scheme.num_points == 6


def test_missing_annotations_and_too_many_are_named(tmp_path):
    with pytest.raises(DataError, match=f"found no {', '.join(SUFFIXES)}"):
        read_folder(tmp_path)
    for name in ("SYNTHETIC.json", "faces.json", "b.json"):
        (tmp_path / name).write_text('{"images": [], "annotations": []}')
    with pytest.raises(DataError, match=r"2 files of COCO JSON \(b\.json, faces\.json\), and not all name a split"):
        read_folder(tmp_path)


def test_pictures_that_are_no_files_or_lie_elsewhere_are_skipped(tmp_path):
    (own := tmp_path / "own").mkdir()
    os.mkfifo(own / "pipe.jpg")
    Image.new("RGB", (40, 40)).save(tmp_path / "stranger.png")
    names = ("/dev/zero", "../stranger.png", str(tmp_path / "stranger.png"), "pipe.jpg")
    images = [{"id": number, "file_name": name} for number, name in enumerate(names)]
    faces = [{"image_id": number, "keypoints": [1, 2, 2, 3, 4, 2]} for number in range(len(names))]
    (own / "a.json").write_text(json.dumps({"images": images, "annotations": faces}))
    *outside, pipe = read_folder(own).entries
    assert ["no such picture" in face.reason for face in outside] == [True] * 3
    assert "no regular file" in pipe.reason
