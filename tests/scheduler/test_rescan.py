"""A second look finds what a whole scan finds, and walks over what has changed only."""

import os
import random
import shutil
import time
from dataclasses import replace

import pytest

from scheduler.file_index import with_digests
from scheduler.file_scan import Walk
from scheduler.rescan import GRAIN_NS, Scanner


def write(root, **files):
    """Write files; "__" in a name is a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def scanner(tmp_path):
    """Return a scanner of a site and of one folder outside of it."""
    (tmp_path / "site").mkdir()
    roots = {"": str(tmp_path / "site"), ".taak/jobs/0": str(tmp_path / "outer")}
    return Scanner(roots, frozenset({str(tmp_path / "site/home")}))


@pytest.fixture
def walked(monkeypatch):
    """Return the folders that are read, as they are read."""
    folders = []
    read = Walk.folder
    monkeypatch.setattr(
        Walk, "folder", lambda self, folder: folders.append(folder) or read(self, folder)
    )
    return folders


def quiet(look, *earlier):
    """Return a look at files that have not changed for a moment."""
    while True:
        index = look(*earlier)
        if index.looked_ns - index.changed_ns >= GRAIN_NS:
            return index
        time.sleep(GRAIN_NS / 1e9)


def facts(index):
    """Return all that a look says; contents are read later."""
    seen = {path: (entry.mark, entry.mode, entry.source) for path, entry in index.entries.items()}
    return (seen, index.folders, set(index.problems), index.marks)


def test_nothing_changed_is_the_same_index(tmp_path, scanner, walked):
    """No folder is read, and who compares sees at once that nothing has happened."""
    write(tmp_path / "site", a="1", f__b="2", f__g__c="3")
    first = quiet(scanner.whole)
    walked.clear()
    assert scanner.again(first) is first
    assert walked == []


def test_only_what_changed_is_read(tmp_path, scanner, walked):
    """The rest keeps its objects, digests and all."""
    write(tmp_path / "site", a="1", f__b="2", g__c="3")
    first = with_digests(quiet(scanner.whole))
    walked.clear()
    write(tmp_path / "site", f__b="22", f__new__d="4")
    second = scanner.again(first)
    assert sorted(walked) == ["f", "f/new"]
    assert facts(second) == facts(scanner.whole())
    assert second.entries["g/c"] is first.entries["g/c"]
    assert second.changed_since(first) == {"f/b", "f/new/d"}


def test_a_look_at_what_was_changing_is_done_anew(tmp_path, scanner):
    """A change within the grain of the clock may leave every time as it was."""
    write(tmp_path / "site", f__b="2")
    first = quiet(scanner.whole)
    unnoticed = replace(
        first, entries={}, looked_ns=first.changed_ns, marks=first.marks, folders=first.folders
    )
    assert facts(scanner.again(unnoticed)) == facts(first)
    assert scanner.again(replace(unnoticed, looked_ns=first.looked_ns)).entries == {}


def test_problems_come_and_go(tmp_path, scanner):
    """What is left out for a reason is looked at again each time."""
    write(tmp_path / "site", f__a="1")
    os.mkfifo(tmp_path / "site/f/pipe")
    first = quiet(scanner.whole)
    assert [p.where for p in first.problems] == ["f/pipe"]
    second = scanner.again(first)
    assert facts(second) == facts(first)
    (tmp_path / "site/f/pipe").unlink()
    assert scanner.again(second).problems == ()


def test_a_root_that_comes_and_goes(tmp_path, scanner):
    """The folder of a root is there as long as something is in it."""
    write(tmp_path / "site", a="1")
    nothing = quiet(scanner.whole)
    write(tmp_path / "outer", triggered__x__run="1")
    something = quiet(scanner.again, nothing)
    assert facts(something) == facts(scanner.whole())
    assert ".taak/jobs/0/triggered/x" in something.folders
    shutil.rmtree(tmp_path / "outer")
    assert facts(scanner.again(something)) == facts(scanner.whole()) == facts(nothing)


@pytest.mark.parametrize("seed", range(6))
def test_any_history_ends_in_what_a_whole_scan_finds(tmp_path, scanner, seed):
    """Files and folders are written, removed, moved and turned into each other."""
    chance = random.Random(seed)
    site = tmp_path / "site"
    names = ["a", "b", "a-b", "c"]
    index = quiet(scanner.whole)
    for _ in range(40):
        base = chance.choice([site, tmp_path / "outer"])
        path = base.joinpath(*chance.choices(names, k=chance.randint(1, 3)))
        match chance.randint(0, 4):
            case 0 if path.exists():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            case 1 if path.exists():
                other = base.joinpath(*chance.choices(names, k=2))
                if not other.exists() and other.parent.is_dir() and path not in other.parents:
                    path.rename(other)
            case 2:
                if not any(p.is_file() for p in (path, *path.parents)):
                    path.mkdir(parents=True, exist_ok=True)
            case _:
                if not path.is_dir() and not any(p.is_file() for p in path.parents):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text("x" * chance.randint(0, 50))
        if chance.random() < 0.3:
            index = quiet(scanner.again, index)
            assert facts(index) == facts(scanner.whole())
