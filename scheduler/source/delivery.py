"""One delivery as the engine takes it: what becomes of the site, and how its files are written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scheduler.file_index import Index
from scheduler.functions import Problem
from scheduler.releases import Release
from scheduler.source.folder_swap import FolderSwap, NewFile
from scheduler.source.tree_change import TreeChange

#: A folder that people edit, by its place in a release; "" is the site.
Places = Mapping[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What somebody wants to serve.

    Attributes:
        id: of the attempt, which the delivery's own record has as well.
        reason: why there is one, in the list of deployments.
        change: from the site as it is to the site as it is to be.
        swap: puts the files into the folders that people edit.
        after: documents that are true from then on, by the path of their file.
        found: what is known to be wrong with it.
    """

    id: str
    reason: str
    change: Callable[[Index, Places], TreeChange]
    swap: FolderSwap
    after: Callable[[], Mapping[str, Any]]
    found: tuple[Problem, ...] = ()

    def write(self, change: TreeChange, release: Release, places: Places) -> None:
        """Write the change's files, as they stand in the release, into the folders; blocks.

        Raises OSError: the folders are as they were then.
        """
        files: dict[str, list[NewFile]] = defaultdict(list)
        removed: dict[str, list[str]] = defaultdict(list)
        for entry in change.write:
            root, inside = _standing(entry.path, places)
            source = str(release.standing(entry.path) / entry.path)
            files[root].append(NewFile(inside, source, entry.mode, entry.mtime_ns, entry.link))
        for path in change.remove:
            root, inside = _standing(path, places)
            removed[root].append(inside)
        try:
            self.swap.prepare(files, removed)
        except OSError:
            self.swap.abandon()
            raise
        self.swap.carry_out(self.after())


def _standing(path: str, places: Places) -> tuple[str, str]:
    """Return the folder that a file of a release belongs in, and its path there."""
    for place in _inner_first(places):
        if path.startswith(f"{place}/"):
            return str(places[place]), path[len(place) + 1 :]
    return str(places[""]), path


def _inner_first(places: Places) -> Iterable[str]:
    return sorted(filter(None, places), key=len, reverse=True)
