"""A look at folders that were looked at before: only what has changed is walked over again.

One stat for every directory and file tells what that is: a directory's change time moves whenever a
name in it comes or goes, a file's whenever it is written. What has not changed stays the very same
object, and if nothing has, so does the index. Both times are only as fine as the kernel's clock, so
what was looked at while it changed is looked at anew.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from scheduler.file_index import Entry, Index, merged
from scheduler.file_scan import Walk, folder_mark, scan, steps_to
from scheduler.functions import Problem

#: Coarser than the clock that files are stamped with: what changed within it before a look may have
#: changed again after it, and show the same time.
GRAIN_NS = 20_000_000


class Scanner:
    """Looks at some roots as one index, in which each has its place; "" is that of the site."""

    def __init__(self, roots: Mapping[str, str], skip: frozenset[str]) -> None:
        self._roots = dict(sorted(roots.items(), reverse=True))  # "" last: it fits everything
        self._skip = skip

    def whole(self) -> Index:
        """Look at everything."""
        began_ns = time.time_ns()
        found = merged(
            *(scan(root, skip=self._skip, place=place) for place, root in self._roots.items())
        )
        return replace(found, looked_ns=began_ns)

    def again(self, earlier: Index) -> Index:
        """Look at what has changed since an earlier look at the same roots.

        Everything is compared, also when events name what has changed: files that were saved
        together must be seen together, whichever event comes first.
        """
        if earlier.looked_ns - earlier.changed_ns < GRAIN_NS:
            return self.whole()
        began_ns = time.time_ns()
        stale = self._stale(earlier)
        stale |= {_folder_of(problem, earlier) for problem in earlier.problems}
        if not stale:
            return earlier
        return replace(self._renewed(earlier, sorted(stale)), looked_ns=began_ns)

    def _stale(self, earlier: Index) -> set[str]:
        stale = {
            folder
            for place, folders in self._by_place(earlier.marks).items()
            for folder in _moved(self._roots[place], place, folders, earlier)
        }
        stale |= {
            path.rpartition("/")[0] for path, entry in earlier.entries.items() if _changed(entry)
        }
        return stale & earlier.marks.keys()

    def _by_place(self, folders: Collection[str]) -> dict[str, list[str]]:
        outer = tuple(place for place in self._roots if place)
        grouped: dict[str, list[str]] = {place: [] for place in self._roots}
        for folder in folders:
            grouped[self._place_of(folder) if folder.startswith(outer) else ""].append(folder)
        return grouped

    def _renewed(self, earlier: Index, stale: list[str]) -> Index:
        """Return the index with some folders read again, those above before those below."""
        renewal = _Renewal(earlier)
        walks = {place: Walk(root, self._skip, place) for place, root in self._roots.items()}
        for folder in stale:
            renewal.read(folder, walks[self._place_of(folder)])
        renewal.keep_steps([*filter(None, self._roots)])
        return renewal.index()

    def _place_of(self, folder: str) -> str:
        return next(p for p in self._roots if not p or folder == p or folder.startswith(f"{p}/"))


class _Renewal:
    """An index in which folders are replaced by what they are now."""

    def __init__(self, earlier: Index) -> None:
        self._earlier = earlier
        self._entries = dict(earlier.entries)
        self._folders = set(earlier.folders)
        self._marks = dict(earlier.marks)
        self._problems = {problem: _folder_of(problem, earlier) for problem in earlier.problems}
        self._changed_ns = earlier.changed_ns

    def read(self, folder: str, walk: Walk) -> None:
        """Read one folder again; of those below, only the ones that are new."""
        if folder not in self._marks:
            return  # it went with the one above it
        for path in self._files_in(folder):
            del self._entries[path]
        self._drop_problems(folder)
        found = set(walk.folder(folder))
        before = {
            path for path in self._earlier.folders_below(folder) if _is_in(path, folder)
        } & self._marks.keys()
        for gone in before - found:
            self._drop(gone)
        walk.all_of(found - before)
        self._take(walk)

    def keep_steps(self, places: Collection[str]) -> None:
        """Have the folders on the way to each root that has anything in it, and no others."""
        for place in places:
            self._folders -= steps_to(place)
        for place in places:
            below = f"{place}/"
            if any(path.startswith(below) for path in chain(self._folders, self._entries)):
                self._folders |= steps_to(place)

    def index(self) -> Index:
        """Return what there is now."""
        return Index(
            self._entries,
            frozenset(self._folders),
            self._changed_ns,
            tuple(self._problems),
            self._marks,
        )

    def _take(self, walk: Walk) -> None:
        known = self._earlier.entries
        for path, entry in walk.entries.items():
            old = known.get(path)
            self._entries[path] = old if old is not None and old.same(entry) else entry
        self._folders |= walk.folders
        self._marks |= walk.marks
        self._problems |= {problem: _folder_of(problem, walk) for problem in walk.problems}
        self._changed_ns = max(self._changed_ns, walk.changed_ns)
        walk.entries, walk.folders, walk.marks, walk.problems = {}, set(), {}, []

    def _files_in(self, folder: str) -> Iterator[str]:
        start = f"{folder}/" if folder else ""
        for name in self._earlier.files_in(folder):
            if start + name in self._entries:
                yield start + name

    def _drop(self, folder: str) -> None:
        for entry in self._earlier.below(folder):
            self._entries.pop(entry.path, None)
        for path in (folder, *self._earlier.folders_below(folder)):
            self._folders.discard(path)
            self._marks.pop(path, None)
            self._drop_problems(path)

    def _drop_problems(self, folder: str) -> None:
        for problem in [p for p, home in self._problems.items() if home == folder]:
            del self._problems[problem]


def _is_in(path: str, folder: str) -> bool:
    return path.rpartition("/")[0] == folder


def _folder_of(problem: Problem, looked: Index | Walk) -> str:
    """Return the folder that has to be read to find a problem, or not to find it any more."""
    where = "" if problem.where == "." else problem.where
    return where if where in looked.marks else where.rpartition("/")[0]


def _moved(root: str, place: str, folders: Collection[str], earlier: Index) -> Iterator[str]:
    """Yield the folders in which names have come or gone."""
    start, marks, cut = root.rstrip("/"), earlier.marks, len(place)
    for folder in folders:
        inside = folder[cut:] if cut else f"/{folder}"
        try:
            mark = folder_mark(os.stat(start + inside or "/"))
        except OSError:
            mark = (0, 0)
        if mark != marks[folder]:
            yield folder


def _changed(entry: Entry) -> bool:
    try:
        facts = os.lstat(entry.source)
    except OSError:
        return True
    return (
        facts.st_ctime_ns != entry.ctime_ns
        or facts.st_size != entry.size
        or facts.st_mtime_ns != entry.mtime_ns
        or facts.st_ino != entry.inode
        or stat.S_IMODE(facts.st_mode) != entry.mode
    )
