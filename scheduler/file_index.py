"""What a folder holds at one moment: every file with size, times and content digest.

`file_scan.py` makes an index without reading a file; digests are filled in here, and taken over
from an earlier index for files that did not change. Knows nothing of functions, jobs or releases.
"""

from __future__ import annotations

import errno
import hashlib
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from scheduler.functions import Problem

_CHUNK = 1 << 18


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

    @property
    def mark(self) -> tuple[int, int, int, int, str]:
        """Return what tells a changed file without reading it.

        The change time is part of it: nobody can set that back, so an edit that keeps size and
        modification time (rsync, touch -r) is seen all the same.
        """
        return (self.size, self.mtime_ns, self.ctime_ns, self.inode, self.link)


@dataclass(frozen=True)
class Index:
    """A scan of one folder, or of several that were merged.

    `folders` has every directory below the root; `changed_ns` is the newest change time of any
    file or directory, which also tells of a removal.
    """

    entries: Mapping[str, Entry]
    folders: frozenset[str]
    changed_ns: int
    problems: tuple[Problem, ...] = ()

    def same_files(self, other: Index) -> bool:
        """Tell whether both scans saw the same files, by size, times and inode."""
        return self.entries.keys() == other.entries.keys() and all(
            entry.mark == other.entries[path].mark and entry.mode == other.entries[path].mode
            for path, entry in self.entries.items()
        )

    def changed_since(self, other: Index) -> frozenset[str]:
        """Return the paths that are new, gone or different in the other scan."""
        mine, theirs = self.entries, other.entries
        differing = {p for p in mine.keys() & theirs.keys() if mine[p].mark != theirs[p].mark}
        return frozenset(differing | (mine.keys() ^ theirs.keys()))

    @cached_property
    def paths(self) -> list[str]:
        """Return the paths in their order."""
        return sorted(self.entries)

    def below(self, folder: str) -> Iterator[Entry]:
        """Yield the entries under a folder, in the order of their paths."""
        start, end = 0, len(self.paths)
        if folder:  # "0" is the character after "/"
            start, end = (
                bisect_left(self.paths, f"{folder}/"),
                bisect_left(self.paths, f"{folder}0"),
            )
        return (self.entries[path] for path in self.paths[start:end])

    def folders_in(self, folder: str) -> list[str]:
        """Return the names of the folders directly in a folder, in their order."""
        start = f"{folder}/" if folder else ""
        names = (path.removeprefix(start) for path in self.folders if path.startswith(start))
        return sorted(name for name in names if "/" not in name)

    def files_in(self, folder: str) -> list[str]:
        """Return the names of the files directly in a folder, in their order."""
        cut = len(folder) + 1 if folder else 0
        return [e.path[cut:] for e in self.below(folder) if "/" not in e.path[cut:]]

    @cached_property
    def digest(self) -> str:
        """Return the digest of the whole: paths, contents, links and execute bits."""
        return digest_of(self.below(""))


def digest_of(entries: Iterator[Entry], *facts: str) -> str:
    """Return one digest over entries in their order, and over further texts."""
    total = hashlib.sha256()
    for entry in entries:
        executable = "x" if entry.mode & 0o111 else "-"
        total.update(
            f"{entry.path}\0{executable}\0{entry.digest}\n".encode("utf-8", "surrogateescape")
        )
    for fact in facts:
        total.update(f"\0{fact}".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def merged(site: Index, others: Mapping[str, Index]) -> Index:
    """Return one index with the others placed under their folders."""
    entries, folders = dict(site.entries), set(site.folders)
    problems, changed_ns = list(site.problems), site.changed_ns
    for folder, other in others.items():
        if not other.entries and not other.folders:
            continue
        entries |= {
            f"{folder}/{path}": replace(entry, path=f"{folder}/{path}")
            for path, entry in other.entries.items()
        }
        steps = folder.split("/")
        folders |= {"/".join(steps[: n + 1]) for n in range(len(steps))}
        folders |= {f"{folder}/{path}" for path in other.folders}
        problems += (replace(p, where=f"{folder}/{p.where}") for p in other.problems)
        changed_ns = max(changed_ns, other.changed_ns)
    return Index(entries, frozenset(folders), changed_ns, tuple(problems))


def with_digests(index: Index, earlier: Index | None = None) -> Index:
    """Return the index with every content read, except where it is known, here or earlier.

    Raises FileChangedError if a file is not what the scan saw.
    """
    known = earlier.entries if earlier else {}
    entries = {path: _read(entry, known.get(path)) for path, entry in index.entries.items()}
    return replace(index, entries=entries)


def _read(entry: Entry, known: Entry | None) -> Entry:
    if entry.digest:
        return entry
    if known and known.digest and known.mark == entry.mark and known.source == entry.source:
        return replace(entry, digest=known.digest)
    if entry.link:
        return replace(entry, digest=hashlib.sha256(b"link:" + os.fsencode(entry.link)).hexdigest())
    return replace(entry, digest=content_digest(entry))


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
