"""Archives of data sets, good and evil ones, unpacked into a folder of their own."""

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile

import pytest

from data_prep import archives
from data_prep.archives import unpack
from kdloss.errors import DataError, UserError

FACES = {"afw/1.jpg": b"one", "afw/1.pts": b"", "helen/train set/2.jpg": os.urandom(3000), "é.png": b"two"}


def _zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _tar(path, *members, mode="w"):
    """Members: (name, content), or a `tarfile.TarInfo`."""
    with tarfile.open(path, mode) as archive:
        for member in members:
            info, content = (
                (member, b"") if isinstance(member, tarfile.TarInfo) else (tarfile.TarInfo(member[0]), member[1])
            )
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return path


def _special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def _content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _refused(tmp_path, *paths, **options):
    """The line that says why; nothing was written anywhere."""
    outside = tmp_path / "around"
    outside.mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError) as caught:
        unpack(paths, outside / "out", **options)
    assert sorted(tmp_path.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz")])
def test_a_tar_archive_is_unpacked_whole(suffix, mode, tmp_path):
    folder = _special("afw", tarfile.DIRTYPE)
    path = _tar(tmp_path / f"faces{suffix}", folder, *FACES.items(), mode=mode)
    assert unpack([path], tmp_path / "raw") == (4, 3006)
    assert _content(tmp_path / "raw") == FACES


def test_several_archives_come_into_one_folder(tmp_path):
    first = _zip(
        tmp_path / "a.zip", FACES | {"__MACOSX/afw/._1.jpg": b"x", "afw/.DS_Store": b"y", "windows\\3.png": b"3"}
    )
    second = _tar(tmp_path / "b.tar", ("./lfpw/4.png", b"4"), ("__MACOSX/afw/._1.jpg", b"z"))
    unpack([first, second], tmp_path / "raw")
    assert _content(tmp_path / "raw") == FACES | {"windows/3.png": b"3", "lfpw/4.png": b"4"}


def test_permissions_and_times_are_not_taken_over(tmp_path):
    info = tarfile.TarInfo("run.sh")
    info.mode, info.mtime = 0o6777, 5
    unpack([_tar(tmp_path / "a.tar", info)], tmp_path / "raw")
    found = (tmp_path / "raw" / "run.sh").stat()
    assert not stat.S_IMODE(found.st_mode) & 0o6111
    assert found.st_mtime > 5


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "a/..", "..\\evil"])
def test_a_member_that_leads_out_is_refused(name, tmp_path):
    evil = _zip(tmp_path / "evil.zip", {"good": b"", name: b"evil"})
    assert f"evil.zip: {name!r}".replace("\\\\", "/") in _refused(tmp_path, evil)


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil"])
def test_a_member_of_a_tar_archive_that_leads_out_is_refused(name, tmp_path):
    line = _refused(tmp_path, _tar(tmp_path / "evil.tar.gz", ("good", b""), (name, b"evil"), mode="w:gz"))
    assert f"evil.tar.gz: {name!r} leads out of the folder" in line


@pytest.mark.parametrize(
    "member",
    [
        _special("link", tarfile.SYMTYPE, "../outside"),
        _special("link", tarfile.SYMTYPE, "good"),
        _special("link", tarfile.LNKTYPE, "/etc/passwd"),
        _special("link", tarfile.CHRTYPE),
        _special("link", tarfile.BLKTYPE),
        _special("link", tarfile.FIFOTYPE),
    ],
)
def test_links_and_devices_are_refused(member, tmp_path):
    line = _refused(tmp_path, _tar(tmp_path / "evil.tar", ("good", b""), member, ("link/evil", b"evil")))
    assert "evil.tar: 'link' is a link or a device" in line


def test_a_link_in_a_zip_archive_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(link, "/etc")
    assert "evil.zip: 'link' is a link or a device" in _refused(tmp_path, tmp_path / "evil.zip")


def test_a_name_that_is_there_twice_is_refused(tmp_path):
    twice = _tar(tmp_path / "b.tar", ("afw/1.jpg", b"other"))
    assert "b.tar: 'afw/1.jpg' is there twice" in _refused(tmp_path, _zip(tmp_path / "a.zip", FACES), twice)


def test_a_file_that_is_a_folder_elsewhere_is_refused(tmp_path):
    assert "'a/b' is there twice" in _refused(tmp_path, _tar(tmp_path / "a.tar", ("a", b""), ("a/b", b"")))


def test_names_that_no_disk_takes_are_refused(tmp_path):
    assert "is too long for a name" in _refused(tmp_path, _tar(tmp_path / "a.tar", ("x" * 300, b"")))


@pytest.mark.parametrize("write", [lambda p, c: _zip(p, {"zeros": c}), lambda p, c: _tar(p, ("zeros", c), mode="w:gz")])
def test_a_bomb_is_refused_before_it_is_unpacked(write, tmp_path):
    bomb = write(tmp_path / "bomb", bytes(50_000_000))
    assert bomb.stat().st_size < 100_000
    line = _refused(tmp_path, bomb, most_bytes=49e6)
    assert line.startswith(f"{bomb}: with it 0.049 GB")


def test_many_empty_files_are_a_bomb_too(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_MOST_FILES", 10)
    assert "more than 10 files" in _refused(tmp_path, _zip(tmp_path / "a.zip", dict.fromkeys(map(str, range(11)), b"")))


def test_what_does_not_fit_on_the_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: _Free)
    assert "does not fit on the disk, 0.0 GB are free" in _refused(tmp_path, _zip(tmp_path / "a.zip", FACES))


class _Free:
    free = 100


def test_names_of_any_length_do_not_fill_the_memory(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 10**9
    path = tmp_path / "a.tar.gz"
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf())
        file.write(bytes(10**6))
    assert "a header of" in _refused(tmp_path, path)


def _cut(content, share):
    return content[: int(share * len(content))]


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_that_is_cut_short_is_refused(kind, share, tmp_path):
    path, members = tmp_path / f"a.{kind}", {str(i): os.urandom(5000) for i in range(5)}
    if kind == "zip":
        _zip(path, members)
    else:
        _tar(path, *members.items(), mode="w:gz" if kind == "tar.gz" else "w")
    content = path.read_bytes()
    if kind == "tar":
        content = content.rstrip(b"\0") + bytes(512)  # without the room behind the end
    path.write_bytes(_cut(content, share))
    assert "damaged, cut short" in _refused(tmp_path, path)


def test_a_tar_archive_cut_between_two_members_is_refused(tmp_path):
    path = _tar(tmp_path / "a.tar", ("1", bytes(512)), ("2", bytes(512)))
    path.write_bytes(path.read_bytes()[:1024])
    assert "no end where one is expected" in _refused(tmp_path, path)


def test_a_changed_byte_is_noticed(tmp_path):
    for path in (
        _zip(tmp_path / "a.zip", {"1": os.urandom(1000)}),
        _tar(tmp_path / "a.tgz", ("1", os.urandom(1000)), mode="w:gz"),
    ):
        content = bytearray(path.read_bytes())
        content[600] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged"):
            unpack([path], tmp_path / "out")


def test_encrypted_and_oddly_packed_members_are_named(tmp_path):
    path = _zip(tmp_path / "a.zip", {"secret": b"x" * 100})
    content = path.read_bytes()
    directory = content.rindex(b"PK\x01\x02")
    locked = bytearray(content)
    locked[6] |= 1
    locked[directory + 8] |= 1
    path.write_bytes(locked)
    assert "'secret' is encrypted" in _refused(tmp_path, path)
    odd = bytearray(content)
    struct.pack_into("<H", odd, directory + 10, 14)
    path.write_bytes(odd)
    with pytest.raises(DataError, match="'secret' is packed by method 14"):
        unpack([path], tmp_path / "out")


@pytest.mark.parametrize("name", ["300w.zip.001", "300w.z01", "300w.part1.rar"])
def test_a_part_of_an_archive_is_named(name, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    assert "a part of an archive in several" in _refused(tmp_path, tmp_path / name)


def test_the_last_part_of_an_archive_is_named(tmp_path):
    (tmp_path / "300w.z01").write_bytes(b"x")
    assert "a part of an archive" in _refused(tmp_path, _zip(tmp_path / "300w.zip", FACES))


def test_other_files_and_folders_that_exist_are_refused(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"Rar!" * 300)
    assert "no .zip or .tar archive" in _refused(tmp_path, tmp_path / "a.rar")
    with pytest.raises(DataError, match="no such file"):
        unpack([tmp_path / "b.zip"], tmp_path / "out")
    with pytest.raises(UserError, match="exists already"):
        unpack([_zip(tmp_path / "c.zip", FACES)], tmp_path)


def test_the_command_unpacks_and_prepares_what_it_unpacked(tmp_path, faces_300w, command):
    with tarfile.open(tmp_path / "300w.tar.gz", "w:gz") as archive:
        for part in sorted(faces_300w.iterdir()):
            archive.add(part, part.name)
    done = command("unpack", tmp_path / "300w.tar.gz", "--out", tmp_path / "again")
    assert (done.returncode, done.stderr) == (0, f"unpacking {tmp_path / '300w.tar.gz'}\n")
    assert done.stdout.startswith("unpacked 28 files, ")
    assert _content(tmp_path / "again") == _content(faces_300w)
    _zip(tmp_path / "evil.zip", {"../evil": b""})
    done = command("unpack", tmp_path / "evil.zip", "--out", tmp_path / "evil")
    assert done.returncode == 2
    assert done.stderr.splitlines()[1].startswith(f"error: {tmp_path / 'evil.zip'}: '../evil' leads out of the folder")
    assert not (tmp_path / "evil").exists()
