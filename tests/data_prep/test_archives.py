"""Archives of data sets, good and evil ones, unpacked into a folder of their own."""

import io
import os
import tarfile
import zipfile

import pytest

from data_prep.archives import unpack
from kdloss.errors import DataError

FACES = {"afw/1.jpg": b"one", "afw/1.pts": b"", "helen/train set/2.jpg": os.urandom(3000), "é.png": b"two"}


def _zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname, content = tarfile.SYMTYPE, content, b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def _content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _refused(tmp_path, path, **options):
    """The line that says why; nothing was written anywhere."""
    around = tmp_path / "around"
    around.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError) as caught:
        unpack([path], around / "out", **options)
    assert sorted(tmp_path.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("suffix", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz")])
def test_archives_come_into_one_folder(suffix, mode, tmp_path):
    first = _tar(tmp_path / f"faces.{suffix}", FACES, mode)
    second = _zip(tmp_path / "more.zip", {"lfpw/4.png": b"4", "__MACOSX/afw/._1.jpg": b"x"})
    files, written = unpack([first, second], tmp_path / "raw")
    assert (files, written) == (6, 3008)
    assert _content(tmp_path / "raw") == FACES | {"lfpw/4.png": b"4"}


@pytest.mark.parametrize("write", [_zip, _tar])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil"])
def test_a_member_that_leads_out_is_refused(write, name, tmp_path):
    path = write(tmp_path / "evil", {"good": b"", name: b"evil"})
    assert f"evil: not unpacked ({name!r} leads out of the folder)" in _refused(tmp_path, path)


def test_a_link_is_refused(tmp_path):
    path = _tar(tmp_path / "a.tar", {"good": b"", "link": "../outside"})
    assert "'link' is a link or a device" in _refused(tmp_path, path)


@pytest.mark.parametrize("write", [_zip, lambda path, members: _tar(path, members, "w:gz")])
def test_a_bomb_is_refused_before_it_is_unpacked(write, tmp_path):
    bomb = write(tmp_path / "bomb", {"zeros": bytes(5_000_000)})
    assert bomb.stat().st_size < 10_000
    assert "unpacked, it would exceed 0.0049 GB: see --most-gb" in _refused(tmp_path, bomb, most_bytes=4.9e6)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_that_is_cut_short_is_refused(kind, share, tmp_path):
    path, members = tmp_path / f"a.{kind}", {str(i): os.urandom(5000) for i in range(5)}
    if kind == "zip":
        _zip(path, members)
    else:
        _tar(path, members, "w:gz" if kind == "tar.gz" else "w")
    content = path.read_bytes()
    if kind == "tar":
        content = content.rstrip(b"\0") + bytes(512)  # without the room behind the end
    path.write_bytes(content[: int(share * len(content))])
    assert "expected a whole .zip or .tar archive" in _refused(tmp_path, path)


@pytest.mark.parametrize("damage", ["between", "header", "byte"])
def test_damage_that_tarfile_passes_over_is_noticed(damage, tmp_path):
    path = _tar(tmp_path / "a", {"1": os.urandom(512), "2": bytes(512)}, "w:gz" if damage == "byte" else "w")
    content = bytearray(path.read_bytes())
    if damage == "between":
        content = content[:1024]
    else:
        content[1100 if damage == "header" else 600] ^= 1
    path.write_bytes(content)
    assert "expected a whole .zip or .tar archive" in _refused(tmp_path, path)


def test_other_files_and_folders_that_exist_are_refused(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"Rar!" * 300)
    assert "expected a whole .zip or .tar archive" in _refused(tmp_path, tmp_path / "a.rar")
    with pytest.raises(DataError, match="no such file"):
        unpack([tmp_path / "b.zip"], tmp_path / "out")
    with pytest.raises(DataError, match="exists already"):
        unpack([_zip(tmp_path / "c.zip", FACES)], tmp_path)


def test_the_command_unpacks(tmp_path, command):
    path = _tar(tmp_path / "300w.tar.gz", FACES, "w:gz")
    done = command("unpack", path, "--out", tmp_path / "again")
    assert (done.returncode, done.stderr) == (0, f"unpacking {path}\n")
    assert done.stdout.startswith("unpacked 4 files, ")
    assert _content(tmp_path / "again") == FACES
