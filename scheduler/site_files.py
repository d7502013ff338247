"""From the files that people edit to a release: look, wait until nobody writes, copy.

Owns the patience with writers. Knows nothing of manifests or of what serves.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from scheduler.clock import Clock
from scheduler.file_index import FileChangedError, Index, with_digests
from scheduler.functions import Problem
from scheduler.job_manifest import JobRoot, find_jobs, job_roots, outer_job_roots
from scheduler.manifest import function_folders
from scheduler.release_map import Units
from scheduler.releases import Release, Releases
from scheduler.rescan import Scanner

_NS = 1_000_000_000


class SiteFiles:
    """The site and the job folders outside of it.

    `settle_s` is how long files must have been quiet; after `patience_s` a file that is written
    without a pause keeps its last deployed content, so that one log file among the code does not
    stop every deployment.
    """

    def __init__(
        self,
        site: Path,
        home: Path,
        releases: Releases,
        clock: Clock,
        *,
        settle_s: float,
        patience_s: float,
    ) -> None:
        self._site = Path(os.path.abspath(site))
        self._home = Path(os.path.abspath(home))
        self._releases = releases
        self._clock = clock
        self._settle_s = settle_s
        self._patience_s = patience_s
        self._seen: Index | None = None  # the latest look, with the digests that are known
        self._seen_of: Sequence[JobRoot] = ()
        self._read: Index | None = None  # what was read last, with digests
        self._known: Index | None = None  # of the newest release, with digests

    def outer_roots(self, settings: Mapping[str, str]) -> Sequence[JobRoot]:
        """Return the job folders outside of the site."""
        return outer_job_roots(self._site, self._home, settings)

    async def look(self, settings: Mapping[str, str]) -> Index:
        """Return what the files are now, without reading them."""
        return await asyncio.to_thread(self._scan, self.outer_roots(settings))

    async def survey(self, settings: Mapping[str, str]) -> Index | None:
        """Return what the files are now, with their contents; None if they cannot be read now.

        Nobody waits for writers here: it serves for a comparison with what was deployed.
        """
        try:
            seen = await self.look(settings)
            self._read = await asyncio.to_thread(self._digested, seen)
        except (OSError, FileChangedError):
            return None
        return self._read

    async def earlier(self, digest: str, likely: Index | None) -> Release | None:
        """Return a whole release of an earlier process; `likely` is the site as it is now."""
        release = await asyncio.to_thread(self._releases.find, digest, likely)
        self._known = release.index if release else None
        return release

    def complete(self, release: Release, folders: Collection[str]) -> Release:
        """Return a release that has some folders in itself; blocks."""
        return self._releases.complete(release, folders)

    def places(self, settings: Mapping[str, str]) -> dict[str, Path]:
        """Return the folders that people edit by their place in a release; "" is the site."""
        outer = self.outer_roots(settings)
        return {"": self._site, **{root.folder: root.live for root in outer}}

    async def quiet(self, settings: Mapping[str, str]) -> Index:
        """Return what the files are once nobody writes, with their contents.

        Raises FileChangedError if they never are quiet, OSError if they cannot be read.
        """
        deadline = self._clock.monotonic() + self._patience_s
        seen = await self._settled(await self.look(settings), settings, deadline)
        self._read = await asyncio.to_thread(self._digested, seen)
        return self._read

    async def candidate(self, index: Index, settings: Mapping[str, str]) -> Release:
        """Return the release of files that need not stand in the site yet; all have been read."""
        return await asyncio.to_thread(self._build_of, index, settings)

    async def kept(self, digest: str) -> Release | None:
        """Return a release that is whole and stays until it is let go."""
        self._releases.pin(digest)
        release = await asyncio.to_thread(self._releases.look_at, digest)
        if release is None:
            self._releases.unpin(digest)
        return release

    def let_go(self, release: Release) -> None:
        """Let a release of `kept` be removed."""
        self._releases.unpin(release.digest)

    async def release(self, seen: Index, settings: Mapping[str, str]) -> Release:
        """Return the release of the files once they are quiet.

        Raises FileChangedError if they never are, OSError if they cannot be read or copied.
        """
        deadline = self._clock.monotonic() + self._patience_s
        while True:
            seen = await self._settled(seen, settings, deadline)
            try:
                return await asyncio.to_thread(self._build, seen, settings)
            except FileChangedError:
                if self._clock.monotonic() >= deadline:
                    raise
                seen = await self.look(settings)

    async def _settled(self, seen: Index, settings: Mapping[str, str], deadline: float) -> Index:
        while (wait_s := self._quiet_in(seen)) > 0:
            await self._clock.sleep(wait_s)
            again = await self.look(settings)
            restless = again.changed_since(seen)
            if not restless:
                return again
            if self._clock.monotonic() >= deadline:
                return self._without(again, restless)
            seen = again
        return seen

    def _quiet_in(self, seen: Index) -> float:
        """Return how long to wait until the newest change is old enough.

        A change time in the future comes from another machine's clock: the full time is waited.
        """
        age_s = self._clock.now().timestamp() - seen.changed_ns / _NS
        return self._settle_s if age_s < 0 else self._settle_s - age_s

    def _without(self, index: Index, restless: frozenset[str]) -> Index:
        """Return the index with the last deployed state of files that are never quiet."""
        entries, problems = dict(index.entries), list(index.problems)
        for path in sorted(restless & entries.keys()):
            known = self._known.entries.get(path) if self._known else None
            told = "left out" if known is None else "deployed as it was before"
            message = f"is being written all the time and is {told}; write it outside of the app"
            problems.append(Problem(path, message, warning=True))
            del entries[path]
            if known is not None:
                entries[path] = known
        return replace(index, entries=entries, problems=tuple(problems))

    def _scan(self, outer: Sequence[JobRoot]) -> Index:
        if not self._site.is_dir():
            # A folder that is gone is no empty app: it is being moved, or a disk is missing.
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._site))
        roots = {"": str(self._site), **{root.folder: str(root.live) for root in outer}}
        scanner = Scanner(roots, frozenset({str(self._home)}))
        if self._seen is None or outer != self._seen_of:
            self._seen, self._seen_of = scanner.whole(), outer
        else:
            self._seen = scanner.again(self._seen)
        return self._seen

    def _digested(self, seen: Index) -> Index:
        """Return what was seen with its contents, which the next look need not read again."""
        index = with_digests(seen, self._read)
        if self._seen is seen:
            self._seen = index
        return index

    def _build(self, seen: Index, settings: Mapping[str, str]) -> Release:
        self._read = self._digested(seen)
        return self._build_of(self._read, settings)

    def _build_of(self, index: Index, settings: Mapping[str, str]) -> Release:
        roots = [*job_roots(self._site, settings), *self.outer_roots(settings)]
        jobs = frozenset(place.folder for place in find_jobs(index, roots, []))
        units = Units(frozenset(function_folders(index)), jobs)
        release = self._releases.build(index, units)
        self._known = release.index
        return release
