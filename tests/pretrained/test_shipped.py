"""The models that the package ships, whichever they are, and what works without any."""

import json
import re

import pytest

from kdloss import evaluate, pretrained
from kdloss.errors import CheckpointError
from kdloss.models.checkpoint import checkpoint_path, load_model
from tools.publish import model_card

LARGEST = 16_000_000  # bytes of all models together


def test_they_are_whole_and_few():
    total = 0
    for name in pretrained.names():
        folder = pretrained.ROOT / name
        assert sorted(file.name for file in folder.iterdir()) == sorted([*pretrained.FILES, "README.md", "card.json"])
        for file in pretrained.FILES:
            assert pretrained.path(name, file) == folder / file
        total += sum(file.stat().st_size for file in folder.iterdir())
    assert total <= LARGEST


def test_their_cards_say_what_the_files_are():
    for name in pretrained.names():
        card = pretrained.card(name)
        assert card["name"] == name
        assert card["data"]["synthetic"] is False
        text = (pretrained.ROOT / name / "README.md").read_text(encoding="utf-8")
        assert text == model_card(card)
        assert not re.search(r"(?<![\w.])/(home|root|tmp|work|usr|mnt|Users)/", text + str(card))


@pytest.mark.slow
def test_they_load_and_are_evaluated_by_name(make_prepared, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in pretrained.names():
        card = pretrained.card(name)
        model, of_file = load_model(name)
        assert model.input_shape == (None, card["image_size"], card["image_size"], 3)
        assert model.output_shape == (None, card["points"], 2)
        assert (of_file["arch"], of_file["box"]) == (card["arch"], card["box"])
        faces = make_prepared(card["data"]["dataset"], synthetic=True)
        words = ["--dataset", card["data"]["dataset"], "--data", str(faces.path), "--checkpoint", name]
        assert evaluate.main(words) == 0
        assert (tmp_path / "runs" / "evaluation" / f"{card['data']['dataset']}-{name}" / "metrics.json").is_file()
        assert f"\n{name} " in capsys.readouterr().out
        words[-1] = f"{name}/{pretrained.INT8}"
        assert evaluate.main(words) == 0
        assert (tmp_path / "runs" / "evaluation" / f"{card['data']['dataset']}-{name}-{pretrained.INT8}").is_dir()


def test_an_unknown_name_is_one_clear_line():
    with pytest.raises(CheckpointError, match=r"^mobilenetv9: no such shipped model: expected (one of|none)"):
        pretrained.path("mobilenetv9")
    with pytest.raises(CheckpointError, match=r"^mobilenetv9: no such checkpoint: .*the name of a shipped model"):
        checkpoint_path("mobilenetv9")


@pytest.mark.parametrize("name", ["", "..", "../pretrained", "/"])
def test_no_name_leads_out_of_the_folder(name):
    with pytest.raises(CheckpointError):
        checkpoint_path(name)
    with pytest.raises(CheckpointError):
        pretrained.path(name)


def test_no_other_file_of_a_model(monkeypatch, tmp_path):
    (tmp_path / "a").mkdir()
    files = {name: {"bytes": 1, "sha256": ""} for name in pretrained.FILES}
    (tmp_path / "a" / "card.json").write_text(json.dumps({"files": files}))
    monkeypatch.setattr(pretrained, "ROOT", tmp_path)
    assert pretrained.shipped() == "one of a"
    with pytest.raises(CheckpointError, match=r"a: holds no ../b: expected one of model.keras, fp16.tflite, int8"):
        pretrained.path("a", "../b")
