"""What is looked at, and what its results are called."""

from pathlib import Path

import pytest

from kdloss.inference.sources import find_sources


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "in/a.jpg",
        "in/a.MP4",
        "in/d.jpg",
        "in/deep/b.png",
        "in/deep/.hidden.png",
        "in/.x/b.png",
        "in/__MACOSX/a.jpg",
        "in/notes.txt",
        "other/c.webm",
    ):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def described(asked, **how):
    return [(source.name, source.result, source.kind) for source in find_sources(asked, **how)]


def test_folders_files_and_cameras_in_the_order_asked():
    assert described(["camera:0", "in", "other/c.webm", "in/a.jpg", "absent.jpg"]) == [
        ("camera:0", "camera-0", "camera"),
        ("in/a.MP4", "in/a.MP4", "video"),
        ("in/a.jpg", "in/a.jpg", "photograph"),
        ("in/d.jpg", "in/d", "photograph"),
        ("in/deep/b.png", "in/deep/b", "photograph"),
        ("other/c.webm", "other/c", "video"),
        ("absent.jpg", "absent", "photograph"),
    ]


def test_one_folder_is_the_root_of_its_names():
    assert [name for name, *_ in described(["in"])] == ["a.MP4", "a.jpg", "d.jpg", "deep/b.png"]
    assert [name for name, *_ in described(["in"], skipped="in/deep")] == ["a.MP4", "a.jpg", "d.jpg"]
    assert [name for name, *_ in described(["in/deep"], skipped="in/deep")] == ["b.png"]
