"""Files are put into a folder all or none, wherever the platform is killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil

import pytest

from scheduler.source import folder_swap
from scheduler.source.folder_swap import FolderSwap, NewFile


class Bench:
    """A folder, sources, and a journal."""

    def __init__(self, root):
        self.root = root / "site"
        self.source = root / "source"
        self.journal = root / "pending.json"
        self.after = root / "after.json"
        self.root.mkdir()
        self.source.mkdir()

    def write(self, **files):
        for name, text in files.items():
            path = self.root / name.replace("__", "/").replace("@", "__pycache__")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def new(self, **files):
        made = []
        for number, (name, text) in enumerate(files.items()):
            source = self.source / f"{len(os.listdir(self.source))}-{number}"
            source.write_text(text)
            made.append(NewFile(name.replace("__", "/"), str(source), 0o644, 10**18))
        return {str(self.root): made}

    def removed(self, *paths):
        return {str(self.root): list(paths)}

    @property
    def files(self):
        """Return the contents by path."""
        return {
            path.relative_to(self.root).as_posix(): path.read_text()
            for path in self.root.rglob("*")
            if path.is_file()
        }

    def swap(self, new, removed=None):
        swap = FolderSwap(self.journal)
        swap.prepare(new, removed or {})
        swap.carry_out({str(self.after): {"done": True}})


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_everything_is_in_its_place(bench):
    """New, replaced and removed files; an emptied folder and our own folder are gone."""
    bench.write(a="1", old__gone="1", kept__b="1", **{"old__@__x.pyc": "x"})
    bench.swap(bench.new(a="2", kept__c="3", deep__er__d="4"), bench.removed("old/gone"))
    assert bench.files == {"a": "2", "kept/b": "1", "kept/c": "3", "deep/er/d": "4"}
    assert not (bench.root / "old").exists()
    assert not (bench.root / ".taak").exists()
    assert not bench.journal.exists()
    assert json.loads(bench.after.read_text()) == {"done": True}
    assert (bench.root / "a").stat().st_mtime_ns == 10**18


def test_a_file_becomes_a_folder_and_the_other_way_round(bench):
    """What goes makes room for what comes."""
    bench.write(x="1", y__a="1")
    bench.swap(bench.new(x__a="2", y="2"), bench.removed("x", "y/a"))
    assert bench.files == {"x/a": "2", "y": "2"}


class KilledError(BaseException):
    """What ends the platform in the middle of it."""


@pytest.mark.parametrize("at", range(12))
def test_a_kill_at_any_step_is_the_old_or_the_new(bench, monkeypatch, at):
    """Before the journal nothing has changed; with it the next start finishes the work."""
    old = {"a": "1", "x": "1", "gone/b": "1"}
    new = {"a": "2", "x/c": "3", "d": "4"}
    bench.write(a="1", x="1", gone__b="1")
    steps = [0]

    def killed(call):
        def step(*given, **more):
            steps[0] += 1
            if steps[0] > at:
                raise KilledError
            return call(*given, **more)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(folder_swap.os, "replace", killed(os.replace))
        patch.setattr(folder_swap.os, "link", killed(os.link))
        patch.setattr(folder_swap.os, "rmdir", killed(os.rmdir))
        patch.setattr(folder_swap.shutil, "rmtree", killed(shutil.rmtree))
        with contextlib.suppress(KilledError):
            bench.swap(bench.new(a="2", x__c="3", d="4"), bench.removed("x", "gone/b"))
    journal = bench.journal.exists()
    recovered = FolderSwap(bench.journal).recover()
    assert recovered is journal
    files = {path: text for path, text in bench.files.items() if not path.startswith(".taak/")}
    assert files in (old, new)
    assert files == new or not recovered
    if recovered:
        assert json.loads(bench.after.read_text()) == {"done": True}
    bench.swap(bench.new(z="1"))  # what a kill has left is in nobody's way
    assert bench.files["z"] == "1"


def test_a_step_that_fails_is_taken_back(bench, monkeypatch):
    """A rename that is refused leaves all files as they were, and says so."""
    bench.write(a="1", b="1", c="1")
    plain, count = folder_swap._put, [0]

    def put(part, path):
        count[0] += 1
        if count[0] == 2:
            raise PermissionError(1, "not allowed", path)
        plain(part, path)

    monkeypatch.setattr(folder_swap, "_put", put)
    with pytest.raises(PermissionError):
        bench.swap(bench.new(a="2", b="2", d="2"), bench.removed("c"))
    assert bench.files == {"a": "1", "b": "1", "c": "1"}
    assert not bench.journal.exists()
    assert not bench.after.exists()


def test_no_room_changes_nothing(bench):
    """What cannot be copied beside the folder never begins."""
    bench.write(a="1")
    with pytest.raises(OSError, match="No such file"):
        bench.swap({str(bench.root): [NewFile("a", "/nowhere", 0o644, 1)]})
    assert bench.files == {"a": "1"}
    assert not bench.journal.exists()


@pytest.mark.parametrize("path", ["link/a", "link"])
def test_links_in_the_site_are_not_followed(bench, tmp_path, path):
    """Nothing is ever written through a link that leads out of the folder."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (bench.root / "link").symlink_to(outside)
    if path == "link/a":
        with pytest.raises(FileExistsError, match="link"):
            bench.swap(bench.new(link__a="2"))
    else:
        bench.swap(bench.new(link="2"))  # a link that is replaced is no way anywhere
        assert bench.files == {"link": "2"}
    assert list(outside.iterdir()) == []


def test_a_foreign_folder_is_not_removed_for_a_file(bench):
    """It is in the way, and that is said."""
    bench.write(x__mine="1")
    with pytest.raises(IsADirectoryError, match="x"):
        bench.swap(bench.new(x="2"))
    assert bench.files == {"x/mine": "1"}
