"""Immutable copies of an app under HOME/releases, each named by the digest of its content.

A copy is made beside the others and renamed into place when it is complete and on disk, so a name
that exists is a whole release. Files that an earlier release has already are hard links to that
one, never to the files that people edit. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from scheduler.file_index import Entry, FileChangedError, Index, content_digest
from scheduler.precompile import byte_code_path, compile_files
from scheduler.release_reading import read_release

_log = logging.getLogger("taak.releases")

_STAGING = ".new-"
_DOOMED = ".old-"
#: Beyond so many new files one flush of everything is quicker than a flush of each.
_FLUSH_EACH = 64


@dataclass(frozen=True, slots=True)
class Release:
    """A complete copy."""

    digest: str
    root: Path
    index: Index


_FOLDER_MODE = 0o755  # for the users of sandboxes, whatever the umask says


class Releases:
    """Makes, holds and removes the copies of one home."""

    def __init__(
        self, home: Path, *, precompile: Callable[[Sequence[str]], None] = compile_files
    ) -> None:
        self._folder = home / "releases"
        self._precompile = precompile
        self._latest: Release | None = None
        self._pins: Counter[str] = Counter()
        self._lock = threading.Lock()  # pins are taken in the loop, collection runs in a thread

    def open(self) -> list[str]:
        """Remove what an earlier process left half done; return the releases, oldest use first."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for name in os.listdir(self._folder):
            if name.startswith((_STAGING, _DOOMED)):
                self._remove(self._folder / name)
        return sorted(self.names(), key=lambda name: (self._folder / name).stat().st_mtime_ns)

    def build(self, index: Index) -> Release:
        """Return the release of these files, copying what is not there yet.

        Raises FileChangedError if a file is not what the index says any more, OSError if the copy
        cannot be written.
        """
        root = self._folder / index.digest
        if not root.is_dir():
            self._build(index, root)
        os.utime(root)  # the time of the folder is when it was deployed last
        self._latest = Release(index.digest, root, index)
        return self._latest

    def find(self, digest: str, likely: Index | None) -> Release | None:
        """Return a release of an earlier process if it is there and whole; a damaged one goes.

        `likely` are files with digests of which the release may be a copy: then it is not read.
        """
        root = self._folder / digest
        if not digest or not root.is_dir():
            return None
        index = read_release(root, digest, likely)
        if index is None:
            self._discard(digest)
            return None
        self._latest = Release(digest, root, index)
        return self._latest

    def pin(self, digest: str) -> None:
        """Keep a release until it is unpinned as often."""
        with self._lock:
            self._pins[digest] += 1

    def unpin(self, digest: str) -> None:
        """Undo one pin."""
        with self._lock:
            self._pins[digest] -= 1
            if self._pins[digest] <= 0:
                del self._pins[digest]

    def names(self) -> list[str]:
        """Return the digests of all releases."""
        if not self._folder.is_dir():
            return []
        return [name for name in os.listdir(self._folder) if not name.startswith(".")]

    def collect(self, keep: Collection[str]) -> list[str]:
        """Remove every release that is neither pinned nor to be kept; return the removed."""
        with self._lock:
            latest = {self._latest.digest} if self._latest else set()
            doomed = set(self.names()) - set(keep) - set(self._pins) - latest
            for name in doomed:
                # Renamed first: a name that exists is a whole release, also after a crash.
                os.rename(self._folder / name, self._folder / f"{_DOOMED}{name}")
        for name in doomed:
            self._remove(self._folder / f"{_DOOMED}{name}")
        return sorted(doomed)

    def _discard(self, name: str) -> None:
        os.rename(self._folder / name, self._folder / f"{_DOOMED}{name}")
        self._remove(self._folder / f"{_DOOMED}{name}")

    def _build(self, index: Index, root: Path) -> None:
        staging = self._folder / f"{_STAGING}{uuid.uuid4().hex}"
        staging.mkdir(parents=True)
        try:
            copy = _Copy(staging, self._latest)
            copy.take(index)
            self._precompile(copy.uncompiled)
            copy.flush()
            _rename(staging, root)
        finally:
            if staging.exists():
                self._remove(staging)
        _flush(self._folder)

    @staticmethod
    def _remove(path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            _log.warning("%s cannot be removed; it takes space until it is", path)


def _rename(staging: Path, root: Path) -> None:
    try:
        os.rename(staging, root)
    except OSError:
        if not root.is_dir():  # else another process has made the same release meanwhile
            raise


class _Copy:
    """One copy in the making."""

    def __init__(self, root: Path, earlier: Release | None) -> None:
        self._root = os.fspath(root)
        self._earlier = earlier
        entries = earlier.index.entries.values() if earlier else ()
        self._known = {_sameness(entry): entry.path for entry in entries if not entry.link}
        self._written: list[str] = []
        self._folders: set[str] = {self._root}
        self.uncompiled: list[str] = []

    def take(self, index: Index) -> None:
        for folder in sorted(index.folders):
            self._folders.add(os.path.join(self._root, folder))
            os.mkdir(os.path.join(self._root, folder))
            os.chmod(os.path.join(self._root, folder), _FOLDER_MODE)
        for entry in index.entries.values():
            path = os.path.join(self._root, entry.path)
            if entry.link:
                os.symlink(entry.link, path)
            elif not self._linked(entry, path):
                self._copied(entry, path)

    def _linked(self, entry: Entry, path: str) -> bool:
        """Link to a file of the earlier release that is the same in every respect."""
        known = self._known.get(_sameness(entry))
        if known is None or self._earlier is None:
            return False
        source = os.path.join(self._earlier.root, known)
        try:
            os.link(source, path)
        except OSError:
            return False  # gone, or too many links: a copy does as well
        self._link_byte_code(source, path)
        return True

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
            os.sync()
            return
        for path in (*self._written, *sorted(self._folders, reverse=True)):
            _flush(Path(path))


def _readable(mode: int) -> int:
    """Return a file's mode in a release: the users of sandboxes read also what is private."""
    return mode & 0o755 | 0o444 | (0o111 if mode & 0o100 else 0)


def _sameness(entry: Entry) -> tuple[str, int, int]:
    """Return what must be equal for two files to share one inode."""
    return (entry.digest, entry.mode, entry.mtime_ns)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
