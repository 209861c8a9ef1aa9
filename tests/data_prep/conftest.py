"""Small files of faces whose landmarks are white pixels, and a command that must fail."""

import numpy as np
import pytest
from PIL import Image

from data_prep.__main__ import main


@pytest.fixture(scope="session")
def marked():
    """(num_points, seed) -> an RGB image and the (N, 2) points at which its white pixels are."""

    def draw(num_points, seed=0, width=120, height=90):
        rng = np.random.default_rng(seed)
        flat = rng.choice((width - 40) * (height - 40), num_points, replace=False)
        points = np.stack([flat % (width - 40), flat // (width - 40)], axis=-1) + 20
        image = np.full((height, width, 3), 40, np.uint8)
        image[points[:, 1], points[:, 0]] = 255
        return image, points.astype(np.float32)

    return draw


@pytest.fixture(scope="session")
def write_pts():
    """(path, 0-based points) -> writes a .pts file."""

    def write(path, points):
        lines = "".join(f"{x + 1:.3f} {y + 1:.3f}\n" for x, y in points)
        path.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{lines}}}\n")

    return write


@pytest.fixture(scope="session")
def write_face(marked, write_pts):
    """(path, num_points, seed) -> writes an image and its .pts."""

    def write(path, num_points=68, seed=0):
        path.parent.mkdir(parents=True, exist_ok=True)
        image, points = marked(num_points, seed)
        Image.fromarray(image).save(path)
        write_pts(path.with_suffix(".pts"), points)

    return write


@pytest.fixture(scope="session")
def at_marks():
    """True if every point of a face lies on a white pixel of its image."""

    def check(image, points):
        x, y = np.rint(points).astype(int).T
        return bool((image[y, x] > 200).all())

    return check


@pytest.fixture
def faces_300w(tmp_path, write_face):
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
    """Runs a command that must return 2 with one line on stderr; returns that line."""

    def run(*arguments):
        status, errors = main([*map(str, arguments)]), capsys.readouterr().err
        (line,) = [line for line in errors.splitlines() if " % " not in line]
        assert status == 2
        assert line.startswith("error: ")
        return line

    return run
