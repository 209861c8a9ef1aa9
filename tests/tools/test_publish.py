"""``tools/publish.py``: files that work, a card with measured numbers, and the use of a shipped model."""

import json
import shutil

import pytest

from kdloss import pretrained
from kdloss.evaluation.evaluation import evaluate_checkpoint
from kdloss.inference.metadata import read_metadata
from kdloss.models.checkpoint import read_card
from tests.training.tiny_chain import SIZE
from tools import publish

pytestmark = pytest.mark.slow  # exports and measures four files
NAME = "tiny-300w"


@pytest.fixture(scope="module")
def published(run, faces, tmp_path_factory, tiny_networks):
    """The folder that the script makes, and its card."""
    folder = tmp_path_factory.mktemp("work")
    words = ["--checkpoint", str(run), "--name", NAME, "--dataset", "300w", "--data", str(faces.path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert publish.main(words) == 0
    made = folder / "kdloss" / "pretrained" / NAME
    return made, json.loads((made / "card.json").read_text(encoding="utf-8"))


def test_the_card_says_what_it_is(published, run, faces):
    folder, card = published
    assert sorted(file.name for file in folder.iterdir()) == sorted([*pretrained.FILES, "README.md", "card.json"])
    assert card["files"] == {file: pretrained.describe(folder / file) for file in pretrained.FILES}
    assert (card["name"], card["arch"], card["image_size"], card["points"]) == (NAME, "tiny", SIZE, 68)
    data = card["data"]
    assert (data["dataset"], data["synthetic"], data["train_faces"], data["val_faces"]) == ("300w", True, 17, 3)
    assert (card["seed"], card["training"]["epochs"], card["box"]) == (0, 3, "gt:1.25")
    assert card["source"]["bytes"] == (run / "best.keras").stat().st_size
    assert card["licence"]["weights"].startswith("non-commercial research use only, inherited from 300-W")
    assert card["command"].startswith("python tools/publish.py --checkpoint student --name tiny-300w --dataset 300w")


def test_the_files_say_what_they_are_and_name_no_folder(published, run, faces):
    folder, card = published
    described = read_card(folder / "model.keras")
    measured = described.pop("confidence", None)
    assert described == read_card(run)
    assert (measured is None) == (card["confidence"] is None)
    for precision in ("fp16", "int8"):
        found = read_metadata(folder / f"{precision}.tflite")
        source = pretrained.describe(run / "best.keras")["sha256"]
        assert (found.pop("export")["precision"], found.pop("source_sha256")) == (precision, source)
        assert found.items() >= read_card(run).items()
    text = (folder / "README.md").read_text(encoding="utf-8") + json.dumps(card)
    assert "**Trained and measured on SYNTHETIC faces" in text
    assert not any(str(place) in text for place in (folder.parents[2], run.parent, faces.path.parent))


def test_every_number_is_that_of_its_file(published, run, faces):
    folder, card = published
    numbers = card["numbers"]
    assert list(numbers) == ["original", *pretrained.FILES]
    for label, path in (("original", run), ("model.keras", folder / "model.keras")):
        for split in ("val", "test"):
            found = evaluate_checkpoint(faces, path, split=split).metrics["subsets"]["full"]
            for key, value in numbers[label][split]["full"].items():
                assert value == (None if found[key] is None else pytest.approx(found[key], rel=1e-6))
    nme = [of["test"]["full"]["nme_interocular"] for of in numbers.values()]
    assert nme == pytest.approx([nme[0]] * 4, rel=0.03)
    assert len(set(nme)) == 4
    assert {"common", "full"} <= numbers["original"]["test"].keys()
    assert card["robustness"]["baseline_nme"] == pytest.approx(nme[1], rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--name": "../up"}, "error: --name ../up: expected lower-case letters"),
        ({"--out": "."}, "error: .: exists already: remove it, or give another --out"),
        ({"--checkpoint": "bare.keras"}, "error: the checkpoint lies in no run folder"),
    ],
)
def test_refused(changes, message, run, faces, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(run / "best.keras", "bare.keras")
    options = {"--checkpoint": str(run), "--name": NAME, "--dataset": "300w", "--data": str(faces.path)} | changes
    assert publish.main([word for option in options.items() for word in option]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith(message)
    assert errors.count("\n") == 1
    assert [file.name for file in tmp_path.rglob("*")] == ["bare.keras"]
