"""Archives of clients: unpacked inside, or refused with the entry that is to blame."""

from __future__ import annotations

import stat
import zipfile

import pytest

from gateway.kudu import unpacking
from gateway.kudu.unpacking import unpack
from scheduler.errors import BadRequestError


def archive(path, **entries):
    """Write an archive; a mode is given as (text, mode)."""
    with zipfile.ZipFile(path, "w") as target:
        for name, text in entries.pop("files", {}).items():
            entry = zipfile.ZipInfo(name)
            content, mode = text if isinstance(text, tuple) else (text, 0)
            entry.external_attr = mode << 16
            target.writestr(entry, content)
    return path


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "out"
    made.mkdir()
    return made


def test_files_folders_and_modes(folder, tmp_path):
    """Names from Windows are taken; what can run stays so."""
    files = {"a.txt": "1", "b\\c.txt": "2", "d/": "", "run.sh": ("x", 0o755)}
    unpack(archive(tmp_path / "a.zip", files=files), folder)
    assert (folder / "b" / "c.txt").read_text() == "2"
    assert (folder / "d").is_dir()
    assert stat.S_IMODE((folder / "run.sh").stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "..\\x", "C:\\x"])
def test_what_leads_out_is_refused(folder, tmp_path, name):
    """By its name, before anything is written."""
    with pytest.raises(BadRequestError, match="leads out"):
        unpack(archive(tmp_path / "a.zip", files={"good": "1", name: "2"}), folder)
    assert list(folder.iterdir()) == []


def test_links_are_refused(folder, tmp_path):
    """A link could lead the next entry anywhere."""
    files = {"link": ("/etc", stat.S_IFLNK | 0o777)}
    with pytest.raises(BadRequestError, match="'link' is a symbolic link"):
        unpack(archive(tmp_path / "a.zip", files=files), folder)


def test_too_much_is_refused(folder, tmp_path, monkeypatch):
    """By count and by size, which the refusal names."""
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 1)
    with pytest.raises(BadRequestError, match="2 entries"):
        unpack(archive(tmp_path / "a.zip", files={"a": "", "b": ""}), folder)


def test_a_file_and_a_folder_of_one_name(folder, tmp_path):
    """The entry is named."""
    with pytest.raises(BadRequestError, match="'a/b' is a file and a folder"):
        unpack(archive(tmp_path / "a.zip", files={"a": "1", "a/b": "2"}), folder)


@pytest.mark.parametrize("cut", [0, 10, 60, 119])
def test_broken_archives_are_refused(folder, tmp_path, cut):
    """Wherever it was cut off."""
    whole = archive(tmp_path / "a.zip", files={"a.txt": "1" * 50}).read_bytes()
    (tmp_path / "b.zip").write_bytes(whole[:cut])
    with pytest.raises(BadRequestError, match="no zip archive"):
        unpack(tmp_path / "b.zip", folder)
