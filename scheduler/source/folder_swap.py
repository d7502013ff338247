"""Putting files into the folders that people edit, all of them or none, also through `kill -9`.

Everything new is copied beside the folder first, which is what can fail for want of space; then a
journal says what is to be done, and the rest is renaming. What was replaced is kept until the end,
so that a rename that fails is taken back. A journal that is found at the start of the platform is
carried out to its end: nobody ever sees half of it. Blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scheduler.release_copy import flush, flush_all
from scheduler.source.tree_change import above

#: Inside of each folder; a scan of the site passes it over, and it is on the same file system.
_STAGE = ".taak/swap"
_CACHES = "__pycache__"


@dataclass(frozen=True, slots=True)
class NewFile:
    """One file to be put at `path`, copied from `source`; a link has its text instead."""

    path: str
    source: str
    mode: int
    mtime_ns: int
    link: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """What is to be done to one folder: paths relative to `root`."""

    root: str
    write: list[str] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)

    @property
    def new(self) -> str:
        """Return where the new files wait."""
        return os.path.join(self.root, _STAGE, "new")

    @property
    def old(self) -> str:
        """Return where the old files go."""
        return os.path.join(self.root, _STAGE, "old")


class FolderSwap:
    """One change of folders at a time. `journal` is the file that makes it whole."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._parts: list[Part] = []

    def recover(self) -> bool:
        """Finish what a killed platform had begun; tell whether there was anything."""
        try:
            document = json.loads(self._journal.read_text("utf-8"))
        except FileNotFoundError:
            return False
        self._parts = [Part(**part) for part in document["parts"]]
        self._forward(document["after"])
        self._clean()
        return True

    @staticmethod
    def sweep(roots: Iterable[Path]) -> None:
        """Remove from folders what a killed platform had copied, but not begun to put in place."""
        for root in roots:
            _discard(Part(str(root)))

    def prepare(
        self, files: Mapping[str, Iterable[NewFile]], removed: Mapping[str, Iterable[str]]
    ) -> None:
        """Copy what is new beside its folder; `files` and `removed` are by folder.

        Raises OSError: nothing has changed then.
        """
        self._parts = []
        for root in {**files, **removed}:
            new = list(files.get(root, ()))
            part = Part(root, [file.path for file in new], list(removed.get(root, ())))
            self._parts.append(part)
            _reset(part)
            _refuse_obstacles(part)
            for file in new:
                _copy(file, part)
            if new:
                flush_all(part.new)

    def carry_out(self, after: Mapping[str, Any]) -> None:
        """Put everything in its place; then write `after`, documents by the path of their file.

        Raises OSError: everything is as it was then.
        """
        document = {"parts": [asdict(part) for part in self._parts], "after": after}
        write_document(self._journal, document)
        try:
            self._forward(after)
        except OSError:
            self._back()
            self._clean()
            raise
        self._clean()

    def abandon(self) -> None:
        """Forget what was prepared."""
        for part in self._parts:
            _discard(part)

    def _forward(self, after: Mapping[str, Any]) -> None:
        """Go on from wherever it stands; every step may have been taken before."""
        for part in self._parts:
            for path in part.remove:
                _set_aside(part, path)
            _prune(part)
            for path in part.write:
                _put(part, path)
            _sync(part)
        for name, document in after.items():
            write_document(Path(name), document)

    def _back(self) -> None:
        for part in self._parts:
            for path in part.write:
                if not os.path.lexists(os.path.join(part.new, path)):  # it was put in its place
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(os.path.join(part.root, path))
            for path in (*part.write, *part.remove):
                old = os.path.join(part.old, path)
                if os.path.lexists(old):
                    _move(old, os.path.join(part.root, path))

    def _clean(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._journal.unlink()
        for part in self._parts:
            _discard(part)


def write_document(path: Path, document: object, *, durable: bool = True) -> None:
    """Write JSON so that it is there whole, or as it was; `durable` on disk, which takes longer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    with draft.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    os.replace(draft, path)
    if durable:
        flush(path.parent)


def _reset(part: Part) -> None:
    """Make an empty place for what is coming; never through a link that somebody has put there."""
    stage = os.path.join(part.root, _STAGE)
    ours = os.path.dirname(stage)
    if os.path.islink(ours) or (os.path.lexists(ours) and not os.path.isdir(ours)):
        raise FileExistsError(f"{ours} is in the way: the platform needs a folder of that name")
    shutil.rmtree(stage, ignore_errors=True)
    os.makedirs(part.new)
    os.makedirs(part.old)
    os.chmod(stage, 0o700)  # nobody else reads files before they are in their place


def _discard(part: Part) -> None:
    stage = os.path.join(part.root, _STAGE)
    shutil.rmtree(stage, ignore_errors=True)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.dirname(stage))  # not if it is the platform's home


def _refuse_obstacles(part: Part) -> None:
    """Refuse what the scan of the site has passed over: links and special files on the way."""
    going = set(part.remove)
    for folder in {folder for path in part.write for folder in above(path)}:
        mode = _mode(os.path.join(part.root, folder))
        if mode and not stat.S_ISDIR(mode) and folder not in going:
            raise FileExistsError(f"{folder} in {part.root} is no folder and is in the way")
    for path in part.write:
        mode = _mode(os.path.join(part.root, path))
        if stat.S_ISDIR(mode) and not _goes(part, path, going):
            raise IsADirectoryError(f"{path} in {part.root} is a folder and is in the way")


def _goes(part: Part, folder: str, going: set[str]) -> bool:
    """Tell whether a folder will be gone when all that goes has gone."""
    for base, names, files in os.walk(os.path.join(part.root, folder)):
        names[:] = [name for name in names if name != _CACHES]
        inside = os.path.relpath(base, part.root)
        if any(f"{inside}/{name}" not in going for name in files):
            return False
    return True


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def _copy(file: NewFile, part: Part) -> None:
    target = os.path.join(part.new, file.path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if file.link:
        os.symlink(file.link, target)
    else:
        shutil.copyfile(file.source, target, follow_symlinks=False)
        os.chmod(target, 0o755 if file.mode & 0o100 else 0o644)
        os.utime(target, ns=(file.mtime_ns, file.mtime_ns))
    _give(target, part.root)


def _give(path: str, root: str) -> None:
    """Have root's files belong to whom the folder belongs to, who wants to edit them."""
    if os.geteuid() == 0:
        owner = os.stat(root)
        os.lchown(path, owner.st_uid, owner.st_gid)


def _set_aside(part: Part, path: str) -> None:
    source = os.path.join(part.root, path)
    if os.path.lexists(source) and not os.path.lexists(os.path.join(part.old, path)):
        _move(source, os.path.join(part.old, path))


def _put(part: Part, path: str) -> None:
    source, target = os.path.join(part.new, path), os.path.join(part.root, path)
    if not os.path.lexists(source):
        return  # done before
    old = os.path.join(part.old, path)
    if os.path.lexists(target) and not os.path.lexists(old):
        os.makedirs(os.path.dirname(old), exist_ok=True)
        # A second name, not a move: who reads the file meanwhile finds the old or the new one.
        os.link(target, old, follow_symlinks=False)
    _make_folder(os.path.dirname(target), part.root)
    _move(source, target)


def _make_folder(folder: str, root: str) -> None:
    """Make what is missing on the way to a folder: readable for sandboxes, whatever the umask."""
    if not os.path.isdir(folder):
        _make_folder(os.path.dirname(folder), root)
        os.mkdir(folder)
        os.chmod(folder, 0o755)  # noqa: S103
        _give(folder, root)


def _move(source: str, target: str) -> None:
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        os.makedirs(folder, exist_ok=True)
    os.replace(source, target)


def _prune(part: Part) -> None:
    """Remove the folders that have lost their last file; of caches nobody knows."""
    folders = {folder for path in part.remove for folder in above(path)}
    for folder in sorted(folders, key=lambda name: -name.count("/")):
        path = os.path.join(part.root, folder)
        with contextlib.suppress(OSError):
            if os.listdir(path) == [_CACHES]:
                shutil.rmtree(os.path.join(path, _CACHES))
            os.rmdir(path)


def _sync(part: Part) -> None:
    if len(part.write) + len(part.remove) > 64:
        flush_all(part.root)
        return
    folders = {os.path.dirname(path) for path in (*part.write, *part.remove)}
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):  # it went with its last file
            flush(os.path.join(part.root, folder))
