"""What a folder holds at one moment: every file with size, times and content digest.

A scan is cheap (one stat a file); digests are filled in afterwards and taken over from an earlier
index for files that did not change. Knows nothing of functions, jobs or releases.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from scheduler.functions import Problem

#: Folders that are no part of an app, at any depth.
SKIPPED_FOLDERS = frozenset({"__pycache__", ".git", ".hg", ".svn", ".taak"})
#: What editors and copying tools leave beside the real file while they write it.
_PASSING = re.compile(
    r".*~$|^\.#|^#.*#$|^\..*\.sw[a-z]$|^4913$|.*\.(?:swp|swx|crswap|kate-swp)$"
    r"|.*___jb_(?:tmp|old)___$|^\.goutputstream-"
)

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


def is_part(path: str) -> bool:
    """Tell whether a relative path may belong to an app: no cache, repository or editor's file."""
    *folders, name = path.split("/")
    return (
        SKIPPED_FOLDERS.isdisjoint(folders)
        and name not in SKIPPED_FOLDERS
        and not _PASSING.match(name)
    )


def scan(root: str | os.PathLike[str], *, skip: frozenset[str] = frozenset()) -> Index:
    """Look at every file below `root` without reading any; a missing root is an empty folder.

    `skip` holds absolute paths of folders to leave out (the platform's own home inside a site).
    """
    return _Scan(os.fspath(root), skip).index()


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
        folders |= {folder, *(f"{folder}/{path}" for path in other.folders)}
        problems += (replace(p, where=f"{folder}/{p.where}") for p in other.problems)
        changed_ns = max(changed_ns, other.changed_ns)
    return Index(entries, frozenset(folders), changed_ns, tuple(problems))


def with_digests(index: Index, earlier: Index | None = None) -> Index:
    """Return the index with every content read, except where an earlier one knows it already.

    Raises FileChangedError if a file is not what the scan saw.
    """
    known = earlier.entries if earlier else {}
    entries = {path: _read(entry, known.get(path)) for path, entry in index.entries.items()}
    return replace(index, entries=entries)


def _read(entry: Entry, known: Entry | None) -> Entry:
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


class _Scan:
    """One walk over a tree."""

    def __init__(self, root: str, skip: frozenset[str]) -> None:
        self._root = os.path.abspath(root)
        self._real_root = os.path.realpath(root)
        self._skip = skip
        self._entries: dict[str, Entry] = {}
        self._folders: set[str] = set()
        self._problems: list[Problem] = []
        self._changed_ns = 0

    def index(self) -> Index:
        waiting = [""]
        while waiting:
            waiting += self._folder(waiting.pop())
        return Index(
            self._entries, frozenset(self._folders), self._changed_ns, tuple(self._problems)
        )

    def _folder(self, folder: str) -> list[str]:
        """Take the files of one folder and return its sub-folders."""
        absolute = os.path.join(self._root, folder) if folder else self._root
        try:
            self._changed_ns = max(self._changed_ns, os.stat(absolute).st_ctime_ns)
            with os.scandir(absolute) as items:
                return [path for item in items if (path := self._item(folder, item))]
        except (FileNotFoundError, NotADirectoryError):
            return []  # gone since its parent was read
        except PermissionError:
            self._warn(folder or ".", "this folder may not be read and is left out; allow it")
            return []

    def _item(self, folder: str, item: os.DirEntry[str]) -> str:
        """Take one file; return the path if it is a folder to look into."""
        path = f"{folder}/{item.name}" if folder else item.name
        try:
            facts = item.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode):
                return path if self._takes_folder(path, item) else ""
            if not _PASSING.match(item.name):
                self._file(path, item, facts)
        except FileNotFoundError:
            pass  # gone since the folder was read
        return ""

    def _takes_folder(self, path: str, item: os.DirEntry[str]) -> bool:
        if item.name in SKIPPED_FOLDERS or item.path in self._skip:
            return False
        self._folders.add(path)
        return True

    def _file(self, path: str, item: os.DirEntry[str], facts: os.stat_result) -> None:
        link = self._link(path, item.path) if stat.S_ISLNK(facts.st_mode) else ""
        if link is None:
            return
        if not link and not stat.S_ISREG(facts.st_mode):
            self._warn(path, "is no regular file (a socket, pipe or device) and is left out")
            return
        if not link and not os.access(item.path, os.R_OK):
            self._warn(path, "this file may not be read and is left out; allow it with chmod")
            return
        self._changed_ns = max(self._changed_ns, facts.st_ctime_ns)
        self._entries[path] = Entry(
            path=path,
            source=item.path,
            size=facts.st_size,
            mtime_ns=facts.st_mtime_ns,
            ctime_ns=facts.st_ctime_ns,
            inode=facts.st_ino,
            mode=stat.S_IMODE(facts.st_mode),
            link=link,
        )

    def _link(self, path: str, absolute: str) -> str | None:
        """Return the text of a link that stays inside; another could change under a release."""
        link = os.readlink(absolute)
        if self._names_interpreter(path):
            return link
        if self._holds(os.path.realpath(absolute)):
            return self._relative(absolute, link)
        self._warn(
            path,
            f"this symbolic link leads to {link!r}, outside of the app, and is left out: copy its "
            "target into the app",
        )
        return None

    def _relative(self, absolute: str, link: str) -> str:
        """Return the link without the path of the folder that people edit."""
        if not os.path.isabs(link):
            return link
        return os.path.relpath(os.path.realpath(link), os.path.realpath(os.path.dirname(absolute)))

    def _holds(self, target: str) -> bool:
        return target == self._real_root or target.startswith(self._real_root + os.sep)

    def _names_interpreter(self, path: str) -> bool:
        """Tell whether this is `bin/python…` of a virtual environment: it must leave the app."""
        folder, _, name = path.rpartition("/")
        config = os.path.join(self._root, os.path.dirname(folder), "pyvenv.cfg")
        return (
            name.startswith("python")
            and os.path.basename(folder) == "bin"
            and os.path.exists(config)
        )

    def _warn(self, path: str, message: str) -> None:
        self._problems.append(Problem(path, message, warning=True))
