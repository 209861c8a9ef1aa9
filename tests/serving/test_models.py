"""The names of the models of the page."""

import pytest

from kdloss.errors import ConfigError
from kdloss.serving.models import shown_names


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
