"""``python -m data_prep`` as typed: what it prints, and one line and exit 2 for every bad input."""

import pytest

from data_prep.__main__ import main
from kdloss.data.prepared import PreparedDataset


def test_missing_folder_says_where_to_get_the_data_and_how_to_do_without(tmp_path, fails):
    line = fails("cofw", "--source", tmp_path / "gone", "--out", tmp_path / "out")
    assert "gone: no such folder: get COFW at https://" in line
    assert "python -m data_prep synthetic --layout cofw" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "value"), [("--size", 4), ("--size", 100000), ("--crop-scale", "nan"), ("--processes", 0)]
)
def test_options_out_of_range(tmp_path, fails, option, value):
    assert option in fails("300w", "--source", tmp_path, "--out", tmp_path / "out", option, value)


@pytest.mark.parametrize("layout", ["300w", "cofw", "wflw"])
def test_synthetic_faces_pass_through_the_real_readers(tmp_path, capsys, layout):
    raw, out = str(tmp_path / "raw"), str(tmp_path / "a b" / "out")
    assert main(["synthetic", "--layout", layout, "--count", "4", "--test-count", "2", "--out", raw]) == 0
    assert "wrote 6 synthetic faces" in capsys.readouterr().out
    assert main([layout, "--source", raw, "--out", out, "--size", "32", "--crop-scale", "1.5"]) == 0
    data = PreparedDataset(out)
    assert (data.size, data.manifest["crop_scale"]) == (32, 1.5)
    assert (len(data), len(data.indices("test")), data.synthetic) == (6, 2, True)
    assert data.manifest["skipped"] == []
    assert f"{layout} (synthetic, " in capsys.readouterr().out
