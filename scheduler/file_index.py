"""What a folder holds at one moment: every file with size, times and content digest.

`file_scan.py` makes an index without reading a file; digests are filled in here, and taken over
from an earlier index for files that did not change. What did not change is the same object in both,
so that comparing two indexes costs next to nothing. Knows nothing of functions, jobs or releases.
"""

from __future__ import annotations

import errno
import hashlib
import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain

from scheduler.functions import Problem

_CHUNK = 1 << 18

#: Change time and inode of a directory: both stay as long as nothing is added to it or taken away.
FolderMark = tuple[int, int]


class FileChangedError(Exception):
    """A file changed, or went, while it was being read; a new scan is needed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or symbolic link. `link` is the link's text; `digest` is empty until it is read."""

    path: str  # relative, with "/"
    source: str  # absolute
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int
    link: str = ""
    digest: str = ""
    line: bytes = field(default=b"", compare=False)  # what a digest over entries has of this one

    @property
    def mark(self) -> tuple[int, int, int, int, str]:
        """Return what tells a changed file without reading it.

        The change time is part of it: nobody can set that back, so an edit that keeps size and
        modification time (rsync, touch -r) is seen all the same.
        """
        return (self.size, self.mtime_ns, self.ctime_ns, self.inode, self.link)

    def same(self, other: Entry) -> bool:
        """Tell whether both are the same file, unchanged."""
        return self is other or (
            self.mark == other.mark and self.mode == other.mode and self.source == other.source
        )

    def same_content(self, other: Entry | None) -> bool:
        """Tell whether both say the same to whoever reads them, which a digest has to show."""
        return self is other or (other is not None and self.line == other.line != b"")

    def read(self, digest: str) -> Entry:
        """Return the entry with the digest of its content."""
        executable = "x" if self.mode & 0o111 else "-"
        line = f"{self.path}\0{executable}\0{digest}\n".encode("utf-8", "surrogateescape")
        return replace(self, digest=digest, line=line)


@dataclass(frozen=True)
class Index:
    """A scan of one folder, or of several that were merged.

    `folders` has every directory below the root; `changed_ns` is the newest change time of any
    file or directory, which also tells of a removal. `marks` are of the directories that were read,
    the root's own among them. `looked_ns` is when the look began.
    """

    entries: Mapping[str, Entry]
    folders: frozenset[str]
    changed_ns: int
    problems: tuple[Problem, ...] = ()
    marks: Mapping[str, FolderMark] = field(default_factory=dict)
    looked_ns: int = 0

    def same_files(self, other: Index) -> bool:
        """Tell whether both scans saw the same files, by size, times and inode."""
        return self is other or (
            self.entries.keys() == other.entries.keys()
            and all(
                (theirs := other.entries[path]) is entry
                or (entry.mark == theirs.mark and entry.mode == theirs.mode)
                for path, entry in self.entries.items()
            )
        )

    def changed_since(self, other: Index) -> frozenset[str]:
        """Return the paths that are new, gone or different in the other scan."""
        return self._differing(other, lambda mine, theirs: mine.mark == theirs.mark)

    def content_changed_since(self, other: Index) -> frozenset[str]:
        """Return the paths that are new, gone or say something else; both must have digests."""
        return self._differing(other, Entry.same_content)

    def _differing(self, other: Index, alike: Callable[[Entry, Entry], bool]) -> frozenset[str]:
        mine, theirs = self.entries, other.entries
        candidates = [path for path, entry in mine.items() if theirs.get(path) is not entry]
        new_or_changed = {
            path for path in candidates if path not in theirs or not alike(mine[path], theirs[path])
        }
        return frozenset(new_or_changed | (theirs.keys() - mine.keys()))

    @cached_property
    def paths(self) -> list[str]:
        """Return the paths in their order."""
        return sorted(self.entries)

    @cached_property
    def _folder_paths(self) -> list[str]:
        return sorted(self.folders)

    def below(self, folder: str) -> Iterator[Entry]:
        """Yield the entries under a folder, in the order of their paths."""
        return (self.entries[path] for path in _below(self.paths, folder))

    def folders_below(self, folder: str) -> list[str]:
        """Return the folders under a folder, at any depth, in their order."""
        return _below(self._folder_paths, folder)

    def folders_in(self, folder: str) -> list[str]:
        """Return the names of the folders directly in a folder, in their order."""
        cut = len(folder) + 1 if folder else 0
        return sorted(name for p in self.folders_below(folder) if "/" not in (name := p[cut:]))

    def files_in(self, folder: str) -> list[str]:
        """Return the names of the files directly in a folder, in their order."""
        cut = len(folder) + 1 if folder else 0
        return [name for p in _below(self.paths, folder) if "/" not in (name := p[cut:])]

    def outside(self, folders: Iterable[str]) -> Iterator[str]:
        """Yield the paths of the files that are in none of some folders, in their order."""
        return _outside(self.paths, folders)

    def folders_outside(self, folders: Iterable[str]) -> Iterator[str]:
        """Yield the folders that are neither one of some nor in one, in their order."""
        known = frozenset(folders)
        return (path for path in _outside(self._folder_paths, known) if path not in known)

    @cached_property
    def digest(self) -> str:
        """Return the digest of the whole: paths, contents, links and execute bits."""
        return digest_of(self.below(""))


def _below(paths: list[str], folder: str) -> list[str]:
    """Return the sorted paths under a folder."""
    if not folder:
        return paths
    # "0" is the character after "/"
    return paths[bisect_left(paths, f"{folder}/") : bisect_left(paths, f"{folder}0")]


def _outside(paths: list[str], folders: Iterable[str]) -> Iterator[str]:
    at = 0
    for below in sorted(f"{folder}/" for folder in folders):
        start, end = bisect_left(paths, below), bisect_left(paths, f"{below[:-1]}0")
        yield from paths[at:start]
        at = max(at, end)
    yield from paths[at:]


def digest_of(entries: Iterable[Entry], *facts: str) -> str:
    """Return one digest over entries in their order, all of them read, and over further texts."""
    texts = (f"\0{fact}".encode("utf-8", "surrogateescape") for fact in facts)
    return hashlib.sha256(b"".join(chain((entry.line for entry in entries), texts))).hexdigest()


def merged(*indexes: Index) -> Index:
    """Return one index of several whose places differ; an empty one leaves no trace."""
    entries: dict[str, Entry] = {}
    marks: dict[str, FolderMark] = {}
    folders: set[str] = set()
    problems: list[Problem] = []
    for index in indexes:
        if index.entries or index.folders:
            entries |= index.entries
            folders |= index.folders
            problems += index.problems
        marks |= index.marks
    changed_ns = max((index.changed_ns for index in indexes), default=0)
    return Index(entries, frozenset(folders), changed_ns, tuple(problems), marks)


def with_digests(index: Index, earlier: Index | None = None) -> Index:
    """Return the index with every content read, except where it is known, here or earlier.

    Raises FileChangedError if a file is not what the scan saw.
    """
    known = earlier.entries if earlier else {}
    unread = {
        path: _read(entry, known.get(path))
        for path, entry in index.entries.items()
        if not entry.line
    }
    return replace(index, entries={**index.entries, **unread}) if unread else index


def _read(entry: Entry, known: Entry | None) -> Entry:
    if entry.digest:
        return entry.read(entry.digest)
    if known and known.line and known.same(entry):
        return known
    if known and known.digest and known.mark == entry.mark and known.source == entry.source:
        return entry.read(known.digest)
    if entry.link:
        return entry.read(hashlib.sha256(b"link:" + os.fsencode(entry.link)).hexdigest())
    return entry.read(content_digest(entry))


def content_digest(entry: Entry, copy_to: int | None = None) -> str:
    """Return the digest of a file's content; on the way, write it to a descriptor if one is given.

    Raises FileChangedError if the file is not, or does not stay, the one that was scanned.
    """
    total = hashlib.sha256()
    try:
        source = os.open(entry.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            while chunk := os.read(source, _CHUNK):
                total.update(chunk)
                if copy_to is not None:
                    _write_all(copy_to, chunk)
            after = os.fstat(source)
        finally:
            os.close(source)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ESTALE}:
            raise FileChangedError(f"{entry.path} went while it was read") from error
        raise
    if (after.st_size, after.st_mtime_ns, after.st_ino) != (
        entry.size,
        entry.mtime_ns,
        entry.inode,
    ):
        raise FileChangedError(f"{entry.path} changed while it was read")
    return total.hexdigest()


def _write_all(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]
