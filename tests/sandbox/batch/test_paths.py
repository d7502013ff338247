"""Paths of Windows on Linux: drives, case, wildcards, and arguments that are none."""

from __future__ import annotations

import os

import pytest

from sandbox.batch.paths import Places, matching


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A home with a few files, which is the current folder too."""
    for name in ("site/wwwroot/App.Config", "logs/a.TXT", "logs/B.txt", "logs/[x].md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    monkeypatch.chdir(tmp_path)
    return Places(str(tmp_path), "/temporary")


@pytest.mark.parametrize(
    ("text", "native"),
    [
        ("D:\\home\\site", "HOME/site"),
        ("d:/HOME/SITE/wwwroot\\app.config", "HOME/site/wwwroot/App.Config"),
        ("D:\\home", "HOME"),
        ("D:\\homework", "/homework"),
        ("D:\\local\\Temp\\x", "/temporary/x"),
        ("C:\\", "/"),
        ("LOGS\\b.TXT", "logs/B.txt"),
        ("logs\\new.txt", "logs/new.txt"),
        ('"logs\\b.txt"', "logs/B.txt"),
        (".\\site\\..\\LOGS", "./site/../logs"),
        ("nul", os.devnull),
        ("logs\\NUL", os.devnull),
    ],
)
def test_a_path_of_windows(places, text, native):
    """`D:/home` is HOME, and a name is found whatever its case; a new one stays as written."""
    assert places.native(text) == native.replace("HOME", places.home)


@pytest.mark.parametrize(
    ("text", "argument"),
    [
        ("LOGS\\b.txt", "logs/B.txt"),
        ("logs\\new.txt", "logs/new.txt"),
        ("--out=logs\\new.txt", "--out=logs/new.txt"),
        ("D:\\home\\not\\there", "HOME/not/there"),
        ("\\d+\\.txt", "\\d+\\.txt"),
        ("DOMAIN\\user", "DOMAIN\\user"),
        ("a=b", "a=b"),
        ("C:\\Windows\\System32\\x", "C:\\Windows\\System32\\x"),
        ("https://host/a", "https://host/a"),
    ],
)
def test_an_argument_is_a_path_only_if_there_is_such_a_place(places, text, argument):
    """A pattern or a user's name keeps its backslash."""
    assert places.argument(text) == argument.replace("HOME", places.home)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("logs/*.txt", ["logs/a.TXT", "logs/B.txt"]),
        ("logs/*.*", ["logs/a.TXT", "logs/B.txt", "logs/[x].md"]),
        ("logs/?.txt", ["logs/a.TXT", "logs/B.txt"]),
        ("logs/[x]*", ["logs/[x].md"]),
        ("nowhere/*", []),
    ],
)
def test_wildcards(places, pattern, names):
    """In the order of NTFS, without case; brackets are letters."""
    assert matching(pattern) == names
