"""``python -m kdloss.publish``: a folder with files that work, and a card of which every number is measured."""

import json
import shutil

import numpy as np
import pytest

import kdloss
from kdloss import evaluate, pretrained, publish
from kdloss.deploy.litert import LiteRTModel
from kdloss.deploy.metadata import read_metadata
from kdloss.deploy.model_card import model_card
from kdloss.deploy.origin import origin, portable_command
from kdloss.errors import CheckpointError
from kdloss.evaluation.evaluation import evaluate_checkpoint
from kdloss.training.checkpoint import checkpoint_path, load_model, read_card
from tests.training.tiny_chain import SIZE

NAME = "tiny-300w"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def published(run, faces, workplace, tiny_networks):
    """The folder, made by the command; what it prints is the first test's."""
    words = ["--checkpoint", str(run), "--name", NAME, "--dataset", "300w", "--data", str(faces.path)]
    assert publish.main(words) == 0
    return workplace / "kdloss" / "pretrained" / NAME


@pytest.fixture(scope="module")
def card(published):
    return json.loads((published / "card.json").read_text(encoding="utf-8"))


@pytest.fixture
def shipped(published, tmp_path, monkeypatch):
    """The name of the model, as if a package in another folder shipped it."""
    shutil.copytree(published, tmp_path / "site-packages" / NAME)
    monkeypatch.setattr(pretrained, "ROOT", tmp_path / "site-packages")
    monkeypatch.chdir(tmp_path)
    return NAME


def test_the_folder(published, workplace, card):
    assert sorted(file.name for file in published.iterdir()) == sorted([*pretrained.FILES, "README.md", "card.json"])
    assert [folder.name for folder in published.parent.iterdir()] == [NAME]
    for file, facts in card["files"].items():
        assert facts == pretrained.describe(published / file)
    assert list(card["files"]) == list(pretrained.FILES)


def test_the_card_says_what_it_is(card, run, faces):
    assert (card["name"], card["arch"], card["image_size"], card["points"]) == (NAME, "tiny", SIZE, 68)
    data = card["data"]
    assert (data["dataset"], data["synthetic"], data["train_faces"], data["val_faces"]) == ("300w", True, 17, 3)
    assert (data["prepared_train_faces"], data["official_train_faces"]) == (17, 3148)
    assert (data["starts"], data["teachers"]) == ([], {})
    assert (card["seed"], card["training"]["epochs"], card["box"]) == (0, 3, "gt:1.25")
    assert card["source"]["bytes"] == (run / "best.keras").stat().st_size
    assert card["licence"]["weights"].startswith("non-commercial research use only")
    assert card["protocol"]["normaliser"] == "interocular"
    assert {"date", "machine", "command", "packages"} <= card.keys()
    assert card["command"].startswith("python -m kdloss.publish --checkpoint student --name tiny-300w --dataset 300w")


def test_every_number_is_that_of_its_file(card, published, run, faces):
    numbers = card["numbers"]
    assert list(numbers) == ["original", *pretrained.FILES]
    for label, path in (("original", run), ("model.keras", published / "model.keras")):
        for split in ("val", "test"):
            found = evaluate_checkpoint(faces, path, split=split).metrics["subsets"]["full"]
            for key, value in numbers[label][split]["full"].items():
                assert value == (None if found[key] is None else pytest.approx(found[key], rel=1e-6))
    nme = [of["test"]["full"]["nme_interocular"] for of in numbers.values()]
    assert nme == pytest.approx([nme[0]] * 4, rel=0.03)
    assert len(set(nme)) == 4
    assert {"common", "full"} <= numbers["original"]["test"].keys()
    assert card["robustness"]["baseline_nme"] == pytest.approx(nme[1], rel=1e-6)


def test_the_card_for_people(card, published, faces):
    text = (published / "README.md").read_text(encoding="utf-8")
    assert text == model_card(card)
    assert text.startswith(f"# {NAME}\n")
    for words in (
        f'kdloss.load("{NAME}")',
        f"--dataset 300w --checkpoint {NAME}",
        "**Trained and measured on SYNTHETIC faces",
        "17 training faces",
        "random, no ImageNet weights",
        "non-commercial research use only",
        "Code: MIT",
        "was not measured",
        "Validation split, full, 3 faces",
        "sides x 1.3",
        f"{card['numbers']['int8.tflite']['test']['full']['nme_interocular']:.2f}",
    ):
        assert words in text


def test_nothing_names_a_place_on_this_machine(published, workplace, run, faces):
    for file in ("card.json", "README.md"):
        text = (published / file).read_text(encoding="utf-8")
        for place in (workplace, run.parent, faces.path.parent):
            assert str(place) not in text
    words = portable_command(["--data", "/a/b", "--out=/a/c", "runs/d", "e=f"])
    assert words == ["--data", "b", "--out=c", "runs/d", "e=f"]


def test_the_files_work(published, run, faces, card):
    images = np.asarray(faces.faces[:4][:, :SIZE, :SIZE], np.float32)
    expected = load_model(run)[0].predict_on_batch(images)
    assert np.abs(load_model(published / "model.keras")[0].predict_on_batch(images) - expected).max() < 1e-3
    described = read_card(published / "model.keras")
    measured = described.pop("confidence", None)
    assert described == read_card(run)
    assert (measured is None) == (card["confidence"] is None)
    for file in ("fp16.tflite", "int8.tflite"):
        assert np.abs(LiteRTModel(published / file).predict_on_batch(images) - expected).max() < 0.02


def test_the_files_say_what_they_are(published, run):
    source = pretrained.describe(run / "best.keras")["sha256"]
    for file, precision in (("fp16.tflite", "fp16"), ("int8.tflite", "int8")):
        found = read_metadata(published / file)
        assert (found.pop("export")["precision"], found.pop("source_sha256")) == (precision, source)
        assert found.items() >= read_card(run).items()


def test_a_shipped_name_is_a_checkpoint(shipped, published, faces, tmp_path, capsys):
    assert pretrained.names() == [NAME]
    assert checkpoint_path(NAME) == pretrained.ROOT / NAME / "model.keras"
    assert kdloss.load(NAME).output_shape == (None, 68, 2)
    before = sorted(pretrained.ROOT.rglob("*"))
    assert evaluate.main(["--dataset", "300w", "--data", str(faces.path), "--checkpoint", NAME]) == 0
    out = tmp_path / "evaluation" / f"300w-{NAME}"
    record = json.loads((out / "metrics.json").read_text())
    assert record["protocol"]["checkpoint"]["path"] == NAME
    assert record["subsets"]["full"]["n"] == 6
    assert sorted(pretrained.ROOT.rglob("*")) == before
    printed = capsys.readouterr().out
    assert f"\n{NAME} " in printed
    assert str(pretrained.ROOT) not in printed


def test_a_shipped_name_is_measured_in_comparisons_and_reports(shipped, run, faces, tmp_path):
    words = ["--dataset", "300w", "--data", str(faces.path), "--report"]
    assert evaluate.main([*words, "--compare", f"ours={NAME}", str(run)]) == 0
    report = (tmp_path / "evaluation" / "300w-compared" / "report.html").read_text(encoding="utf-8")
    assert NAME in report
    assert str(pretrained.ROOT) not in report


def test_what_lies_in_the_working_folder_comes_first(shipped, run, tmp_path):
    shutil.copytree(run, tmp_path / NAME)
    assert checkpoint_path(NAME) == pretrained.Path(NAME) / "best.keras"
    shutil.rmtree(tmp_path / NAME)
    (tmp_path / NAME).mkdir()
    with pytest.raises(CheckpointError, match=f"no such checkpoint: .* name of a shipped model .one of {NAME}"):
        checkpoint_path(NAME)


@pytest.mark.parametrize("file", pretrained.FILES)
def test_a_file_that_changed(shipped, file):
    place = pretrained.ROOT / NAME / file
    assert pretrained.path(NAME, file) == place
    whole = place.read_bytes()
    place.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    with pytest.raises(CheckpointError, match=r"changed: found SHA-256 .*: install the package again"):
        pretrained.path(NAME, file)
    place.write_bytes(whole[:-1])
    with pytest.raises(CheckpointError, match=f"cut short or changed: found {len(whole) - 1} bytes, expected"):
        pretrained.path(NAME, file)
    place.unlink()
    with pytest.raises(CheckpointError, match="unreadable"):
        pretrained.path(NAME, file)


def test_a_changed_model_is_not_loaded(shipped, faces, capsys):
    place = pretrained.ROOT / NAME / "model.keras"
    place.write_bytes(place.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match="cut short"):
        kdloss.load(NAME)
    assert evaluate.main(["--dataset", "300w", "--data", str(faces.path), "--checkpoint", NAME]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": {}}', '{"files": {"model.keras": {}}}'])
def test_a_damaged_card(shipped, content):
    (pretrained.ROOT / NAME / "card.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"card\.json: damaged"):
        kdloss.load(NAME)


def test_where_a_run_came_from(run, faces, tmp_path):
    for name, weights in (("first", "imagenet-lite0"), ("second", "runs/first/best.keras")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        config = json.loads((run / "config.json").read_text()) | {"weights": weights, "tough": "/a/tough/best.keras"}
        (tmp_path / "runs" / name / "config.json").write_text(json.dumps(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        found = origin(tmp_path / "runs" / "second", faces)
    assert found["data"]["starts"] == ["first", "ImageNet weights (imagenet-lite0)"]
    assert found["data"]["teachers"] == {"tough": "tough"}
    assert found["data"]["train_faces"] is None
    assert found["training"]["tough"] == "best.keras"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--name": "A b"}, "error: --name A b: expected lower-case letters"),
        ({"--name": "../up"}, "error: --name ../up: expected"),
        ({"--checkpoint": "absent"}, "error: absent: no such checkpoint: "),
        ({"--out": "."}, "error: .: exists already: remove it, or give another --out"),
        ({"--checkpoint": "bare.keras"}, "error: the checkpoint lies in no run folder"),
        ({"--data": "absent"}, "error: --data absent: no such folder"),
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


def test_a_failure_leaves_nothing(run, faces, tmp_path, monkeypatch):
    from kdloss.deploy import publishing

    def fails(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(publishing, "export_litert", fails)
    with pytest.raises(KeyboardInterrupt):
        publishing.publish(run, NAME, faces, tmp_path / NAME, command="")
    assert not list(tmp_path.iterdir())
