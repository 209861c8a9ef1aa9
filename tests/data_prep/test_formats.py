"""Other people's annotations: each format and each trap, read rightly or refused."""

import json
import re
import unicodedata

import numpy as np
import pytest
from PIL import Image

from data_prep.__main__ import main
from data_prep.folder import read_folder
from data_prep.formats import SUFFIXES, read_annotations
from data_prep.pictures import split_of
from data_prep.prepare import prepare
from data_prep.raw import SkippedFace
from data_prep.w300 import read_300w
from data_prep.wflw import ANNOTATIONS, IMAGES, LISTS, read_wflw
from kdloss.data.prepared import PreparedDataset
from kdloss.errors import UserError
from tests.data_prep.marked_faces import at_marks, marked, write_face, write_pts

NAMES = ["left_eye", "right_eye", "nose", "mouth_left", "mouth_right"]
EXIF_ORIENTATION = 0x0112


def write_pictures(folder, names, num_points=5, **options):
    """Writes a picture for each name; returns name -> (N, 2) points at its white pixels."""
    points = {}
    for seed, name in enumerate(names):
        image, points[name] = marked(num_points, seed, **options)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
    return points


def write_points(folder, points, names):
    for picture, table in points.items():
        write_pts((folder / picture).with_suffix(".pts"), table)
    (folder / "points.txt").write_text("\n".join(names))


def write_coco(folder, points, names=(), file="labels.json", **more):
    """``more`` goes into each image, and ``v`` (default 2) after each x, y; None: pairs."""
    v = more.pop("v", 2)
    images = [{"id": i, "file_name": picture, **more} for i, picture in enumerate(points)]
    more = [] if v is None else [v]
    rows = [[value for xy in table.tolist() for value in (*xy, *more)] for table in points.values()]
    faces = [{"id": i, "image_id": i, "category_id": 1, "keypoints": row} for i, row in enumerate(rows)]
    data = {"images": images, "annotations": faces, "categories": [{"id": 1, "name": "face", "keypoints": [*names]}]}
    (folder / file).parent.mkdir(parents=True, exist_ok=True)
    (folder / file).write_text(json.dumps(data))
    return data


def write_labelme(folder, points, names):
    for picture, table in points.items():
        shapes = [
            {"label": name, "points": [xy], "shape_type": "point", "group_id": None}
            for name, xy in zip(names, table.tolist(), strict=True)
        ]
        shapes.append({"label": "face", "points": [[1, 1], [60, 60]], "shape_type": "rectangle", "group_id": None})
        sides = {"imageWidth": 120, "imageHeight": 90}
        data = {"version": "5.5.0", "shapes": shapes[::-1], "imagePath": f"..\\{folder.name}\\{picture}", **sides}
        (folder / picture).with_suffix(".json").write_text(json.dumps(data))
    (folder / "points.txt").write_text("\n".join(names))


def write_imglab(folder, points, names):
    images = ""
    for picture, table in points.items():
        part = "".join(f"<part name='{n}' x='{x:g}' y='{y:g}'/>" for n, (x, y) in zip(names, table, strict=True))
        images += f"<image file='{picture}'><box top='3' left='2' width='60' height='50'>{part}</box></image>"
    head = "<?xml version='1.0'?><?xml-stylesheet type='text/xsl' href='a.xsl'?>"
    (folder / "faces.xml").write_text(f"{head}<dataset><images>{images}</images></dataset>")
    (folder / "points.txt").write_text("\n".join(names))


def write_csv(folder, points, names):
    lines = [["image", "person", *(f"{name}_{axis}" for name in names for axis in "xy")]]
    lines += [[picture, "x", *map(str, table.ravel().tolist())] for picture, table in points.items()]
    (folder / "faces.csv").write_text("\n".join(";".join(line) for line in lines))


FORMATS = {
    "3 .pts files": write_points,
    "COCO JSON (labels.json)": write_coco,
    "3 labelme JSON files": write_labelme,
    "imglab XML (faces.xml)": write_imglab,
    "CSV (faces.csv)": write_csv,
}


def test_all_formats_give_the_same_prepared_faces(tmp_path, capsys):
    written = {}
    for number, (kind, write) in enumerate(FORMATS.items()):
        folder, out = tmp_path / f"in {number}", tmp_path / f"out {number}"
        write(folder, write_pictures(folder, ["a.png", "b 1.png", "ä.png"]), NAMES)
        assert main(["folder", "--source", str(folder), "--out", str(out), "--size", "32"]) == 0
        said = capsys.readouterr().out.splitlines()[0]
        found = kind if "(" in kind else re.sub(r"(\d+) (.*) files", r"\2 (", kind)
        assert said.startswith(f"folder (5 points): 3 faces (train 1, val 1, test 1) from {found}"), said
        prepared = PreparedDataset(out)
        np.testing.assert_array_equal(prepared.scheme.mirror, [1, 0, 2, 4, 3])
        assert prepared.scheme.names == tuple(NAMES)
        written[kind] = prepared.manifest["content"]
    assert len(set(written.values())) == 1, written


def test_numbers_are_no_names(tmp_path):
    for names in ([f"{i:02d}" for i in range(29)], [*map(str, range(1, 30))], [f"face-{i}" for i in range(29)]):
        points = write_pictures(tmp_path, ["a.png"], 29)
        shuffled = np.random.default_rng(0).permutation(29)
        write_labelme(tmp_path, {"a.png": points["a.png"][shuffled]}, [names[i] for i in shuffled])
        (tmp_path / "points.txt").unlink()
        raw = read_folder(tmp_path)
        assert raw.scheme.name == "29"
        assert raw.read_as.endswith("29 points taken for those of COFW")
        np.testing.assert_array_equal(raw.entries[0].points, points["a.png"])


def test_a_files_own_names_win_over_a_known_data_set(tmp_path):
    names = ["sella", "nasion", *(f"{side} {i}" for i in range(13) for side in ("L", "R")), "menton"]
    write_coco(tmp_path, write_pictures(tmp_path, ["a.png"], 29), names)
    scheme = read_folder(tmp_path).scheme
    assert scheme.names == tuple(names)
    assert scheme.mirror.tolist() == [0, 1, *(i for k in range(13) for i in (2 * k + 3, 2 * k + 2)), 28]
    write_coco(
        tmp_path, write_pictures(tmp_path, ["a.png"], 29), [f"landmark {chr(97 + i % 8) * 9} {i}x" for i in range(29)]
    )
    raw = read_folder(tmp_path)
    assert not raw.scheme.mirrorable
    assert any("no point's name says left or right, so no view is mirrored" in warning for warning in raw.warnings)


def test_points_of_some_faces_only(tmp_path):
    points = write_pictures(tmp_path, ["a.png", "b.png", "c.png"])
    write_labelme(tmp_path, points, NAMES)
    for picture, change in (
        ("b", lambda shapes: shapes[:-1]),
        ("c", lambda shapes: [*shapes, shapes[-1] | {"label": "mole"}]),
    ):
        data = json.loads((tmp_path / f"{picture}.json").read_text())
        (tmp_path / f"{picture}.json").write_text(json.dumps(data | {"shapes": change(data["shapes"])}))
    lost = data["shapes"][-1]["label"]
    raw = read_folder(tmp_path)
    whole, partly, other = raw.entries
    assert at_marks(whole)
    assert [raw.scheme.names[i] for i in np.flatnonzero(np.isnan(partly.points[:, 0]))] == [lost]
    assert other.reason == "has a point mole that most faces lack"


# COCO-style files


def test_names_are_those_of_the_annotations_category(tmp_path):
    data = write_coco(tmp_path, write_pictures(tmp_path, ["a.png", "b.png"]), NAMES)
    hand = {"id": 0, "name": "hand", "keypoints": ["wrist", "left_thumb", "right_thumb", "left_tip", "right_tip"]}
    data["categories"].insert(0, hand)
    (tmp_path / "labels.json").write_text(json.dumps(data))
    assert read_folder(tmp_path).scheme.names == tuple(NAMES)
    data["annotations"][1]["category_id"] = 0
    (tmp_path / "labels.json").write_text(json.dumps(data))
    with pytest.raises(UserError, match="points of the categories face, hand: choose one with --category"):
        read_folder(tmp_path)
    (face,) = read_folder(tmp_path, category="face").entries
    assert at_marks(face)
    with pytest.raises(UserError, match="--category, not foot"):
        read_folder(tmp_path, category="foot")


@pytest.mark.parametrize("num_points", [4, 5, 6])
def test_pairs(tmp_path, num_points):
    points = write_pictures(tmp_path, ["a.png", "b.png"], num_points)
    for names in ((), [*"abcdef"][:num_points]):
        write_coco(tmp_path, points, names, v=None)
        raw = read_folder(tmp_path)
        assert raw.scheme.num_points == num_points
        assert all(map(at_marks, raw.entries))


def test_a_v_above_2_is_refused(tmp_path):
    points = write_pictures(tmp_path, ["a.png", "b.png"], 6)
    for names in ((), "abcdef"):
        data = write_coco(tmp_path, points, names)
        data["annotations"][1]["keypoints"][2] = 3
        (tmp_path / "labels.json").write_text(json.dumps(data))
        first, second = read_folder(tmp_path).entries
        assert at_marks(first)
        assert second.reason == "found a v other than 0 (not labelled), 1 (hidden) and 2 (visible)"
    write_coco(tmp_path, points, v=3)
    with pytest.raises(UserError, match="found a v other than 0"):
        read_folder(tmp_path)


def test_the_face_of_coco_whole_body(tmp_path):
    data = write_coco(tmp_path, points := write_pictures(tmp_path, ["a.png"], 68), ["left_ankle", "right_ankle"])
    face = data["annotations"][0]
    face |= {"face_kpts": face["keypoints"], "keypoints": [1, 2, 2] * 2, "face_valid": True, "face_box": [4, 5, 6, 7]}
    (tmp_path / "labels.json").write_text(json.dumps(data))
    raw = read_folder(tmp_path)
    assert raw.scheme.name == "68"
    assert raw.read_as.startswith("COCO JSON (face_kpts) (labels.json)")
    np.testing.assert_array_equal(raw.entries[0].points, points["a.png"])
    assert raw.entries[0].box == (4, 5, 6, 7)


# the picture that was annotated, and which way up


def test_another_size_is_refused_or_scaled(tmp_path):
    points = write_pictures(tmp_path, ["a.png", "b.png"])
    half = {picture: (table + 0.5) / 2 - 0.5 for picture, table in points.items()}
    write_coco(tmp_path, half, width=60, height=45)
    first = read_folder(tmp_path).entries[0]
    assert first.reason.startswith("was annotated at 60 x 45 pixels, and its picture has 120 x 90: give the picture")
    assert all(map(at_marks, read_folder(tmp_path, rescale=True).entries))
    write_coco(tmp_path, half, width=60, height=60)
    assert all("60 x 60" in face.reason for face in read_folder(tmp_path, rescale=True).entries)


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_pictures_turned_by_exif(tmp_path, orientation):
    """A wide picture of 120 x 90 pixels whose tag turns it, and a square one that alone tells nothing."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    stored = {}
    for name, width in (("wide.png", 120), ("square.png", 90)):
        stored |= write_pictures(tmp_path, [name], width=width)
        Image.open(tmp_path / name).save(tmp_path / name, exif=exif)
    turn = {
        3: lambda x, y, w, h: (w - 1 - x, h - 1 - y),
        6: lambda x, y, w, h: (h - 1 - y, x),
        8: lambda x, y, w, h: (y, w - 1 - x),
    }
    upright = {n: np.column_stack(turn[orientation](*p.T, {"wide.png": 120}.get(n, 90), 90)) for n, p in stored.items()}
    data = {}
    for way, points in (("stored", stored), ("upright", upright)):
        data[way] = write_coco(tmp_path, points)
        with pytest.raises(UserError, match="nothing tells which way they were annotated: add --exif upright, or"):
            read_folder(tmp_path)
        assert all(map(at_marks, read_folder(tmp_path, exif=way).entries))
        wide, square = data[way]["images"]
        wide |= {"width": 120, "height": 90} if way == "stored" or orientation == 3 else {"width": 90, "height": 120}
        square |= {"width": 90, "height": 90}
        (tmp_path / "labels.json").write_text(json.dumps(data[way]))
        if orientation == 3:
            with pytest.raises(UserError, match="2 faces are in pictures that their EXIF orientation turns"):
                read_folder(tmp_path)
        else:
            raw = read_folder(tmp_path)
            assert all(map(at_marks, raw.entries))
            assert any("read as stored" in warning for warning in raw.warnings) == (way == "stored")


# names of pictures on other machines


@pytest.mark.parametrize(
    "named",
    [
        "images\\a b.png",
        "/data/upload/7/a b.png",
        "C:\\Users\\me\\images\\a b.png",
        "./images/a b.png",
        "../x/images/a b.png",
        "a b.png",
    ],
)
def test_the_longest_tail_finds_a_picture(tmp_path, named):
    points = write_pictures(tmp_path, ["images/a b.png"])
    write_coco(tmp_path, {named: points["images/a b.png"]}, file="annotations/instances_default.json")
    (face,) = read_folder(tmp_path).entries
    assert at_marks(face)
    assert face.name == "images/a b.png"


def test_unicode_forms_are_one_name(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    assert composed != decomposed
    for on_disk, named in ((composed, decomposed), (decomposed, composed)):
        points = write_pictures(tmp_path / on_disk, [on_disk])
        write_coco(tmp_path / on_disk, {named: points[on_disk]})
        assert at_marks(read_folder(tmp_path / on_disk).entries[0])


def test_names_that_fit_several_pictures_or_a_picture_with_several_names_are_refused(tmp_path):
    points = write_pictures(tmp_path, ["x/a.png", "y/a.png", "x/b.png", "c.png"])
    annotated = {"z/a.png": points["x/a.png"], "1/b.png": points["x/b.png"], "2/b.png": points["x/b.png"]}
    write_coco(tmp_path, annotated | {"c.png": points["c.png"], "sub/c.png": points["c.png"]})
    tied, one, two, exact, other = read_folder(tmp_path).entries
    assert tied.reason == "fits x/a.png and y/a.png equally well: give them other names"
    assert one.reason == "its picture is annotated as 1/b.png and as 2/b.png"
    assert "its picture is annotated as 2/b.png" in two.reason
    assert at_marks(exact)
    assert "as sub/c.png and as c.png" in other.reason


# hidden files


def test_hidden_files_are_never_data(tmp_path):
    write_face(tmp_path / "afw" / "1_1.png")
    (list_folder := tmp_path / ANNOTATIONS / LISTS).mkdir(parents=True)
    lines = ""
    for name in ("a.png", ".ipynb_checkpoints/a.png", "__MACOSX/a.png", "._a.png"):
        points = write_pictures(tmp_path / IMAGES, [name], 98)[name]
        lines += " ".join(map(str, [*points.ravel(), 1, 2, 60, 60, *"000000", name])) + "\n"
        write_face(tmp_path / "afw" / name.replace("a.", "2_1."))
        write_face(tmp_path / "own" / name, num_points=5)
    (list_folder / "list_98pt_rect_attr_test.txt").write_text(lines)
    assert [face.name for face in read_300w(tmp_path).entries] == ["afw/1_1.png", "afw/2_1.png"]
    assert [isinstance(face, SkippedFace) for face in read_wflw(tmp_path).entries] == [False, True, True, True]
    raw = read_folder(tmp_path / "own")
    assert [face.name for face in raw.entries] == ["a.png"]


# splits


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("images/train/a.png", "train"),
        ("Test/a.png", "test"),
        ("val2017/a.png", "val"),
        ("valid/images/a.png", "val"),
        ("validation_set/a.png", "val"),
        ("trainset\\a.png", "train"),
        ("train_images/a.png", "train"),
        ("test.png", ""),
        ("contest/val kilmer/a.png", ""),
    ],
)
def test_folders_that_name_a_split(path, split):
    assert split_of(path) == split


@pytest.mark.parametrize(
    "files", ["annotations/{}.json", "annotations/person_keypoints_{}2017.json", "{}/_annotations.json"]
)
def test_a_file_for_each_split_with_the_same_names_in_each(tmp_path, files):
    folder = "images/{}" if files.startswith("annotations") else "{}"
    for seed, split in enumerate(("train", "valid", "test")):
        image, points = marked(5, seed)
        (tmp_path / folder.format(split)).mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / folder.format(split) / "0001.png")
        write_coco(tmp_path, {"0001.png": points}, NAMES, file=files.format(split))
    raw = read_folder(tmp_path)
    assert all(map(at_marks, raw.entries))
    assert {face.name: face.split for face in raw.entries} == {
        f"{folder.format(split)}/0001.png": split[:3] if split == "valid" else split
        for split in ("test", "train", "valid")
    }


def test_copies_never_cross_splits(tmp_path):
    for seed in range(40):
        for name in (f"{seed}.png", f"other/{seed}_mirror.png", f"copies/{chr(97 + seed % 26)}{seed}.png"):
            write_face(tmp_path / "in" / name, num_points=5, seed=seed if "mirror" not in name else 100 + seed)
    prepare("folder", tmp_path / "in", tmp_path / "out", size=16)
    table = PreparedDataset(tmp_path / "out").table
    of_face = {}
    for name, split in zip(table["name"], table["split"], strict=True):
        of_face.setdefault(re.search(r"\d+", name)[0], set()).add(split)
    assert all(len(splits) == 1 for splits in of_face.values())
    assert set.union(*of_face.values()) == {"train", "val", "test"}


def test_copies_in_given_splits_are_left_out_of_training(tmp_path):
    for name, seed in {"train/a.png": 0, "train/b.png": 1, "train/c.png": 2, "val/d.png": 1, "test/e.png": 0}.items():
        write_face(tmp_path / "in" / name, num_points=5, seed=seed)
    write_face(tmp_path / "in" / "train" / "e_flipped.png", num_points=5, seed=7)
    manifest = prepare("folder", tmp_path / "in", tmp_path / "out", size=16)
    assert {face["name"]: face["reason"] for face in manifest["skipped"]} == {
        "train/e_flipped.png": "mirrors test/e.png, which is for another split",
        "train/a.png": "its picture is that of test/e.png, which is for test",
        "train/b.png": "its picture is that of val/d.png, which is for val",
    }
    prepared = PreparedDataset(tmp_path / "out")
    assert prepared.table["name"].tolist() == ["test/e.png", "train/c.png", "val/d.png"]
    main(["check", str(prepared.path)])


# files of another kind


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.xml", "<!DOCTYPE d [<!ENTITY a 'aaa'>]><dataset><images>&a;</images></dataset>", "found a DOCTYPE"),
        ("a.xml", "<annotations><image/></annotations>", "found <annotations>"),
        ("a.xml", "<dataset>", "expected dlib's imglab XML"),
        ("a.csv", "name,x,y,width,height\na.png,1,2,3,4", "found columns name,x,y,width,height, expected image,x0,y0"),
        ("a.csv", "image,x0,y0,x1\na.png,1,2,3", "expected image,x0,y0"),
        ("a.txt", "", f"not an annotation file: expected {', '.join(SUFFIXES)}"),
    ],
)
def test_files_of_another_kind(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=re.escape(says)):
        read_annotations(tmp_path / name)


def test_no_file_is_read_without_bounds(tmp_path):
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(10**9 + 1)
    with pytest.raises(UserError, match="1000 MB, expected 300 MB at most"):
        read_annotations(tmp_path / "a.json")


# real faces


@pytest.mark.parametrize(
    "case", ["apple", "cvat", "exif_stored", "images_train", "imglab", "ipynb", "labelme", "resized_double"]
)
def test_real_cases_give_the_points_of_the_right_one(raw_faces, case):
    if not (cases := raw_faces.parent.parent / "cases").is_dir():
        pytest.skip(f"no annotated cases at {cases}")
    right = {face.name: face for face in read_folder(cases / "right").entries}
    faces = list(read_folder(cases / case, rescale=case == "resized_double").entries)
    assert len(faces) == 24
    for face in faces:
        expected = right[face.name.rpartition("/")[2]].points
        expected = (expected + 0.5) * 2 - 0.5 if case == "resized_double" else expected
        tolerance = 1 if case == "imglab" else 1e-4  # imglab writes whole pixels
        np.testing.assert_allclose(face.points, expected, rtol=0, atol=tolerance)
        assert face.image.shape == right[face.name.rpartition("/")[2]].image.shape or case == "resized_double"
