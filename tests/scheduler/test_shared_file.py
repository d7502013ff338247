"""Our files in a folder that a job can write to: no link is followed, no pipe blocks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scheduler.job_folders import write_atomically
from scheduler.shared_file import shared_opener


def _read(path: Path) -> str:
    with open(path, encoding="utf-8", opener=shared_opener) as file:
        return file.read()


def test_a_regular_file_is_opened(tmp_path: Path) -> None:
    """The usual case, without which the refusals below would prove nothing."""
    (tmp_path / "log").write_text("text")
    assert _read(tmp_path / "log") == "text"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Neither in the place of the file nor in that of its folder."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real/secret").write_text("secret")
    (tmp_path / "log").symlink_to(tmp_path / "real/secret")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    for path in (tmp_path / "log", tmp_path / "folder/secret"):
        with pytest.raises(OSError, match="symbolic link"):
            _read(path)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    """It is refused at once, for reading and for writing."""
    os.mkfifo(tmp_path / "log")
    with pytest.raises(OSError, match="no regular file"):
        _read(tmp_path / "log")
    with pytest.raises(OSError, match="log"):
        os.close(shared_opener(str(tmp_path / "log"), os.O_WRONLY | os.O_APPEND))


def test_a_status_file_replaces_a_link_instead_of_following_it(tmp_path: Path) -> None:
    """What the link pointed to is untouched."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "status").symlink_to(tmp_path / "secret")
    write_atomically(tmp_path / "status", "new")
    assert (tmp_path / "secret").read_text() == "secret"
    assert (tmp_path / "status").read_text() == "new"
