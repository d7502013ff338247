"""Immutable copies of an app under HOME/releases, each named by the digest of its content.

A copy is made beside the others and renamed into place when it is complete and on disk, so a name
that exists is a whole release. Of functions and jobs that did not change it only says in which
earlier release they stand (`release_map.py`); that one stays as long as it is needed. Everything
here blocks: call it in a thread.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scheduler.file_index import Index
from scheduler.precompile import compile_files
from scheduler.release_copy import Copy, flush, link_into
from scheduler.release_map import ReleaseMap, Units, homes_for
from scheduler.release_reading import read_release

_log = logging.getLogger("taak.releases")

_STAGING = ".new-"
_DOOMED = ".old-"
_ALONE = Units()


@dataclass(frozen=True, slots=True)
class Release:
    """A complete copy, together with the releases that its map names."""

    digest: str
    root: Path
    index: Index
    map: ReleaseMap = field(default_factory=ReleaseMap)

    @property
    def homes(self) -> Mapping[str, Path]:
        """Return the roots of the folders that stand in another release."""
        roots = {name: self.root.with_name(name) for name in set(self.map.homes.values())}
        return {folder: roots[name] for folder, name in self.map.homes.items()}

    def standing(self, path: str) -> Path:
        """Return the root under which a file stands."""
        name = self.map.home_of(path)
        return self.root.with_name(name) if name else self.root


class Releases:
    """Makes, holds and removes the copies of one home."""

    def __init__(
        self, home: Path, *, precompile: Callable[[Sequence[str]], None] = compile_files
    ) -> None:
        self.folder = home / "releases"
        self._precompile = precompile
        self._latest: Release | None = None
        self._maps: dict[str, ReleaseMap] = {}  # as they are read
        self._pins: Counter[str] = Counter()
        self._lock = threading.Lock()  # pins are taken in the loop, collection runs in a thread

    def open(self) -> list[str]:
        """Remove what an earlier process left half done; return the releases, oldest use first."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in os.listdir(self.folder):
            if name.startswith((_STAGING, _DOOMED)):
                self._remove(self.folder / name)
        return sorted(self.names(), key=lambda name: (self.folder / name).stat().st_mtime_ns)

    def build(self, index: Index, units: Units = _ALONE) -> Release:
        """Return the release of these files, copying what is not there yet.

        Folders of the units that the latest release has as well are left where they are. Raises
        FileChangedError if a file is not what the index says any more, OSError if the copy cannot
        be written.
        """
        root = self.folder / index.digest
        if root.is_dir() and not self._holds(root):
            self._discard(index.digest)
        if not root.is_dir():
            self._build(index, units, root)
        os.utime(root)  # the time of the folder is when it was deployed last
        self._latest = Release(index.digest, root, index, self._map(index.digest))
        return self._latest

    def complete(self, release: Release, folders: Collection[str]) -> Release:
        """Return the release with some folders in it that stood in others."""
        here = [folder for folder in folders if folder in release.map.homes]
        if not here:
            return release
        homes = dict(release.map.homes)
        for folder in here:
            link_into(release.root, release.root.with_name(homes[folder]), release.index, folder)
            del homes[folder]
        # Written last: until then the folders are where the earlier map says.
        map_ = replace(release.map, homes=homes)
        map_.write(release.root)
        self._maps[release.digest] = map_
        self._latest = replace(release, map=map_)
        return self._latest

    def find(self, digest: str, likely: Index | None) -> Release | None:
        """Return a release of an earlier process if it is there and whole; a damaged one goes.

        `likely` are files with digests of which the release may be a copy: then it is not read.
        """
        release = self.look_at(digest, likely)
        if release is None:
            if digest and (self.folder / digest).is_dir():
                self._discard(digest)
            return None
        self._latest = release
        return release

    def look_at(self, digest: str, likely: Index | None = None) -> Release | None:
        """Return a release if it is there and whole; nothing else comes of it."""
        root = self.folder / digest
        if not digest or not root.is_dir():
            return None
        index = read_release(root, digest, likely)
        return Release(digest, root, index, self._map(digest)) if index is not None else None

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
        if not self.folder.is_dir():
            return []
        return [name for name in os.listdir(self.folder) if not name.startswith(".")]

    def collect(self, keep: Collection[str]) -> list[str]:
        """Remove every release that is neither pinned nor to be kept; return the removed."""
        with self._lock:
            names = set(self.names())
            latest = {self._latest.digest} if self._latest else set()
            kept = names & (set(keep) | set(self._pins) | latest)
            homes = {home for name in kept for home in self._map(name).homes.values()}
            doomed = names - kept - homes
            for name in doomed:
                # Renamed first: a name that exists is a whole release, also after a crash.
                os.rename(self.folder / name, self.folder / f"{_DOOMED}{name}")
        for name in doomed:
            self._maps.pop(name, None)
            self._remove(self.folder / f"{_DOOMED}{name}")
        return sorted(doomed)

    def _map(self, name: str) -> ReleaseMap:
        if name not in self._maps:
            self._maps[name] = ReleaseMap.read(self.folder / name)
        return self._maps[name]

    def _holds(self, root: Path) -> bool:
        """Tell whether the releases that this one needs are there."""
        try:
            homes = set(self._map(root.name).homes.values())
        except ValueError:
            return False
        return all((self.folder / home).is_dir() for home in homes)

    def _discard(self, name: str) -> None:
        self._maps.pop(name, None)
        os.rename(self.folder / name, self.folder / f"{_DOOMED}{name}")
        self._remove(self.folder / f"{_DOOMED}{name}")

    def _build(self, index: Index, units: Units, root: Path) -> None:
        staging = self.folder / f"{_STAGING}{uuid.uuid4().hex}"
        staging.mkdir(parents=True)
        earlier = self._latest
        map_ = self._mapped(index, units, earlier)
        try:
            copy = Copy(
                staging,
                earlier.index if earlier else None,
                earlier.standing if earlier else lambda _: root,
            )
            entries = (index.entries[path] for path in index.outside(map_.homes))
            copy.take(entries, index.folders_outside(map_.homes))
            self._precompile(copy.uncompiled)
            if units != _ALONE:
                map_.write(staging)
            copy.flush()
            _rename(staging, root)
            if units != _ALONE:
                self._maps[root.name] = map_
        finally:
            if staging.exists():
                self._remove(staging)
        flush(self.folder)

    @staticmethod
    def _mapped(index: Index, units: Units, earlier: Release | None) -> ReleaseMap:
        shared = units.shared(index)
        if earlier is None:
            return ReleaseMap(shared)
        homes = homes_for(index, units, shared, earlier.index, earlier.digest, earlier.map)
        return ReleaseMap(shared, homes)

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
