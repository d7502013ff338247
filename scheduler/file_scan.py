"""The walk over a folder: which files belong to an app, and which are left out.

One stat a file, none is read. What is left out on purpose is noted as a problem; what caches,
repositories and editors leave behind is passed over. `rescan.py` walks over what has changed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable

from scheduler.file_index import Entry, FolderMark, Index
from scheduler.functions import Problem

#: Folders that are no part of an app, at any depth.
SKIPPED_FOLDERS = frozenset({"__pycache__", ".git", ".hg", ".svn", ".taak"})
#: What editors and copying tools leave beside the real file while they write it.
_PASSING = re.compile(
    r".*~$|^\.#|^#.*#$|^\..*\.sw[a-z]$|^4913$|.*\.(?:swp|swx|crswap|kate-swp)$"
    r"|.*___jb_(?:tmp|old)___$|^\.goutputstream-"
)


def is_part(path: str) -> bool:
    """Tell whether a relative path may belong to an app: no cache, repository or editor's file."""
    *folders, name = path.split("/")
    return (
        SKIPPED_FOLDERS.isdisjoint(folders)
        and name not in SKIPPED_FOLDERS
        and not _PASSING.match(name)
    )


def scan(
    root: str | os.PathLike[str], *, skip: frozenset[str] = frozenset(), place: str = ""
) -> Index:
    """Look at every file below `root` without reading any; a missing root is an empty folder.

    `skip` holds absolute paths of folders to leave out (the platform's own home inside a site);
    `place` is the folder of the index that the root stands for.
    """
    walk = Walk(root, skip, place)
    walk.all_of([place])
    if walk.entries or walk.folders:
        walk.folders |= steps_to(place)
    return walk.index()


def steps_to(place: str) -> set[str]:
    """Return a folder and those above it, as paths."""
    steps = place.split("/") if place else []
    return {"/".join(steps[: n + 1]) for n in range(len(steps))}


class Walk:
    """One walk over a tree, or over parts of it, and what it has found."""

    def __init__(
        self, root: str | os.PathLike[str], skip: frozenset[str] = frozenset(), place: str = ""
    ) -> None:
        self._root = os.path.abspath(os.fspath(root))
        self._real_root = os.path.realpath(root)
        self._skip = skip
        self._place = place
        self.entries: dict[str, Entry] = {}
        self.folders: set[str] = set()
        self.problems: list[Problem] = []
        self.marks: dict[str, FolderMark] = {}
        self.changed_ns = 0

    def index(self) -> Index:
        """Return what has been found."""
        return Index(
            self.entries,
            frozenset(self.folders),
            self.changed_ns,
            tuple(self.problems),
            self.marks,
        )

    def absolute(self, path: str) -> str:
        """Return where something stands."""
        inside = path[len(self._place) :].lstrip("/")
        return os.path.join(self._root, inside) if inside else self._root

    def all_of(self, folders: Iterable[str]) -> None:
        """Take everything in some folders and below."""
        waiting = list(folders)
        while waiting:
            waiting += self.folder(waiting.pop())

    def folder(self, folder: str) -> list[str]:
        """Take the files of one folder and return its sub-folders."""
        absolute = self.absolute(folder)
        self.marks[folder] = (0, 0)
        try:
            facts = os.stat(absolute)  # before its names are read: what comes later is seen later
            self.marks[folder] = folder_mark(facts)
            self.changed_ns = max(self.changed_ns, facts.st_ctime_ns)
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
        self.folders.add(path)
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
        self.changed_ns = max(self.changed_ns, facts.st_ctime_ns)
        self.entries[path] = Entry(
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
        return (
            name.startswith("python")
            and os.path.basename(folder) == "bin"
            and os.path.exists(os.path.join(self.absolute(os.path.dirname(folder)), "pyvenv.cfg"))
        )

    def _warn(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message, warning=True))


def folder_mark(facts: os.stat_result) -> FolderMark:
    """Return what tells whether the names in a directory are still the same."""
    return (facts.st_ctime_ns, facts.st_ino)
