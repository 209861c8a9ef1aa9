"""`python -m kdloss.predict`: photographs, faces, files. The network is random; where it looks is what is tested."""

import contextlib
import csv
import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdloss.data.datasets import DATASETS
from kdloss.data.geometry import FaceCrop
from kdloss.data.schemes import SCHEMES
from kdloss.errors import ConfigError, DataError
from kdloss.inference.aligned import Aligner
from kdloss.inference.blazeface import BlazeFaceDetector
from kdloss.inference.confidence import Confidence
from kdloss.inference.landmarker import Landmarker
from kdloss.inference.output import OverlayVideo
from kdloss.inference.sources import GivenBoxes
from kdloss.models import build_model
from kdloss.models.checkpoint import load_model, read_card, save_model
from kdloss.models.regressors import REGRESSORS
from kdloss.predict import main
from tests.training.tiny_chain import ARCH, SIZE, TINY

FACE = [180, 80, 95, 100]  # the astronaut's, brows to chin
EYES_AND_MOUTH = np.array([(203, 102), (247, 103), (224, 144)])

astronaut = pytest.importorskip("skimage.data").astronaut


def write_checkpoint(path, arch=ARCH, dataset="300w", box="gt:1.25"):
    scheme = SCHEMES[DATASETS[dataset].scheme]
    shape = np.random.default_rng(1).uniform(-0.4, 0.4, (scheme.num_points, 2)).astype(np.float32)
    model = build_model(arch, scheme.num_points, SIZE, mean_shape=shape)
    card = {"arch": arch, "dataset": dataset, "scheme": scheme.to_json(), "image_size": SIZE, "box": box}
    save_model(path, model, card)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(REGRESSORS, ARCH, TINY)
        yield write_checkpoint(tmp_path_factory.mktemp("model") / "tiny.keras")


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def save(path, image=None, **how):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(astronaut() if image is None else image).save(path, **how)
    return str(path)


def found(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def errors(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


def pixels(path):
    with Image.open(path) as image:
        return np.array(image)


def holds(box, points):
    return np.all((points >= box[:2]) & (points <= np.add(box[:2], box[2:])))


def test_a_photograph_becomes_a_record_a_table_and_an_overlay(checkpoint, capsys):
    save("astronaut.png")
    assert main(["astronaut.png", "--checkpoint", str(checkpoint)]) == 0
    out, err = capsys.readouterr()
    assert out == "astronaut.png: 1 face -> runs/predictions/astronaut.json\n"
    assert "tiny.keras: its confidence was never measured" in err
    record = found("runs/predictions/astronaut.json")
    (face,) = record.pop("faces")
    assert record == {"image": "astronaut.png", "model": str(checkpoint), "detector": "blazeface"}
    assert list(face) == ["box", "score", "turn", "pose", "landmarks", "confidence"]
    assert face["confidence"] is None
    assert holds(face["box"], EYES_AND_MOUTH)
    assert face["box"][2] == pytest.approx(FACE[2], rel=0.25)
    assert face["score"] >= BlazeFaceDetector.sure
    assert np.shape(face["landmarks"]) == (68, 2)
    with Image.open("runs/predictions/astronaut.png") as overlay:
        assert (np.array(overlay) != astronaut()).any(axis=2).sum() > 100
    names = {path.name for path in Path("runs/predictions").iterdir()}
    assert names == {"astronaut.json", "astronaut.png", "faces.csv"}
    with open("runs/predictions/faces.csv", newline="", encoding="utf-8") as table:
        (row,) = csv.DictReader(table)
    assert (row["image"], row["face"], row["c0"]) == ("astronaut.png", "0", "")
    numbers = [float(row[name]) for name in ("box_x", "box_y", "box_width", "box_height", "score")]
    assert numbers == [*face["box"], face["score"]]
    assert [[float(row[f"{axis}{i}"]) for axis in "xy"] for i in range(68)] == face["landmarks"]
    assert main(["astronaut.png", "absent.jpg", "--checkpoint", str(checkpoint), "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["photographs"] == [found("runs/predictions/astronaut.json")]
    assert ["absent.jpg: cannot be" in error for error in answer["errors"]] == [True]


def test_unreadable_photographs_do_not_stop_the_others(checkpoint, capsys, monkeypatch):
    Path("in/deep").mkdir(parents=True)
    Path("in/deep/text.jpg").write_text("no picture")
    Path("in/notes.txt").write_text("not looked at")
    save("in/dot.png", np.zeros((1, 1, 3), np.uint8))
    save("in/huge.png", np.zeros((700, 700), np.uint8))
    save("in/long.png", np.zeros((1, 40_000), np.uint8))
    save("in/good.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400_000)
    assert main(["in", "absent.jpg", "--checkpoint", str(checkpoint), "--no-overlay"]) == 2
    text, huge, long, absent = errors(capsys)
    assert "text.jpg: not an image" in text
    assert "huge.png: 700 x 700 is too large, expected 0.4 million pixels" in huge
    assert "long.png: 40000 x 1 is too large" in long
    assert "absent.jpg: cannot be" in absent
    written = [path.as_posix() for path in sorted(Path("runs/predictions").rglob("*.*"))]
    assert written == [f"runs/predictions/{name}" for name in ("faces.csv", "in/dot.json", "in/good.json")]
    assert found("runs/predictions/in/dot.json")["faces"] == []
    assert len(found("runs/predictions/in/good.json")["faces"]) == 1


def test_given_boxes(checkpoint, capsys):
    for name in ("a", "b/none", "b/outside", "b/unnamed"):
        save(f"in/{name}.png")
    two = [FACE, [10.5, 20, 30, 40]]
    Path("boxes.json").write_text(json.dumps({"a.png": two, "b/none.png": [], "b/outside.png": [[-50, 2, 3, 4]]}))
    assert main(["in", "--boxes", "boxes.json", "--checkpoint", str(checkpoint)]) == 2
    outside, unnamed = errors(capsys)
    assert outside.startswith("error: b/outside.png: box [")
    assert "lies in part in the image, 512 x 512 pixels" in outside
    assert "b/unnamed.png: not named" in unnamed
    record = found("runs/predictions/a.json")
    assert record["detector"] == "boxes"
    assert [face["box"] for face in record["faces"]] == two
    assert [face["score"] for face in record["faces"]] == [None, None]
    assert found("runs/predictions/b/none.json")["faces"] == []
    # Each face is read as it is alone.
    alone = Landmarker.load(checkpoint, detector=None).in_boxes(astronaut(), [FACE])
    assert np.array(record["faces"][0]["landmarks"]) == pytest.approx(alone[0].landmarks, abs=0.02)
    assert holds(np.add(FACE, (-12, -12, 24, 24)), alone[0].landmarks)


def test_a_whole_image_is_the_crop(checkpoint):
    crop = astronaut()[60:200, 156:296]  # reduced by 4 before it is cut: begins at a multiple of 4
    save("crop.png", crop)
    assert main(["crop.png", "--detector", "whole", "--checkpoint", str(checkpoint)]) == 0
    record = found("runs/predictions/crop.json")
    (face,) = record["faces"]
    assert (record["detector"], face["box"], face["score"]) == ("whole", [-0.5, -0.5, 140, 140], None)
    # The same crop, cut out of the photograph by the landmark box that grows to it.
    inner = [155.5 + 14, 59.5 + 14, 112, 112]
    (same,) = Landmarker.load(checkpoint, detector=None).in_boxes(astronaut(), [inner])
    assert np.add(face["landmarks"], (156, 60)) == pytest.approx(same.landmarks, abs=0.02)


def test_aligned_faces(checkpoint, capsys):
    save("in/a.jpg")
    Path("boxes.json").write_text(json.dumps({"a.jpg": [FACE, [10.5, 20, 30, 40]]}))
    for _ in range(2):  # earlier results are replaced
        words = ["in", "--boxes", "boxes.json", "--checkpoint", str(checkpoint), "--crops", "64", "--no-overlay"]
        assert main(words) == 0
    image = pixels("in/a.jpg")
    for number, face in enumerate(found("runs/predictions/a.json")["faces"]):
        assert face["aligned"]["file"] == f"a-faces/{number}.png"
        with Image.open(f"runs/predictions/a-faces/{number}.png") as crop:
            transform = np.array(face["aligned"]["transform"])
            assert np.array_equal(np.array(crop), FaceCrop(transform, 64).image(image))
        expected = Aligner(SCHEMES["68"], 64).crop(np.array(face["landmarks"])).matrix
        assert transform == pytest.approx(expected, rel=2e-2, abs=2e-2)
    save("runs/predictions/b-faces/0.png")
    assert main([save("in/b.png"), "--detector", "whole", "--checkpoint", str(checkpoint), "--crops", "64"]) == 2
    assert "b-faces/0.png exists, and no earlier results" in errors(capsys)[0]


def test_models_without_a_calibration(tmp_path, capsys):
    save("a.png", np.zeros((20, 20, 3), np.uint8))
    assert main(["a.png", "--checkpoint", str(write_checkpoint(tmp_path / "box.keras", box="dataset:1.1"))]) == 2
    assert "was trained in dataset:1.1" in errors(capsys)[0]
    other = str(write_checkpoint(tmp_path / "29.keras", dataset="cofw"))
    assert main(["a.png", "--checkpoint", other]) == 2
    assert "blazeface: its boxes are calibrated for landmark schemes: 68; the model reads" in errors(capsys)[0]
    assert main(["a.png", "--checkpoint", other, "--detector", "whole"]) == 0


def test_no_face_comes_with_a_hint(checkpoint, capsys):
    save("a.png", np.zeros((400, 2000, 3), np.uint8))
    assert main(["a.png", "--checkpoint", str(checkpoint), "--no-overlay"]) == 0
    found, hint = capsys.readouterr().out.splitlines()
    assert found.startswith("a.png: 0 faces -> ")
    assert hint == "blazeface searched for faces of 24 pixels and more: try --detector yunet, or --boxes"
    save("a.png", np.zeros((1000, 1000, 3), np.uint8))
    assert main(["a.png", "--checkpoint", str(checkpoint), "--no-overlay"]) == 0
    assert "faces of 30 pixels and more: try --smallest-face 0.02, --detector" in capsys.readouterr().out


def test_a_weak_network_loses_no_face_once_its_confidence_is_measured(checkpoint, tmp_path):
    card = read_card(checkpoint)
    weak = Confidence("views", -0.1, (-3.0,) * 68, 0.03, 10, face=0.01)  # below 0.1 for all signals
    for face, count in ((0.01, 1), (0.3, 0)):
        save_model(
            tmp_path / "weak.keras",
            load_model(checkpoint)[0],
            card | {"confidence": replace(weak, face=face).to_json()},
        )
        assert len(Landmarker.load(tmp_path / "weak.keras").detect(astronaut())) == count


def test_boxes_of_large_photographs_are_in_their_own_pixels(checkpoint):
    large = astronaut().repeat(3, axis=0).repeat(3, axis=1)[:, 300:]
    reader = Landmarker.load(checkpoint)
    (small_face, *_), (large_face, *_) = reader.detect(astronaut()), reader.detect(large)
    assert np.add(large_face.box[:2], (300.5, 0.5)) / 3 - 0.5 == pytest.approx(small_face.box[:2], abs=8)
    assert large_face.box[2:] / 3 == pytest.approx(small_face.box[2:], rel=0.1)


@pytest.mark.parametrize(
    ("image", "box", "words"),
    [
        (np.zeros((9, 9)), FACE, r"found float64 \(9, 9\)"),
        (np.zeros((0, 9, 3), np.uint8), FACE, r"found uint8 \(0, 9, 3\)"),
        (np.zeros((512, 512, 3), np.uint8), [np.nan, 0, 5, 5], r"box \["),
    ],
)
def test_bad_images_and_boxes_are_data_errors(checkpoint, image, box, words):
    with pytest.raises(DataError, match=words):
        Landmarker.load(checkpoint, detector=None).in_boxes(image, [FACE, box])


def test_ctrl_c_keeps_what_was_found(checkpoint, monkeypatch):
    for name in "abc":
        save(f"in/{name}.png")
    monkeypatch.setattr("kdloss.predict._say", lambda line: signal.raise_signal(signal.SIGINT))
    assert main(["in", "--checkpoint", str(checkpoint), "--no-overlay"]) == 130
    assert sorted(path.name for path in Path("runs/predictions").iterdir()) == ["a.json", "faces.csv"]
    assert len(Path("runs/predictions/faces.csv").read_text().splitlines()) == 2


def test_a_photograph_that_fails_costs_no_other(checkpoint, capsys):
    long, bytes_ = "a" * 251, os.fsdecode(b"\xff")
    for name in ("=cmd", bytes_, "a\x1b[2Jb\n", "folder", "last", long):
        save(f"in/{name}.jpg")
    Path("out/folder.json").mkdir(parents=True)
    words = ["in", "--checkpoint", str(checkpoint), "--detector", "whole", "--no-overlay", "--out", "out"]
    assert main(words) == 2
    out, err = capsys.readouterr()
    said = [line.partition(": 1 face")[0] for line in out.splitlines()]
    assert said == ["=cmd.jpg", "a\\x1b[2Jb .jpg", "last.jpg", r"\udcff.jpg"]
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert [re.search(r"\((.*)\)", line)[1] for line in lines] == ["File name too long", "Is a directory"]
    with open("out/faces.csv", newline="", encoding="utf-8") as table:
        names = [row["image"] for row in csv.DictReader(table)]
    assert names == ["'=cmd.jpg", "a\x1b[2Jb\n.jpg", "last.jpg", r"\udcff.jpg"]
    boxes = GivenBoxes("out/faces.csv")
    assert [len(boxes.of(f"{name}.jpg")) for name in ("=cmd", bytes_)] == [1, 1]


@pytest.mark.parametrize(("error", "status"), [(BrokenPipeError(), 141), (ZeroDivisionError(), None)])
def test_the_table_is_kept_whatever_ends_the_command(error, status, checkpoint, monkeypatch):
    for name in "ab":
        save(f"in/{name}.jpg")

    def say(line):
        raise error

    monkeypatch.setattr("kdloss.predict._say", say)
    words = ["in", "--checkpoint", str(checkpoint), "--detector", "whole", "--no-overlay"]
    with contextlib.nullcontext() if status else pytest.raises(ZeroDivisionError):
        assert main(words) == status
    assert len(Path("runs/predictions/faces.csv").read_text().splitlines()) == 2


def test_what_earlier_results_did_not_write_is_kept(checkpoint, capsys):
    for name in ("a.jpg", "boxes.jpg"):
        save(name)
    Path("boxes.json").write_text(json.dumps({name: [FACE] for name in ("a.jpg", "boxes.jpg")}))
    here = ["--out", ".", "--checkpoint", str(checkpoint)]
    for mine in ("a.json", "a.png", "faces.csv"):
        save("a.webp")
        Path(mine).write_text("mine") if mine != "a.png" else save(mine)
        before = Path(mine).read_bytes()
        assert main(["a.webp", *here]) == 2
        assert f"--out: {mine} exists, and no earlier results" in errors(capsys)[0]
        assert Path(mine).read_bytes() == before
        Path(mine).unlink()
    assert main(["boxes.jpg", "--boxes", "boxes.json", "--no-overlay", *here]) == 2
    assert "boxes.json would be overwritten, which this command reads" in errors(capsys)[0]
    assert list(found("boxes.json")) == ["a.jpg", "boxes.jpg"]
    # Earlier results are replaced; unless they are read.
    for name in ("a.jpg", "a.webp"):
        Path("in").mkdir(exist_ok=True)
        Path(name).rename(f"in/{name}")
    for _ in range(2):
        assert main(["in", *here]) == 0
    assert main(["in", "--boxes", "faces.csv", *here]) == 2
    assert "faces.csv would be overwritten" in errors(capsys)[0]


def test_small_faces_are_found_and_smaller_ones_on_request(checkpoint):
    """Six faces of 45 pixels in a large picture, each between two tiles of the search, and three of 34."""
    face = Image.fromarray(astronaut()[20:260, 100:340])
    small, smaller = (face.resize((side, side), Image.Resampling.LANCZOS) for side in (115, 88))
    image = Image.new("RGB", (2000, 1500), (150, 150, 150))
    places = [(x, y) for x in (420, 900, 1400) for y in (400, 1000)]
    for place in places:
        image.paste(small, place)
    for x in (200, 1100, 1700):
        image.paste(smaller, (x, 1350))
    faces = Landmarker.load(checkpoint).detect(np.asarray(image))
    middles = np.array([face.box[:2] + face.box[2:] / 2 for face in faces])
    for place in places:
        assert np.sum(np.linalg.norm(middles - np.add(place, (59, 53)), axis=1) < 15) == 1
    for smallest, count in ((0.02, 9), (0.025, 6)):
        assert len(Landmarker.load(checkpoint, smallest_face=smallest).detect(np.asarray(image))) == count
    with pytest.raises(ConfigError, match=r"--smallest-face 0\.01: expected a share"):
        Landmarker.load(checkpoint, smallest_face=0.01)


def test_videos_follow_photographs_and_a_damaged_one_does_not_stop_the_others(checkpoint, capsys):
    save("a.png")
    Path("damaged.mp4").write_bytes(b"no film")
    with OverlayVideo(Path("film.mp4"), 25) as film:
        for i in range(4):
            film.write(astronaut(), i / 25)
    assert main(["damaged.mp4", "a.png", "film.mp4", "--frames", "3", "--checkpoint", str(checkpoint)]) == 2
    out, err = capsys.readouterr()
    photograph, film = out.splitlines()
    assert photograph == "a.png: 1 face -> runs/predictions/a.json"
    assert re.fullmatch(r"film\.mp4: 3 frames, .* -> runs/predictions/film\.json", film)
    assert len(re.findall(r"^error: .*damaged\.mp4", err, re.MULTILINE)) == 1
    frames = found("runs/predictions/film.json")["frames"]
    assert len(frames) == 3
    assert any(holds(face["box"], EYES_AND_MOUTH) for face in frames[0]["faces"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.mp4", "--detector", "whole"], "a.mp4: whole is for photographs"),
        (["a.png", "faces.mp4"], "faces.mp4: runs/predictions/faces.csv would be of the table of all photographs too"),
        (["runs/predictions/a.png"], "runs/predictions/a.png would be overwritten, which this command reads"),
        (["a.mp4", "--detect-every", "0"], "--detect-every 0: expected 1 frame at least"),
        (["a.png", "--boxes", "boxes.json", "--detector", "lbp"], "--boxes boxes.json: with --detector lbp"),
    ],
)
def test_options_that_do_not_go_together(words, message, capsys):
    for name in ("a.png", "a.mp4", "faces.mp4", "runs/predictions/a.png", "boxes.json"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    assert main(words) == 2
    (line,) = errors(capsys)
    assert message in line
