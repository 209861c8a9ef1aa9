"""``tools/accelerator.py``: what it plans fits into its minutes. A rehearsal trains; that takes too long for a test."""

import sys
from pathlib import Path

import pytest

from tests.random_faces import prepared_faces

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture
def accelerator(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    yield __import__("accelerator")
    for name in ("accelerator", "pack_faces"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("rate", [300.0, 700.0, 5000.0])
def test_the_plan_fits_and_saves_in_time(accelerator, tmp_path, capsys, rate):
    faces = prepared_faces(tmp_path / "300w", train=40, test=4, occluded=2)
    accelerator.pack_faces.pack(faces.path, tmp_path / "faces.zip")
    words = ["--faces", str(tmp_path / "faces.zip"), "--out", str(tmp_path / "out"), "--rates", str(rate), str(rate)]
    assert accelerator.main([*words, "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    seconds = 0
    for line, name in zip(lines, ("teacher", "student"), strict=True):
        assert line.startswith(f"{name}: ")
        numbers = [int(word) for word in line.split() if word.isdigit()]
        _, epochs, passes, count = numbers
        assert count == 36  # four are for validation
        assert passes * count / rate <= 60
        seconds += accelerator.COMPILING + epochs * passes * count / rate
    assert 0.8 * 720 < seconds <= 720
    assert not (tmp_path / "out" / "teacher").exists()
