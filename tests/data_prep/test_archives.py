"""Archives of data sets, good and malicious, are unpacked into a folder of their own."""

import io
import os
import tarfile
import zipfile

import pytest

from data_prep.__main__ import main
from data_prep.archives import unpack
from kdloss.errors import DataError

FACES = {"afw/1.jpg": b"one", "afw/1.pts": b"", "helen/train set/2.jpg": os.urandom(3000), "é.png": b"two"}


def write_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_tar(path, members, mode="w"):
    """A member whose content is a text becomes a link to it."""
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname, content = tarfile.SYMTYPE, content, b""
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_gz(path, members):
    return write_tar(path, members, "w:gz")


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(path, **options):
    """The error of an archive that must be refused, with nothing written anywhere."""
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(DataError) as caught:
        unpack([path], path.parent / "out", **options)
    assert sorted(path.parent.rglob("*")) == before
    return str(caught.value)


@pytest.mark.parametrize(("suffix", "write"), [("tar", write_tar), ("tar.gz", write_gz), ("tgz", write_gz)])
def test_archives_come_into_one_folder(suffix, write, tmp_path):
    first = write(tmp_path / f"faces.{suffix}", FACES)
    second = write_zip(tmp_path / "more.zip", {"lfpw/4.png": b"4", "__MACOSX/afw/._1.jpg": b"x"})
    assert unpack([first, second], tmp_path / "raw") == (6, 3008)
    assert content(tmp_path / "raw") == FACES | {"lfpw/4.png": b"4"}


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil"])
def test_members_that_lead_out_and_links_are_refused(write, name, tmp_path):
    path = write(tmp_path / "evil", {"good": b"", name: b"evil"})
    assert f"evil: not unpacked ({name!r} leads out of the folder)" in refusal(path)
    assert "'link' is a link or a device" in refusal(write_tar(tmp_path / "a.tar", {"good": b"", "link": "../outside"}))


@pytest.mark.parametrize("write", [write_zip, write_gz])
def test_a_bomb_is_refused_before_it_is_unpacked(write, tmp_path):
    bomb = write(tmp_path / "bomb", {"zeros": bytes(5_000_000)})
    assert bomb.stat().st_size < 10_000
    assert "unpacked, it would exceed 0.0049 GB: see --most-gb" in refusal(bomb, most_bytes=4.9e6)


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("write", [write_zip, write_tar, write_gz])
def test_an_archive_that_is_cut_short_is_refused(write, share, tmp_path):
    path = write(tmp_path / "a", {str(i): os.urandom(5000) for i in range(5)})
    data = path.read_bytes()
    if write is write_tar:
        data = data.rstrip(b"\0") + bytes(512)  # without the padding after the end
    path.write_bytes(data[: int(share * len(data))])
    assert "expected a whole .zip or .tar archive" in refusal(path)


@pytest.mark.parametrize("damage", ["between", "header", "byte"])
def test_damage_that_tarfile_overlooks_is_noticed(damage, tmp_path):
    path = (write_gz if damage == "byte" else write_tar)(tmp_path / "a", {"1": os.urandom(512), "2": bytes(512)})
    data = bytearray(path.read_bytes())
    if damage == "between":
        data = data[:1024]
    else:
        data[1100 if damage == "header" else 600] ^= 1
    path.write_bytes(data)
    assert "expected a whole .zip or .tar archive" in refusal(path)


def test_other_files_and_existing_folders_are_refused(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"Rar!" * 300)
    assert "expected a whole .zip or .tar archive" in refusal(tmp_path / "a.rar")
    assert "no such file" in refusal(tmp_path / "b.zip")
    with pytest.raises(DataError, match="exists already"):
        unpack([write_zip(tmp_path / "c.zip", FACES)], tmp_path)


def test_the_command_unpacks(tmp_path, capsys):
    path = write_gz(tmp_path / "300w.tar.gz", FACES)
    assert main(["unpack", str(path), "--out", str(tmp_path / "again")]) == 0
    said, progress = capsys.readouterr()
    assert said.startswith("unpacked 4 files, ")
    assert progress == f"unpacking {path}\n"
    assert content(tmp_path / "again") == FACES
