"""A small folder of faces in the layout of 300-W, and a command that must fail."""

import pytest

from data_prep.__main__ import main
from tests.data_prep.marked_faces import write_face


@pytest.fixture
def faces_300w(tmp_path):
    """A small 300-W folder, twelve training and two test faces, one name with spaces."""
    root = tmp_path / "raw"
    for i in range(10):
        write_face(root / "afw" / f"{100 + i // 2}_{i % 2 + 1}.png", seed=i)
    write_face(root / "helen" / "trainset" / "7_1.png", seed=20)
    write_face(root / "lfpw" / "trainset" / "image_0001.png", seed=21)
    write_face(root / "helen" / "testset" / "8_1.png", seed=22)
    write_face(root / "ibug" / "image_092 _01.png", seed=23)
    return root


@pytest.fixture
def fails(capsys):
    """Runs a command that must return 2; returns the last line that it wrote to standard error."""

    def run(*arguments):
        assert main([*map(str, arguments)]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    return run
