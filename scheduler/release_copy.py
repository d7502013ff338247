"""The copy of an app's files in the making: what an earlier release has as well is linked to.

Links lead to that release, never to the files that people edit. Blocks; knows nothing of which
folders stand elsewhere, nor of names.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

from scheduler.file_index import Entry, FileChangedError, Index, content_digest
from scheduler.precompile import byte_code_path

#: Beyond so many new files one flush of everything is quicker than a flush of each.
_FLUSH_EACH = 64
_FOLDER_MODE = 0o755  # for the users of sandboxes, whatever the umask says


class Copy:
    """One copy in the making.

    `earlier` are the files of a release that may be linked to, `standing` says where each stands.
    """

    def __init__(self, root: Path, earlier: Index | None, standing: Callable[[str], Path]) -> None:
        self._root = os.fspath(root)
        self._earlier = earlier.entries if earlier else {}
        self._standing = standing
        self._written: list[str] = []
        self._folders: set[str] = {self._root}
        self.uncompiled: list[str] = []

    def take(self, entries: Iterable[Entry], folders: Iterable[str]) -> None:
        """Make the folders, of which the outer come first, and put the files into them."""
        for folder in folders:
            self._folders.add(path := os.path.join(self._root, folder))
            os.makedirs(path, exist_ok=True)
            os.chmod(path, _FOLDER_MODE)
        for entry in entries:
            path = os.path.join(self._root, entry.path)
            if entry.link:
                os.symlink(entry.link, path)
            elif not self._linked(entry, path):
                self._copied(entry, path)

    def _linked(self, entry: Entry, path: str) -> bool:
        """Link to a file of the earlier release that is the same in every respect."""
        known = self._earlier.get(entry.path)
        if known is None or known.link or _sameness(known) != _sameness(entry):
            known = self._moved.get(_sameness(entry))
        if known is None:
            return False
        source = os.path.join(self._standing(known.path), known.path)
        try:
            os.link(source, path)
        except OSError:
            return False  # gone, or too many links: a copy does as well
        self._link_byte_code(source, path)
        return True

    @cached_property
    def _moved(self) -> dict[tuple[str, int, int], Entry]:
        return {_sameness(e): e for e in self._earlier.values() if not e.link}

    def _link_byte_code(self, source: str, path: str) -> None:
        if not path.endswith(".py"):
            return
        compiled = byte_code_path(path)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(os.path.dirname(compiled))
            os.link(byte_code_path(source), compiled)
        except OSError:
            self.uncompiled.append(path)

    def _copied(self, entry: Entry, path: str) -> None:
        target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if content_digest(entry, target) != entry.digest:
                raise FileChangedError(f"{entry.path} changed while it was copied")
            os.fchmod(target, _readable(entry.mode))
            os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(target)
        self._written.append(path)
        if path.endswith(".py"):
            self.uncompiled.append(path)

    def flush(self) -> None:
        """Return when everything is on disk; byte code may be lost, it is made again."""
        if len(self._written) + len(self._folders) > _FLUSH_EACH:
            flush_all(self._root)
            return
        for path in (*self._written, *sorted(self._folders, reverse=True)):
            flush(path)


def link_into(root: Path, home: Path, index: Index, folder: str) -> None:
    """Bring a folder of another release into this one; what is there already stays."""
    for path in (folder, *index.folders_below(folder)):
        os.makedirs(root / path, exist_ok=True)
        os.chmod(root / path, _FOLDER_MODE)
    for entry in index.below(folder):
        with contextlib.suppress(FileExistsError):
            os.link(home / entry.path, root / entry.path, follow_symlinks=False)


def flush(path: str | os.PathLike[str]) -> None:
    """Return when a file, or the names in a directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_all(path: str | os.PathLike[str]) -> None:
    """Return when everything on the file system of a path is on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None).syncfs(descriptor):
            os.sync()
    except AttributeError:  # another libc
        os.sync()
    finally:
        os.close(descriptor)


def _readable(mode: int) -> int:
    """Return a file's mode in a release: the users of sandboxes read also what is private."""
    return mode & 0o755 | 0o444 | (0o111 if mode & 0o100 else 0)


def _sameness(entry: Entry) -> tuple[str, int, int]:
    """Return what must be equal for two files to share one inode."""
    return (entry.digest, entry.mode, entry.mtime_ns)
