"""How the site's files come to serve: one attempt at a time, from `seen` to `live` or `refused`.

Walk 4 of the design: settle, copy, read, judge, make the first workers ready, swap. A refused
attempt leaves the last good release serving and says why. Knows nothing of watchers or HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from scheduler.catalog import Catalog, adopt
from scheduler.clock import Clock, SystemClock
from scheduler.deployment import TRANSITIONS, WATCHED, Deployment, DeploymentState
from scheduler.deployment_log import DeploymentLog, DeploymentStore
from scheduler.errors import SchedulerError
from scheduler.file_index import FileChangedError, Index
from scheduler.functions import AppDefinition, Problem
from scheduler.isolation import Level
from scheduler.manifest import read_again
from scheduler.reading import Reading, Source
from scheduler.refusal import RefusedError, not_copied, same_refusal, tell_errors
from scheduler.releases import Release, Releases
from scheduler.retention import Retention
from scheduler.site_files import SiteFiles
from scheduler.source.delivery import Delivery
from scheduler.source.tree_change import ObstacleError, TreeChange
from scheduler.verdict import inherited, losses, owned, with_levels

_log = logging.getLogger("taak.deployments")


class Prepare(Protocol):
    """Makes the first workers of what is new or changed ready, and tells which could not be."""

    def __call__(
        self,
        current: AppDefinition,
        coming: AppDefinition,
        *,
        doubtful: Collection[str] | None = None,
    ) -> Awaitable[list[Problem]]:
        """Prepare; if it is known which functions are `doubtful`, the others may wait."""


#: Attempts that are remembered here; the store has all.
HISTORY = 50


@dataclass(frozen=True, slots=True)
class _Decided:
    """What the latest attempt decided about: the same need not be decided again."""

    files: Index
    settings: Mapping[str, str]
    digest: str
    attempt: Deployment

    def same_files(self, files: Index, settings: Mapping[str, str]) -> bool:
        return self.settings == settings and self.files.same_files(files)

    def same_content(self, digest: str, settings: Mapping[str, str]) -> bool:
        return self.settings == settings and self.digest == digest


class Deployments:
    """Owner of all attempts. `reconcile` may be called from anywhere, at any time."""

    def __init__(
        self,
        site: Path,
        home: Path,
        catalog: Catalog,
        releases: Releases,
        store: DeploymentStore,
        *,
        prepare: Prepare,
        settings: Mapping[str, str],
        least: Level | None = None,
        clock: Clock | None = None,
        settle_s: float = 0.2,
        patience_s: float = 10.0,
    ) -> None:
        self._site = Path(os.path.abspath(site))
        self._catalog = catalog
        self._records = DeploymentLog(store, self._site)
        self._prepare = prepare
        self._settings = settings
        self._least = least  # of every bundle
        self._clock = clock or SystemClock()
        self._files = SiteFiles(
            site, home, releases, self._clock, settle_s=settle_s, patience_s=patience_s
        )
        self._turn = asyncio.Lock()
        self._turns = 0
        self._answer: Deployment | None = None  # of the latest turn; None while it runs or failed
        self._decided: _Decided | None = None
        self._reading: Reading | None = None  # the latest, whether it came to serve or not
        self._attempt: Deployment | None = None
        self._history: deque[Deployment] = deque(maxlen=HISTORY)
        self._last_id = 0
        self._retention = Retention(releases, self._clock)

    @property
    def current(self) -> Deployment | None:
        """Return the attempt that serves."""
        live = (d for d in self._history if d.state is DeploymentState.LIVE)
        return next(live, None)

    @property
    def attempt(self) -> Deployment | None:
        """Return the attempt under way."""
        return self._attempt

    async def history(self, limit: int = HISTORY) -> list[Deployment]:
        """Return the ended attempts of this process, newest first."""
        return list(self._history)[:limit]

    def watched_roots(self) -> list[Path]:
        """Return the job folders outside of the site, which need to be watched as well."""
        return [root.live for root in self._files.outer_roots(self._settings)]

    def places(self) -> dict[str, Path]:
        """Return the folders that people edit, by their place in a release; "" is the site."""
        return self._files.places(self._settings)

    async def open(self) -> None:
        """Take over the releases of an earlier process."""
        await self._retention.open()

    async def resume(self) -> bool:
        """Serve what served when the platform ended; tell whether the site still says the same.

        If it does not, `reconcile` comes next, and refuses a site that has broken meanwhile as if
        the platform had never stopped. What merely goes on is no new deployment.
        """
        async with self._turn:
            latest = await self._records.last_live()
            if latest is None:
                return False
            settings = dict(self._settings)
            site = await self._files.survey(settings)
            release = await self._files.earlier(latest.digest, site)
            if release is None:
                told = "release %s, which served last, is gone or damaged; the site has to do"
                _log.warning(told, latest.digest[:12])
                return False
            if site is None or site.digest != latest.digest:
                await self._resume(latest, release, settings)
                return False
            index = replace(release.index, problems=site.problems)
            resumed = await self._resume(latest, replace(release, index=index), settings)
            if resumed:
                self._decided = _Decided(site, settings, release.digest, latest)
            return resumed

    async def _resume(
        self, latest: Deployment, release: Release, settings: Mapping[str, str]
    ) -> bool:
        try:
            # It served before: what loaded then loads now.
            doubtful = {problem.owner for problem in latest.problems}
            coming = await self._checked(release, settings, doubtful)
        except RefusedError as refusal:
            _log.warning("release %s cannot serve: %s", release.digest[:12], refusal)
            return False
        self._catalog.swap(coming)
        self._history.appendleft(latest)
        _log.info("%s serves again (deployment %s)", release.digest[:12], latest.id)
        tell_errors(coming.problems)
        await self._retention.collect(coming)
        return True

    async def reconcile(self, reason: str) -> Deployment:
        """Make what the files say now serve; return the attempt that decided about them.

        Attempts follow one another. Calls during one share the next: it begins after all of them,
        so it sees what they have seen.
        """
        mine = self._turns + 1
        async with self._turn:
            if self._turns >= mine and self._answer is not None:
                return self._answer
            self._turns += 1
            self._answer = None
            self._answer = await self._reconcile(reason)
            return self._answer

    async def _reconcile(self, reason: str) -> Deployment:
        settings = dict(self._settings)
        attempt = self._begin(reason, self.next_id())
        try:
            files = await self._files.look(settings)
            decided = self._standing(reason)
            if decided and decided.same_files(files, settings):
                return decided.attempt
            attempt = self._advance(attempt, DeploymentState.SETTLING)
            release = await self._files.release(files, settings)
        except (OSError, FileChangedError) as error:
            # Nothing is decided: the next occasion, at the latest a rescan, tries again.
            self._decided = None
            return await self._refuse(attempt, [not_copied(self._site, error)])
        if decided and decided.same_content(release.digest, settings):
            self._decided = replace(decided, files=release.index)
            return decided.attempt  # touched, but the same
        self._decided = None
        attempt = await self._decide(attempt, release, settings)
        self._decided = _Decided(release.index, settings, release.digest, attempt)
        return attempt

    def _begin(self, reason: str, attempt_id: str) -> Deployment:
        now = self._clock.now()
        return Deployment(id=attempt_id, state=DeploymentState.SEEN, reason=reason, started_at=now)

    def _standing(self, reason: str) -> _Decided | None:
        """Return what was decided about the site if it stands as long as no file changes."""
        decided = self._decided
        if decided is None or decided.attempt.state is DeploymentState.LIVE:
            return decided
        # else somebody asks to try once more what was refused
        return decided if reason.startswith(WATCHED) else None

    async def deliver(self, delivery: Delivery) -> Deployment:
        """Deploy what came from outside: check it aside, write it into the site, make it serve.

        The site stays as it is if the delivery is refused. Nobody looks at the site meanwhile, so
        the watch finds it whole, and the same as what serves.
        """
        async with self._turn:
            settings = dict(self._settings)
            attempt = self._begin(delivery.reason, delivery.id)
            attempt = self._advance(attempt, DeploymentState.SETTLING)
            try:
                site = await self._files.quiet(settings)
                places = self._files.places(settings)
                change = await asyncio.to_thread(delivery.change, site, places)
                release = await self._files.candidate(change.index, settings)
            except (OSError, FileChangedError) as error:
                return await self._refuse(attempt, [not_copied(self._site, error)])
            except ObstacleError as error:
                return await self._refuse(attempt, [Problem(".", str(error))])
            attempt = self._advance(attempt, DeploymentState.BUILT, digest=release.digest)
            await self._records.record(attempt)
            try:
                coming = await self._checked(release, settings, found=delivery.found)
                await self._write(delivery, change, release, settings)
            except RefusedError as refusal:
                return await self._refuse(attempt, refusal.problems)
            attempt = self._advance(attempt, DeploymentState.CHECKED, problems=coming.problems)
            attempt = await self._go_live(attempt, coming)
            written = await self._files.survey(settings)
            if written is not None and written.digest == release.digest:
                self._decided = _Decided(written, settings, release.digest, attempt)
            else:  # somebody has edited the site meanwhile: the watch deploys that on top
                self._decided = None
            return attempt

    async def refuse(self, delivery_id: str, reason: str, problems: list[Problem]) -> Deployment:
        """Record a delivery that did not come as far as a release, such as a failed build."""
        async with self._turn:
            return await self._refuse(self._begin(reason, delivery_id), problems)

    async def earlier(self, digest: str) -> Release | None:
        """Return a release that is kept, whole; it stays until `let_go`."""
        return await self._files.kept(digest)

    def let_go(self, release: Release) -> None:
        """Let a release of `earlier` be removed again."""
        self._files.let_go(release)

    async def _write(
        self,
        delivery: Delivery,
        change: TreeChange,
        release: Release,
        settings: Mapping[str, str],
    ) -> None:
        """Write the site's files; if they cannot be, all of them stay, and it is refused."""
        try:
            await asyncio.to_thread(delivery.write, change, release, self._files.places(settings))
        except OSError as error:
            serving = self._catalog.definition
            await self._prepare(serving, serving)  # the workers that were made are not wanted
            raise RefusedError([not_copied(self._site, error)]) from error

    async def _decide(
        self, attempt: Deployment, release: Release, settings: Mapping[str, str]
    ) -> Deployment:
        attempt = self._advance(attempt, DeploymentState.BUILT, digest=release.digest)
        await self._records.record(attempt)
        try:
            coming = await self._checked(release, settings)
        except RefusedError as refusal:
            return await self._refuse(attempt, refusal.problems)
        attempt = self._advance(attempt, DeploymentState.CHECKED, problems=coming.problems)
        return await self._go_live(attempt, coming)

    async def _checked(
        self,
        release: Release,
        settings: Mapping[str, str],
        doubtful: Collection[str] | None = None,
        found: Collection[Problem] = (),
    ) -> AppDefinition:
        """Return the definition with the first workers of what is new ready; or refuse it.

        `found` are problems that are known already.
        """
        serving = self._catalog.definition
        coming = await asyncio.to_thread(self._read, release, settings, serving)
        coming = replace(coming, problems=(*coming.problems, *found))
        if losses(serving, coming.problems):
            raise RefusedError([*coming.problems])
        try:
            unloaded = owned(await self._prepare(serving, coming, doubtful=doubtful), coming)
        except SchedulerError as error:
            raise RefusedError([*coming.problems, Problem(".", str(error))]) from error
        problems = [*coming.problems, *unloaded, *inherited(serving, coming)]
        problems = with_levels(problems, coming, self._least)
        if losses(serving, unloaded):
            await self._prepare(serving, serving)  # the workers that were made ready are not wanted
            raise RefusedError(problems)
        return replace(coming, problems=tuple(problems))

    def _read(
        self, release: Release, settings: Mapping[str, str], serving: AppDefinition
    ) -> AppDefinition:
        source = Source(
            root=release.root,
            live_root=self._site,
            settings=settings,
            extra_job_roots=self._files.outer_roots(settings),
            index=release.index,
            homes=release.homes,
        )
        reading = read_again(source, self._reading)
        if reading.host.one_bundle:  # one sandbox has one root
            self._files.complete(release, reading.functions)
        coming = adopt(serving, reading.definition)
        self._reading = reading.adopted(coming)
        return coming

    async def _go_live(self, attempt: Deployment, coming: AppDefinition) -> Deployment:
        diff = self._catalog.swap(coming)
        attempt = self._advance(
            attempt,
            DeploymentState.LIVE,
            generation=self._catalog.generation,
            added=diff.added,
            changed=diff.changed,
            removed=diff.removed,
        )
        _log.info(
            "deployed %s (%s): %d added, %d changed, %d removed, %d problems",
            attempt.digest[:12], attempt.reason, len(diff.added), len(diff.changed),
            len(diff.removed), len(attempt.problems),
        )  # fmt: skip
        tell_errors(attempt.problems)
        await self._end(attempt)
        await self._retention.collect(coming)
        return attempt

    async def _refuse(self, attempt: Deployment, problems: list[Problem]) -> Deployment:
        attempt = self._advance(attempt, DeploymentState.REFUSED, problems=tuple(problems))
        latest = self._history[0] if self._history else None
        again = latest is not None and attempt.reason.startswith(WATCHED)
        if latest and again and same_refusal(latest, attempt):
            self._attempt = None
            return latest  # told already; a rescan would tell it every few seconds
        tell_errors(attempt.problems)
        _log.warning("deployment refused (%s); the last good one goes on", attempt.reason)
        await self._end(attempt)
        return attempt

    def _advance(self, attempt: Deployment, state: DeploymentState, **changes: Any) -> Deployment:
        assert state in TRANSITIONS[attempt.state], (attempt.state, state)
        if not TRANSITIONS[state]:
            changes["ended_at"] = self._clock.now()
        self._attempt = replace(attempt, state=state, **changes)
        return self._attempt

    async def _end(self, attempt: Deployment) -> None:
        self._attempt = None
        self._history.appendleft(attempt)
        await self._records.record(attempt)

    def next_id(self) -> str:
        """Return an id for an attempt: the time in microseconds, or one more than the latest."""
        text = f"{self._clock.now():%Y%m%d%H%M%S%f}"
        self._last_id = max(int(text), self._last_id + 1)
        return str(self._last_id)
