"""What a delivered tree makes of the site: the files as they will be, and those to write or remove.

Files of the previous delivery that are gone from the tree go; files that no delivery brought stay
(webjobs.md 7). Pure: nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from scheduler.file_index import Entry, Index
from scheduler.functions import Problem
from scheduler.job_manifest import RESERVED

_SHOWN = 5


class ObstacleError(Exception):
    """The tree cannot be put into the site, because a file that is not its own is in the way."""

    def __init__(self, paths: Collection[str]) -> None:
        told = ", ".join(sorted(paths)[:_SHOWN])
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        super().__init__(
            f"{told}{more}: a file and a folder of one name; what is in the site was not deployed "
            "from here and is kept. Remove or rename it there, or in what you deploy"
        )


@dataclass(frozen=True, slots=True)
class TreeChange:
    """The site's files as they will be, and what has to be done for it."""

    index: Index
    write: tuple[Entry, ...]
    remove: tuple[str, ...]


def overlay(site: Index, tree: Index, owned: Collection[str]) -> TreeChange:
    """Return what becomes of the site when the tree comes and what it no longer has goes.

    `owned` are the paths that the previous delivery brought. Raises ObstacleError.
    """
    kept = {p: e for p, e in site.entries.items() if p not in owned and p not in tree.entries}
    _refuse_obstacles(kept, tree.entries)
    return _change(site, kept, tree)


def exactly(site: Index, wanted: Index, places: Iterable[str]) -> TreeChange:
    """Return what makes the site's files those of an earlier release, and no others.

    `places` are the job folders outside of the site that there are now; what the release has of
    others has no folder to go to and is left out.
    """
    there = tuple(f"{place}/" for place in places if place)
    entries = {
        path: entry
        for path, entry in wanted.entries.items()
        if path.startswith(there) or not path.startswith(f"{RESERVED}/")
    }
    return _change(site, {}, Index(entries, wanted.folders, wanted.changed_ns, wanted.problems))


def _change(site: Index, kept: Mapping[str, Entry], coming: Index) -> TreeChange:
    """Combine; what says the same stays the file that it is, with its times."""
    entries = dict(kept)
    write: list[Entry] = []
    for path, entry in coming.entries.items():
        known = site.entries.get(path)
        if known is not None and known.same_content(entry):
            entries[path] = known
        else:
            entries[path] = entry
            write.append(entry)
    remove = tuple(sorted(site.entries.keys() - entries.keys()))
    index = Index(
        entries,
        _folders(site, coming, entries, remove),
        max(site.changed_ns, coming.changed_ns),
        _problems(site, coming),
    )
    return TreeChange(index, tuple(write), remove)


def _folders(
    site: Index, coming: Index, entries: Mapping[str, Entry], removed: Iterable[str]
) -> frozenset[str]:
    """Return the folders: one that loses its last file goes with it."""
    needed = {folder for path in entries for folder in above(path)}
    emptied = {folder for path in removed for folder in above(path)} - needed
    return (site.folders - emptied) | needed | coming.folders


def _problems(site: Index, coming: Index) -> tuple[Problem, ...]:
    mine = {problem.where for problem in coming.problems}
    rest = [p for p in site.problems if p.where not in mine and p.where not in coming.entries]
    return (*rest, *coming.problems)


def _refuse_obstacles(kept: Mapping[str, Entry], coming: Mapping[str, Entry]) -> None:
    folders = {folder for path in kept for folder in above(path)}
    in_the_way = {path for path in coming if path in folders}
    in_the_way |= {folder for path in coming for folder in above(path) if folder in kept}
    if in_the_way:
        raise ObstacleError(in_the_way)


def above(path: str) -> Iterable[str]:
    """Yield the folders that a path is in, the innermost first."""
    while path := path.rpartition("/")[0]:
        yield path
