"""What is looked at, and what its results are called."""

from pathlib import Path

import pytest

from kdloss.errors import ConfigError, DataError
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
    return [(source.name, source.result, source.kind) for source in find_sources(asked, **how)[0]]


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


def test_patterns_and_cameras_without_a_prefix():
    assert described(["in/*.[jM]*", "7", "rtsp://me:p@ss/w@host:1/live"]) == [
        ("a.MP4", "a.MP4", "video"),
        ("a.jpg", "a.jpg", "photograph"),
        ("d.jpg", "d", "photograph"),
        ("camera:7", "camera-7", "camera"),
        ("camera:rtsp://host:1/live", "camera-rtsp-host-1-live", "camera"),
    ]
    Path("7").touch()
    assert described(["7"]) == [("7", "7", "photograph")]
    with pytest.raises(DataError, match=r"^in/\*\.gif: no file fits"):
        find_sources(["in/*.gif"])


@pytest.mark.parametrize("place", ["https://me:secret@host/a.jpg", "camera:me:secret@host"])
def test_what_is_no_source_is_named_without_its_password(place):
    with pytest.raises(ConfigError) as caught:
        find_sources([place])
    assert "host" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_pictures_of_other_kinds_are_counted():
    for name in ("in/b.HEIC", "in/deep/c.heic", "in/d.gif", "in/.x/e.gif", "phone/f.avif"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    assert find_sources(["in"])[1] == {".heic": 2, ".gif": 1}
    with pytest.raises(DataError, match=r"but 1 \.avif, which are not read"):
        find_sources(["phone"])
