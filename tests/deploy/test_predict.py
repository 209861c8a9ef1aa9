"""`python -m kdloss.predict`: photographs, faces, files. The network is random; where it looks is what is tested."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdloss import landmarker
from kdloss.datasets import DATASETS
from kdloss.detectors import DETECTORS, LbpDetector, box_iou
from kdloss.errors import ConfigError, DataError
from kdloss.landmarker import Landmarker
from kdloss.models import build_model
from kdloss.models.regressors import REGRESSORS
from kdloss.predict import main
from kdloss.schemes import SCHEMES
from kdloss.training.checkpoint import save_model
from kdloss.video import OverlayVideo
from tests.training.tiny_chain import ARCH, SIZE, TINY

REPOSITORY = Path(__file__).resolve().parents[2]
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
    return tmp_path


def save(path, image=None, **how):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(astronaut() if image is None else image).save(path, **how)
    return str(path)


def found(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def errors(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]


def holds(box, points):
    return np.all((points >= box[:2]) & (points <= np.add(box[:2], box[2:])))


def test_as_typed(tmp_path):
    save("astronaut.png")
    write_checkpoint(tmp_path / "model.keras", "mobilenetv2")
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "kdloss.predict", "astronaut.png", "--checkpoint", "model.keras"]
    finished = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == "astronaut.png: 1 face -> predictions/astronaut.json\n"
    record = found("predictions/astronaut.json")
    assert list(record) == ["image", "model", "detector", "faces"]
    assert (record["image"], record["model"], record["detector"]) == ("astronaut.png", "model.keras", "lbp")
    (face,) = record["faces"]
    assert list(face) == ["box", "score", "landmarks", "confidence"]
    assert face["confidence"] is None
    assert "model.keras: its confidence was never measured" in finished.stderr
    assert holds(face["box"], EYES_AND_MOUTH)
    assert face["box"][2] == pytest.approx(FACE[2], rel=0.25)
    assert face["score"] >= LbpDetector.FEWEST_IN_PHOTOGRAPHS
    assert np.shape(face["landmarks"]) == (68, 2)
    with Image.open("predictions/astronaut.png") as overlay:
        drawn = np.array(overlay)
    changed = np.argwhere((drawn != astronaut()).any(axis=2))[:, ::-1]
    assert len(changed) > 100
    assert sorted(path.name for path in Path("predictions").iterdir()) == [
        "astronaut.json",
        "astronaut.png",
        "faces.csv",
    ]
    with open("predictions/faces.csv", newline="", encoding="utf-8") as table:
        (row,) = csv.DictReader(table)
    assert (row["image"], row["face"]) == ("astronaut.png", "0")
    assert [float(row[name]) for name in ("box_x", "box_y", "box_width", "box_height", "score")] == [
        *face["box"],
        face["score"],
    ]
    points = [[float(row[f"{axis}{i}"]) for axis in "xy"] for i in range(68)]
    assert points == face["landmarks"]
    assert row["c0"] == ""


def test_what_cannot_be_read_does_not_stop_the_rest(checkpoint, capsys, monkeypatch):
    Path("in/deep").mkdir(parents=True)
    Path("in/deep/text.jpg").write_text("no picture")
    Path("in/notes.txt").write_text("not looked at")
    save("in/dot.png", np.zeros((1, 1, 3), np.uint8))
    save("in/huge.png", np.zeros((700, 700), np.uint8))
    save("in/good.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400_000)
    assert main(["in", "absent.jpg", "--checkpoint", str(checkpoint), "--no-overlay"]) == 2
    lines = errors(capsys)
    assert len(lines) == 3
    for line, words in zip(
        lines,
        [
            "text.jpg: not an image",
            "huge.png: 700 x 700 is too large, expected 0.4 million pixels",
            "absent.jpg: cannot be",
        ],
        strict=True,
    ):
        assert words in line
    written = [path.relative_to("predictions").as_posix() for path in sorted(Path("predictions").rglob("*.*"))]
    assert written == ["faces.csv", "in/dot.json", "in/good.json"]
    assert found("predictions/in/dot.json")["faces"] == []
    assert len(found("predictions/in/good.json")["faces"]) == 1


def test_pictures_are_turned_as_their_camera_was(checkpoint):
    save("upright.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # shown after a quarter turn clockwise
    save("turned.png", np.rot90(astronaut()), exif=turned)
    assert main(["upright.png", "turned.png", "--checkpoint", str(checkpoint)]) == 0
    upright, other = found("predictions/upright.json"), found("predictions/turned.json")
    assert len(upright["faces"]) == 1
    assert upright["faces"] == other["faces"]
    with Image.open("predictions/upright.png") as one, Image.open("predictions/turned.png") as two:
        assert np.array_equal(np.array(one), np.array(two))


def test_given_boxes(checkpoint, capsys):
    save("in/a.png")
    save("in/b/none.png")
    save("in/b/unnamed.png")
    two = [FACE, [10.5, 20, 30, 40]]
    Path("boxes.json").write_text(json.dumps({"a.png": two, "b/none.png": []}))
    assert main(["in", "--boxes", "boxes.json", "--checkpoint", str(checkpoint)]) == 2
    assert [("b/unnamed.png: not named" in line) for line in errors(capsys)] == [True]
    record = found("predictions/a.json")
    assert record["detector"] == "boxes"
    assert [face["box"] for face in record["faces"]] == two
    assert [face["score"] for face in record["faces"]] == [None, None]
    assert found("predictions/b/none.json")["faces"] == []
    # Each face is read as it is alone.
    alone = Landmarker.load(checkpoint, detector=None).in_boxes(astronaut(), [FACE])
    assert np.array(record["faces"][0]["landmarks"]) == pytest.approx(alone[0].landmarks, abs=0.02)
    assert holds(np.add(FACE, (-12, -12, 24, 24)), alone[0].landmarks)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "no JSON"),
        ("[]", "holds a list"),
        ('{"a.png": [1, 2, 3, 4]}', "a.png"),
        ('{"a.png": [[1, 2, 0, 4]]}', "above zero"),
        ('{"a.png": [[1, 2, "x", 4]]}', "a.png"),
        ('{"a.png": [[1, 2, NaN, 4]]}', "a.png"),
    ],
)
def test_boxes_that_are_none(text, words, capsys):
    Path("boxes.json").write_text(text)
    save("a.png")
    assert main(["a.png", "--boxes", "boxes.json"]) == 2
    (line,) = errors(capsys)
    assert line.startswith("error: --boxes boxes.json")
    assert words in line


def test_a_whole_image_is_the_crop(checkpoint):
    crop = astronaut()[60:200, 156:296]  # reduced by 4 before it is cut: begins at a multiple of 4
    save("crop.png", crop)
    assert main(["crop.png", "--detector", "whole", "--checkpoint", str(checkpoint)]) == 0
    record = found("predictions/crop.json")
    (face,) = record["faces"]
    assert (record["detector"], face["box"], face["score"]) == ("whole", [-0.5, -0.5, 140, 140], None)
    # The same crop, cut out of the photograph by the landmark box that grows to it.
    inner = [155.5 + 14, 59.5 + 14, 112, 112]
    (same,) = Landmarker.load(checkpoint, detector=None).in_boxes(astronaut(), [inner])
    assert np.add(face["landmarks"], (156, 60)) == pytest.approx(same.landmarks, abs=0.02)
    with Image.open("predictions/crop.png") as overlay:
        assert overlay.size == (280, 280)  # enlarged, so that lines do not hide the face


def test_no_face_is_a_result(checkpoint, capsys):
    save("grey.jpg", np.full((200, 300, 3), 128, np.uint8))
    assert main(["grey.jpg", "--checkpoint", str(checkpoint)]) == 0
    assert capsys.readouterr().out == "grey.jpg: 0 faces -> predictions/grey.json\n"
    assert found("predictions/grey.json")["faces"] == []
    assert Path("predictions/grey.jpg").is_file()


def test_names_do_not_collide(checkpoint):
    small = np.zeros((20, 20, 3), np.uint8)
    for name in ("one/a.jpg", "two/a.jpg", "two/deep/a.jpg", "two/deep/a.png"):
        save(name, small)
    how = ["--checkpoint", str(checkpoint), "--no-overlay", "--out", "two/found"]
    for _ in range(2):  # results among the photographs are not read as photographs
        assert main(["one", "two", "two/a.jpg", *how]) == 0
        written = {path.relative_to("two/found").as_posix(): found(path) for path in Path("two/found").rglob("*.json")}
        assert {name: record["image"] for name, record in written.items()} == {
            "one/a.json": "one/a.jpg",
            "two/a.json": "two/a.jpg",
            "two/deep/a.jpg.json": "two/deep/a.jpg",
            "two/deep/a.png.json": "two/deep/a.png",
        }


def test_photographs_are_not_overwritten(capsys):
    save("in/a.jpg")
    before = Path("in/a.jpg").read_bytes()
    assert main(["in", "--out", "in"]) == 2
    (line,) = errors(capsys)
    assert "would overwrite it" in line
    assert Path("in/a.jpg").read_bytes() == before


def test_an_empty_folder_and_a_model_of_other_points(checkpoint, tmp_path, capsys):
    Path("empty").mkdir()
    assert main(["empty", "--checkpoint", str(checkpoint)]) == 2
    save("a.png", np.zeros((20, 20, 3), np.uint8))
    assert main(["a.png", "--checkpoint", str(write_checkpoint(tmp_path / "29.keras", dataset="cofw"))]) == 2
    assert main(["a.png", "--checkpoint", str(write_checkpoint(tmp_path / "box.keras", box="dataset:1.1"))]) == 2
    assert main(["a.png", "--checkpoint", "29.keras", "--detector", "whole"]) == 0
    empty, points, box = errors(capsys)
    assert "holds no photographs or videos" in empty
    assert "landmark schemes: 68; the model reads scheme 29: give" in points
    assert "was trained in dataset:1.1" in box


def test_large_photographs_are_searched_in_a_smaller_copy(checkpoint, monkeypatch):
    seen = []
    image = astronaut()
    large = image.repeat(3, axis=0).repeat(3, axis=1)[:, 300:]
    original = LbpDetector.detect

    def watched(self, photograph):
        seen.append(photograph.shape)
        return original(self, photograph)

    monkeypatch.setattr(LbpDetector, "detect", watched)
    reader = Landmarker.load(checkpoint)
    small_face, large_face = reader.detect(image)[0], reader.detect(large)[0]
    assert min(seen[1][:2]) == landmarker.DETECTION_SIDE
    back = np.add(large_face.box[:2], (300.5, 0.5)) / 3 - 0.5
    assert back == pytest.approx(small_face.box[:2], abs=8)
    assert large_face.box[2:] / 3 == pytest.approx(small_face.box[2:], rel=0.1)


def test_stored_crops_are_searched_as_before():
    assert (DETECTORS["lbp"]().smallest, DETECTORS["lbp"]().fewest) == (0.3, 1)


def test_boxes_that_lie_nowhere_are_errors_of_their_photograph(checkpoint, capsys):
    save("in/a.png")
    save("in/b.png")
    for wrong in ([178, 86, 1e300, 1e300], [1e5, 2, 3, 4], [-50, 2, 3, 4]):
        Path("boxes.json").write_text(json.dumps({"a.png": [wrong], "b.png": [FACE]}))
        assert main(["in", "--boxes", "boxes.json", "--checkpoint", str(checkpoint), "--no-overlay"]) == 2
        (line,) = errors(capsys)
        assert line.startswith("error: a.png: box [")
        assert "lies in the image, 512 x 512 pixels" in line
        assert len(found("predictions/b.json")["faces"]) == 1


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((9, 9)), "found float64 (9, 9)"),
        (np.zeros((9, 9, 4), np.uint8), "found uint8 (9, 9, 4)"),
        (np.zeros((9, 9, 3), np.float32), "found float32 (9, 9, 3)"),
        ("photo.jpg", "found str"),
        (np.zeros((0, 9, 3), np.uint8), "found 9 x 0 pixels"),
    ],
)
def test_what_is_no_image_is_told(checkpoint, image, words):
    reader = Landmarker.load(checkpoint)
    for read in (reader.detect, reader.whole, lambda image: reader.in_boxes(image, [FACE])):
        with pytest.raises(DataError) as error:
            read(image)
        assert words in str(error.value)


@pytest.mark.parametrize("box", [[0, 0, 0, 5], [0, 0, -3, 5], [np.nan, 0, 5, 5], [0, 0, np.inf, 5]])
def test_what_is_no_box_is_told(checkpoint, box):
    with pytest.raises(DataError, match=r"box \["):
        Landmarker.load(checkpoint, detector=None).in_boxes(astronaut(), [FACE, box])


def test_ctrl_c_keeps_what_was_found(checkpoint, monkeypatch):
    for name in "abc":
        save(f"in/{name}.png")
    monkeypatch.setattr("kdloss.predict._say", lambda line: signal.raise_signal(signal.SIGINT))
    assert main(["in", "--checkpoint", str(checkpoint), "--no-overlay"]) == 130
    assert sorted(path.name for path in Path("predictions").iterdir()) == ["a.json", "faces.csv"]
    assert len(Path("predictions/faces.csv").read_text().splitlines()) == 2


def test_smaller_faces_where_they_are_asked_for(checkpoint):
    """A face of a twentieth of the shorter side, which by default is not searched for."""
    small = Image.fromarray(astronaut()[60:220, 140:300]).resize((86, 86), Image.Resampling.LANCZOS)
    image = Image.new("RGB", (1280, 960), (150, 150, 150))
    image.paste(small, (600, 400))
    box = np.array([600 + 40 * 86 / 160, 400 + 26 * 86 / 160, 50, 50])
    assert Landmarker.load(checkpoint).detect(np.asarray(image)) == []
    faces = Landmarker.load(checkpoint, smallest_face=0.04).detect(np.asarray(image))
    assert max(float(box_iou(face.box, box)) for face in faces) > 0.5
    with pytest.raises(ConfigError, match=r"--smallest-face 0\.01: expected a share"):
        Landmarker.load(checkpoint, smallest_face=0.01)


@pytest.mark.parametrize("words", [["--frames", "0"], ["--detect-every", "0"], [""]])
def test_told_before_anything_is_read(words, checkpoint, capsys):
    save("a.png")
    assert main(["a.png", *words, "--checkpoint", str(checkpoint)]) == 2
    assert len(errors(capsys)) == 1
    assert not Path("predictions").exists()


def test_films_are_read_after_photographs_and_a_damaged_one_does_not_stop_the_rest(checkpoint, capsys):
    save("a.png")
    Path("damaged.mp4").write_bytes(b"no film")
    with OverlayVideo(Path("film.mp4"), 25) as film:
        for i in range(4):
            film.write(astronaut(), i / 25)
    assert main(["damaged.mp4", "a.png", "film.mp4", "--frames", "3", "--checkpoint", str(checkpoint)]) == 2
    captured = capsys.readouterr()
    photograph, film = captured.out.splitlines()
    assert photograph == "a.png: 1 face -> predictions/a.json"
    assert film.startswith("film.mp4: 3 frames, ")
    assert film.endswith(" -> predictions/film.json")
    (line,) = (line for line in captured.err.splitlines() if line.startswith("error: "))
    assert "damaged.mp4" in line
    frames = found("predictions/film.json")["frames"]
    assert len(frames) == 3
    # Later boxes stand where the random network looked before.
    assert any(holds(face["box"], EYES_AND_MOUTH) for face in frames[0]["faces"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.mp4", "--detector", "whole"], "a.mp4: whole are of photographs"),
        (["a.mp4", "--boxes", "boxes.json"], "a.mp4: boxes are of photographs"),
        (["a.png", "faces.mp4"], "faces.mp4: its table would be faces.csv"),
        (["predictions/a.png"], "the overlay of a.png would overwrite it"),
        (["a.png", "--detector", "boxes"], "--detector boxes: expected --boxes FILE beside it"),
        (["a.png", "--boxes", "boxes.json", "--detector", "lbp"], "--boxes boxes.json: with --detector lbp"),
        (["a.png", "--checkpoint", ""], "--checkpoint: empty"),
    ],
)
def test_options_that_do_not_go_together(words, message, capsys):
    for name in ("a.png", "a.mp4", "faces.mp4", "predictions/a.png", "boxes.json"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert main(words) == 2
    (line,) = errors(capsys)
    assert message in line
