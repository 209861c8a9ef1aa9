"""The models of the page: their names, and answers of those without a measured confidence."""

import asyncio
import json

import pytest

from kdloss.errors import ConfigError
from kdloss.inference.landmarker import Landmarker
from kdloss.serving.application import application
from kdloss.serving.models import ServedModel, shown_names
from tests.inference.test_predict import checkpoint as checkpoint
from tests.serving.test_application import post


def test_names_are_short_and_different(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("runs/a/best.keras", "runs/b/best.keras", "other/runs/a/best.keras", "one.onnx"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    asked = ["mobilenetv2-300w", "mobilenetv2-300w/int8.tflite", "runs/a/best.keras", "runs/b/best.keras", "one.onnx"]
    expected = ["mobilenetv2-300w", "mobilenetv2-300w/int8.tflite", "a/best.keras", "b/best.keras", "one.onnx"]
    assert shown_names(asked) == expected
    assert shown_names(["runs/a", str(tmp_path / "other/runs/a")]) == [f"{tmp_path.name}/runs/a", "other/runs/a"]
    with pytest.raises(ConfigError, match="named 2 times"):
        shown_names(["runs/a", str(tmp_path / "runs/a")])


def test_models_side_by_side_answer_with_and_without_a_measured_confidence(checkpoint, photograph):
    models = [ServedModel(name, Landmarker(path)) for name, path in (("run", checkpoint), ("good", "mobilenetv2-300w"))]
    body = {"type": "http.request", "body": photograph, "more_body": False}
    status, content, _ = asyncio.run(post(application(models, ["localhost"]), body))
    answers = [json.loads(content), models[1].answer(photograph)]
    assert (status, [answer["model"] for answer in answers]) == (200, ["run", "good"])
    assert [answer["least_confidence"] for answer in answers] == [None, 0.4865]
    for answer in answers:
        (face,) = answer["faces"]
        assert (face["confidence"] is None) == (answer["model"] == "run")
        assert answer["milliseconds"]["detection"] > 0
    # The box of the next frame of a camera is turned like the face.
    (x, y, width, height), turn = face["box"], 0.2
    (again,) = models[1].answer(photograph, [[x, y, width, height, turn]])["faces"]
    assert again["turn"] == turn
