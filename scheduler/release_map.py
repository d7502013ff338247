"""Where the folders of a release stand: in itself, or in an earlier one that has the same.

A function or job whose files did not change stays where it is; a release that follows holds what is
new, the files that all functions share, and this map. A function's home always has the shared files
of now beside it, so that its sandbox sees one root. Maps are never chains: each names the release
that really has the folder.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.bundles import shared_files
from scheduler.file_index import Index, digest_of
from scheduler.job_manifest import RESERVED

MAP_FILE = f"{RESERVED}/map.json"
#: A map may name so many homes, times what each has besides, before a whole copy is made again;
#: it is a share of the files of the app, beyond this.
_SPARE_FILES = 64


@dataclass(frozen=True, slots=True)
class Units:
    """The folders of an app that only their own function or job can see."""

    functions: frozenset[str] = frozenset()
    jobs: frozenset[str] = frozenset()

    def outermost(self) -> list[str]:
        """Return the folders without those inside of others."""
        together = self.functions | self.jobs
        return [f for f in sorted(together) if together.isdisjoint(_above(f))]

    def shared(self, index: Index) -> str:
        """Return the digest of what all functions can see."""
        return digest_of(shared_files(index, self.functions, self.jobs))


@dataclass(frozen=True, slots=True)
class ReleaseMap:
    """The names of the releases in which some folders stand; `shared` is what is beside them."""

    shared: str = ""
    homes: Mapping[str, str] = field(default_factory=dict)

    def write(self, root: Path) -> Path:
        """Write the map into a release, replacing an earlier one in one step."""
        path = root / MAP_FILE
        path.parent.mkdir(exist_ok=True)
        beside = path.with_suffix(".new")
        folders: dict[str, list[str]] = defaultdict(list)
        for folder, home in self.homes.items():
            folders[home].append(folder)
        text = json.dumps({"shared": self.shared, "homes": folders})
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        return path

    @staticmethod
    def read(root: Path) -> ReleaseMap:
        """Return the map of a release; one without holds all of itself."""
        with contextlib.suppress(FileNotFoundError):
            values = json.loads((root / MAP_FILE).read_text("utf-8"))
            homes = {f: home for home, folders in values["homes"].items() for f in folders}
            return ReleaseMap(values["shared"], homes)
        return ReleaseMap()

    def home_of(self, path: str) -> str:
        """Return the name of the release in which a file stands; empty if it is this one."""
        homes = self.homes
        if (home := homes.get(path)) is not None:
            return home
        return next((homes[folder] for folder in _above(path) if folder in homes), "")


def homes_for(
    index: Index, units: Units, shared: str, earlier: Index, name: str, map_: ReleaseMap
) -> dict[str, str]:
    """Return which folders of a coming release may stay where the earlier one has them."""
    touched = set[str]()
    for path in index.content_changed_since(earlier):
        touched |= {path, *_above(path)}
    functions = units.functions if shared == map_.shared else frozenset[str]()
    homes = {
        folder: map_.home_of(folder) or name
        for folder in units.outermost()
        if folder not in touched and (folder in functions or folder in units.jobs)
    }
    besides = sum(1 for _ in index.outside(homes))
    crowd = len(set(homes.values())) * (besides + 1)
    return homes if crowd <= len(index.entries) + _SPARE_FILES else {}


def _above(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path
