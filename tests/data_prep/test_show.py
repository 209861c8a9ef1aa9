"""The contact sheet of a prepared folder."""

import numpy as np
from PIL import Image

from data_prep.__main__ import main
from tests.data_prep.marked_faces import write_face


def test_the_sheet_shows_faces_points_and_partners_and_counts_duplicates(tmp_path, capsys, fails):
    for number in range(10):
        write_face(tmp_path / "in" / f"{number}.png", num_points=3, seed=0 if number == 7 else number)
    (tmp_path / "in" / "points.txt").write_text("left_eye\nnose\nright_eye\n")
    assert main(["folder", "--source", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--size", "64"]) == 0
    prepared = capsys.readouterr().out.splitlines()
    assert main(["show", str(tmp_path / "out"), "--out", str(tmp_path / "a.png"), "--count", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-3] == prepared[:-1]
    assert lines[-3:-1] == [
        "1 pairs of mirror partners, 1 points of their own",
        "1 pictures are there under several names, the first: 0.png and 7.png",
    ]
    sheet = np.array(Image.open(tmp_path / "a.png"))
    assert sheet.shape == (2 * (320 + 16) + 2 * 16, 4 * 320, 3)
    for colour in ((240, 228, 66), (255, 255, 255), (86, 180, 233)):
        assert (sheet[16:336, :320] == colour).all(axis=-1).sum() > 10
    assert (sheet[-32:] > 200).any()
    assert "expected a .png" in fails("show", tmp_path / "out", "--out", tmp_path / "a.txt")
