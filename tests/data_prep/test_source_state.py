"""The state of a raw folder: another when anything in it changes, and the same otherwise."""

import os

import pytest

from data_prep.source_state import state_of


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "raw" / "deep").mkdir(parents=True)
    (tmp_path / "raw" / "a.png").write_bytes(b"1")
    (tmp_path / "raw" / "deep" / "b.png").write_bytes(b"2")
    (tmp_path / "raw" / "broken.png").symlink_to("nowhere")
    (tmp_path / "raw" / os.fsdecode(b"odd\xff.png")).write_bytes(b"3")
    return tmp_path / "raw"


def test_the_same_folder_has_the_same_state_however_it_is_named(folder, monkeypatch):
    state = state_of(folder)
    assert len(state) == 64
    monkeypatch.chdir(folder.parent)
    assert {state_of(str(folder)), state_of("raw"), state_of(folder / "deep" / "..")} == {state}


@pytest.mark.parametrize("change", ["content", "time", "new", "gone", "link", "place"])
def test_any_change_is_another_state(folder, change):
    before, file = state_of(folder), folder / "deep" / "b.png"
    if change == "content":
        file.write_bytes(b"22")
    elif change == "time":
        os.utime(file, ns=(0, 0))
    elif change == "new":
        (folder / "deep" / "c.png").touch()
    elif change == "gone":
        file.unlink()
    elif change == "link":
        (folder / "nowhere").write_bytes(b"4")
    else:
        folder = folder.rename(folder.with_name("moved"))
    assert state_of(folder) != before
