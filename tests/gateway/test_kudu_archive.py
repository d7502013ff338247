from __future__ import annotations

import io
import os
import stat
import struct
import zipfile

import pytest

from gateway.kudu import archive
from gateway.kudu.archive import unpack
from gateway.kudu.disposition import file_name
from gateway.kudu.packing import packed
from scheduler.errors import BadRequestError


@pytest.fixture
def folder(tmp_path):
    """Return an empty folder."""
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def zipped(path, *entries, method=zipfile.ZIP_STORED):
    """Write a zip of (name, content) pairs or (name, content, mode) triples; return its path."""
    with zipfile.ZipFile(path, "w", method) as target:
        for name, content, *mode in entries:
            info = zipfile.ZipInfo(name, (2020, 2, 3, 4, 5, 6))
            info.compress_type = method
            info.create_system = 3
            info.external_attr = (mode[0] if mode else 0o644) << 16
            target.writestr(info, content)
    return path


LINK = stat.S_IFLNK | 0o777


def test_files_keep_their_times_and_their_mode(tmp_path, folder):
    """webjobs.md 6.3: mtimes of entries are preserved; a program stays one; both slashes count."""
    unpack(zipped(tmp_path / "z", ("run.sh", "x", 0o755), ("lib\\a.txt", "y"), ("e/", "")), folder)
    assert (folder / "run.sh").stat().st_mtime == 1580702706
    assert os.access(folder / "run.sh", os.X_OK)
    assert not (folder / "lib" / "a.txt").stat().st_mode & 0o111
    assert (folder / "e").is_dir()


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([("../x", "")], "'../x' leads out"),
        ([("/x", "")], "'/x' leads out"),
        ([("a/..\\..\\x", "")], "leads out"),
        ([("C:\\x", "")], "leads out"),
        ([("a", "1"), ("a", "2")], "'a' is there twice"),
        ([("a", "1"), ("./a", "2")], "'./a' is there twice"),
        ([("a", "1"), ("a/b", "2")], "'a' is a file and a folder"),
        ([("a/", ""), ("a", "2")], "'a' is a file and a folder"),
        ([("x" * 300, "1")], "a name of no file"),
        ([("l", "/etc/passwd", LINK)], "'l' is a link that leads out"),
        ([("l", "../x", LINK)], "'l' is a link that leads out"),
        ([("l", "", LINK)], "'l' is a link that leads out"),
        ([("x/y/a", ".", LINK), ("b", "x/y/a/../../..", LINK)], "'b' is a link that leads out"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_entries_are_named(tmp_path, folder, entries, words):
    """What leads out, is ambiguous or has no name is refused with the entry."""
    with pytest.raises(BadRequestError) as told:
        unpack(zipped(tmp_path / "z", *entries), folder)
    assert words in str(told.value)


def test_names_that_differ_in_case_are_two_files(tmp_path, folder):
    """Linux keeps them apart, so we do."""
    unpack(zipped(tmp_path / "z", ("A", "1"), ("a", "2")), folder)
    assert [(folder / name).read_text() for name in "Aa"] == ["1", "2"]


def test_links_inside_are_made_and_never_written_through(tmp_path, folder):
    """A link to a neighbour works; one in the place of a folder is refused."""
    unpack(zipped(tmp_path / "z", ("bin/tool", "../lib/t", LINK), ("lib/t", "x")), folder)
    assert (folder / "bin" / "tool").read_text() == "x"
    with pytest.raises(BadRequestError, match="a file and a folder"):
        unpack(zipped(tmp_path / "z", ("d", "../..", LINK), ("d/x", "y")), folder)


def test_bombs(tmp_path, folder, monkeypatch):
    """Too many entries, too much in all, and what grows beyond its ratio are refused unwritten."""
    monkeypatch.setattr(archive, "RATIO_FREE_BYTES", 1000)
    path = zipped(tmp_path / "z", ("a", b"\0" * 1_000_000), method=zipfile.ZIP_DEFLATED)
    with pytest.raises(BadRequestError, match="times its own size"):
        unpack(path, folder)
    monkeypatch.setattr(archive, "MAX_UNPACKED_BYTES", 10)
    with pytest.raises(BadRequestError, match="1 entries of 1000000 bytes"):
        unpack(path, folder)
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 10)
    with pytest.raises(BadRequestError, match="list of entries takes"):
        unpack(path, folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 1, 30, 60, 100, -1])
def test_broken_archives_are_refused(tmp_path, folder, cut):
    """Cut short or with wrong contents: 400, whichever way it is broken."""
    path = zipped(tmp_path / "z", ("run.sh", "echo " * 100), method=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    if cut < 0:
        data[45:55] = bytes(10)
    path.write_bytes(
        bytes(data[: cut or None]) if cut >= 0 and cut else bytes(data) if cut else b""
    )
    with pytest.raises(BadRequestError, match="no zip archive"):
        unpack(path, folder)


def test_a_folder_is_packed_and_unpacked_again(tmp_path, folder):
    """The stream of a folder's zip holds files, modes, times, empty folders and links inside."""
    source = tmp_path / "source"
    (source / "deep" / "empty").mkdir(parents=True)
    (source / "run.sh").write_text("echo\n" * 200_000)
    (source / "run.sh").chmod(0o755)
    (source / "deep" / "link").symlink_to("../run.sh")
    (source / "out").symlink_to("/etc/passwd")
    os.mkfifo(source / "pipe")
    os.utime(source / "run.sh", (1_600_000_000, 1_600_000_000))

    def listing(_parts, path):
        return {name: path / name for name in sorted(os.listdir(path))}

    (tmp_path / "z").write_bytes(b"".join(packed(source, listing)))
    unpack(tmp_path / "z", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["deep", "run.sh"]
    assert (folder / "run.sh").read_text() == "echo\n" * 200_000
    assert (folder / "run.sh").stat().st_mtime == 1_600_000_000
    assert os.readlink(folder / "deep" / "link") == "../run.sh"
    assert (folder / "deep" / "empty").is_dir()


def test_a_zip_comes_in_pieces(tmp_path):
    """Contents that do not shrink are given on as they are read, not collected."""
    (tmp_path / "noise").write_bytes(os.urandom(3_000_000))
    pieces = list(packed(tmp_path, lambda _parts, path: {"noise": path / "noise"}))
    assert len(pieces) > 5
    assert max(map(len, pieces)) < 1_000_000
    assert zipfile.ZipFile(io.BytesIO(b"".join(pieces))).testzip() is None


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("attachment; filename=run.sh", "run.sh"),
        ("attachement; filename=run.sh", "run.sh"),
        ("filename=run.sh", "run.sh"),
        ('form-data; name="x"; FILENAME="my run.sh"; size=3', "my run.sh"),
        ("attachment; filename=my run.sh", "my run.sh"),
        (r'attachment; filename="C:\dir\run.sh"', "run.sh"),
        ("attachment; filename=a/b/run.sh", "run.sh"),
        ("attachment; filename=../../run.sh", "run.sh"),
        ("attachment; filename=é.sh", "é.sh"),
        ("attachment; filename=x.sh; filename*=UTF-8''%C3%A9.sh", "é.sh"),
        ('attachment; filename="=?utf-8?B?w6kuc2g=?="', "é.sh"),
        ("attachment", ""),
        ("", ""),
        ("attachment; filename=", ""),
        ("attachment; filename=..", ""),
        ("attachment; filename=a/", ""),
        ("attachment; filename=" + "x" * 300, ""),
    ],
)
def test_names_of_uploads(header, name):
    """webjobs.md 6.3: any disposition type, quotes and directories stripped, any letters."""
    assert file_name(header) == name


@pytest.mark.parametrize("told", [0, 46, 0xFFFFFFFF])
def test_the_larger_of_two_lists_counts(tmp_path, told):
    """A record of 64 bits that contradicts the other one is what zipfile goes by, and so do we."""
    size = archive.MAX_DIRECTORY_BYTES + 1
    end_64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, told, 0, 0)
    (tmp_path / "a.zip").write_bytes(end_64 + locator + end)
    with pytest.raises(BadRequestError, match="list of entries takes"):
        unpack(tmp_path / "a.zip", tmp_path)


def test_entries_are_counted_before_they_are_read(tmp_path, monkeypatch):
    """What the archive says about their number is not believed, and none becomes an object."""
    zipped(tmp_path / "a.zip", *((str(number), "") for number in range(4)))
    monkeypatch.setattr(archive, "MAX_ENTRIES", 3)
    monkeypatch.setattr(archive.zipfile, "ZipFile", None)
    with pytest.raises(BadRequestError, match="holds 4 entries; the most is 3"):
        unpack(tmp_path / "a.zip", tmp_path)
