"""``--data`` and ``--dataset`` lead to faces, or to one line that says how to get some."""

import os
from pathlib import Path

import pytest

from data_prep.find import data_root, find_prepared
from kdloss.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def empty_data(tmp_path, monkeypatch):
    """No data anywhere: neither in the working folder nor named by the environment."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("KDLOSS_DATA", raising=False)


def refusal(*arguments):
    with pytest.raises(DataError) as caught:
        find_prepared(*arguments)
    return str(caught.value)


def test_without_data_the_error_says_how_to_get_some():
    line = refusal("cofw")
    assert line.startswith("data/cofw: no prepared cofw faces there: run python -m data_prep cofw --source RAW")
    assert "python -m data_prep cofw --source RAW --out data/cofw" in line
    assert [*Path().iterdir()] == []


def test_the_environment_names_the_folder_of_all_sets(random_faces, monkeypatch):
    assert data_root() == Path("data")
    monkeypatch.setenv("KDLOSS_DATA", str(random_faces.path.parent))
    assert data_root() == random_faces.path.parent
    for place in (None, random_faces.path, str(random_faces.path)):
        assert find_prepared("cofw", place).path == random_faces.path
    assert [*Path().iterdir()] == []
    assert str(random_faces.path.parent / "300w") in refusal("300w")


def test_a_prepared_folder_of_another_set_is_refused(random_faces, monkeypatch):
    assert "holds faces of cofw, expected 300w" in refusal("300w", random_faces.path)
    Path("data").mkdir()
    Path("data/300w").symlink_to(random_faces.path)
    assert "holds faces of cofw, expected 300w" in refusal("300w")


def test_a_raw_folder_is_prepared_once(faces_300w, tmp_path, monkeypatch, capsys):
    first = find_prepared("300w", faces_300w, 24)
    assert first.path.parent == Path("data/cache")
    assert (len(first), first.size, first.scheme.num_points) == (14, 24, 68)
    assert "14 faces" in capsys.readouterr().out
    made = (first.path / "faces.npy").stat().st_mtime_ns
    # The same folder under another spelling is the same folder, and nothing is read again.
    again = find_prepared("300w", str(faces_300w / ".." / faces_300w.name), 24)
    assert again.path == first.path
    assert (again.path / "faces.npy").stat().st_mtime_ns == made
    assert capsys.readouterr().out == ""
    assert find_prepared("300w", faces_300w, 32).size == 32
    assert len([*Path("data/cache").iterdir()]) == 2
    # A folder that has changed is another, even if size and time of its files are as before.
    annotation = faces_300w / "afw" / "100_1.pts"
    before = annotation.stat()
    annotation.write_bytes(annotation.read_bytes().replace(b"1", b"2"))
    os.utime(annotation, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert find_prepared("300w", faces_300w, 24).path != first.path
    monkeypatch.setenv("KDLOSS_DATA", str(tmp_path / "sets"))
    assert find_prepared("300w", faces_300w, 16).path.parent == tmp_path / "sets" / "cache"


def test_a_folder_without_raw_faces_leaves_nothing_behind(tmp_path, faces_300w):
    assert "no such folder: give a prepared or an official 300w folder" in refusal("300w", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in refusal("300w", tmp_path / "empty")
    refusal("wflw", faces_300w)
    with pytest.raises(ConfigError, match="lfw"):
        find_prepared("lfw", faces_300w)
    assert not [path for path in Path().rglob("*") if path.is_file()]
