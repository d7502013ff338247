"""Deliveries, one at a time: from a tree that has come to what serves, or to the reason why not.

Owns the records and the order of things: fill a place, build, check the scripts, and hand over to
`deployments.py`, which decides. How trees come (git, zip) is the gateway's.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from sandbox.errors import SandboxError
from scheduler.app_settings import is_true, lookup
from scheduler.clock import Clock
from scheduler.deployment import Deployment, DeploymentState
from scheduler.deployments import Deployments
from scheduler.errors import ConflictError, NotFoundError, SchedulerError
from scheduler.file_index import FileChangedError, Index, with_digests
from scheduler.file_scan import scan
from scheduler.functions import Problem
from scheduler.releases import Release
from scheduler.source.build import Builder, BuildFailedError, Workplace
from scheduler.source.delivery import Delivery, Places
from scheduler.source.delivery_log import ERROR, WARNING, DeliveryLog, Listener
from scheduler.source.folder_swap import FolderSwap
from scheduler.source.record import (
    DeliveryRecord,
    DeliveryRecords,
    DeliveryStatus,
    Owner,
    SourceKind,
)
from scheduler.source.script_check import ScriptCheck
from scheduler.source.tree_change import TreeChange, exactly, overlay
from scheduler.source.under_way import Arrival, UnderWay

_log = logging.getLogger("taak.deployments")

#: Kudu's words; scripts look for them.
IN_PROGRESS = "There is a deployment currently in progress. Please try again when it completes."
SUCCESSFUL = "Deployment successful."
FAILED = "Deployment Failed. The last good release goes on serving."
CUT_OFF = "the platform was stopped in the middle of it; deploy again"
BUILD_SETTING = "SCM_DO_BUILD_DURING_DEPLOYMENT"


#: Puts the tree into a folder; says what there is to say in the log.
Fill = Callable[[Path, DeliveryLog], Awaitable[None]]


class Deliveries:
    """Everything that came from outside to be deployed.

    Attributes:
        records: of this home.
    """

    def __init__(
        self,
        deployments: Deployments,
        builder: Builder,
        check: ScriptCheck,
        home: Path,
        site: Path,
        clock: Clock,
    ) -> None:
        self.records = DeliveryRecords(home)
        self._deployments = deployments
        self._builder = builder
        self._check = check
        self._site = site
        self._clock = clock
        self._swap = FolderSwap(self.records.folder / "pending.json")
        self._current: UnderWay | None = None
        self._vacated = asyncio.Event()
        self._stopping = False

    @property
    def settings(self) -> Mapping[str, str]:
        """Return the app settings."""
        return self._builder.settings

    @property
    def current(self) -> UnderWay | None:
        """Return the delivery under way."""
        return self._current

    async def open(self) -> None:
        """Finish or close what a killed platform left; before anybody looks at the site."""
        finished = await asyncio.to_thread(self._swap.recover)
        if finished:
            _log.info("the files of a deployment that was cut off are in their places now")
        await asyncio.to_thread(self._swap.sweep, self._deployments.places().values())
        await asyncio.to_thread(self._builder.open)
        for record in list(self.records.all()):
            if not record.is_complete:
                self._close_left_over(record, written=finished)

    async def stop(self) -> None:
        """Take no more; end what is being built, wait for what is being written."""
        self._stopping = True
        while self._current is not None:
            self._current.give_up()
            await self._next_vacancy()

    def begin(self, arrival: Arrival, listener: Listener | None = None) -> UnderWay:
        """Begin a delivery; `carry_out` has to follow. Raises ConflictError during another."""
        if self._current is not None:
            raise ConflictError(IN_PROGRESS)
        if self._stopping:
            raise ConflictError("the platform is stopping; deploy again when it is back")
        now = self._clock.now()
        record = DeliveryRecord(
            id=self._deployments.next_id(),
            kind=arrival.kind,
            author=arrival.author,
            author_email=arrival.author_email,
            deployer=arrival.deployer,
            message=arrival.message,
            commit=arrival.commit,
            received_at=arrival.received_at or now,
            started_at=now,
        )
        self.records.write(record)
        log = DeliveryLog(self.records.log_file(record.id), self._clock, listener)
        self._current = UnderWay(record, arrival.reason, log)
        self._vacated.clear()
        return self._current

    async def begin_in_turn(
        self, arrival: Arrival, listener: Listener, waiting: Callable[[], None]
    ) -> UnderWay:
        """Begin a delivery once no other is under way; `waiting` is called if one is."""
        if self._current is not None:
            waiting()
        while self._current is not None:
            await self._next_vacancy()
        return self.begin(arrival, listener)

    async def carry_out(self, under_way: UnderWay, fill: Fill, *, build: bool) -> DeliveryRecord:
        """Carry a delivery out and return how it ended; it never raises for what is in the tree."""
        place: Workplace | None = None
        try:
            place = await asyncio.to_thread(self._builder.workplace, under_way.record.id)
            self._to(under_way, DeliveryStatus.BUILDING)
            tree = await under_way.unless_given_up(self._made(under_way, place, fill, build=build))
            found = await self._check.problems(tree, self._site)
            self._to(under_way, DeliveryStatus.DEPLOYING)
            index = await asyncio.to_thread(_indexed, tree)
            change = partial(self._overlaid, index)
            owner = Owner(
                under_way.record.id, under_way.record.kind.value, frozenset(index.entries)
            )
            await self._deliver(under_way, change, owner, found)
        except BuildFailedError as error:
            await self._fail(under_way, error.problems)
        except TimeoutError:
            await self._fail(under_way, [Problem(".", "the deployment was given up by its client")])
        except asyncio.CancelledError:
            if not under_way.record.is_complete:
                self._tell_failure(under_way, [Problem(".", CUT_OFF)], build_failed=True)
            raise
        except (OSError, SchedulerError, SandboxError, FileChangedError) as error:
            await self._fail(under_way, [Problem(".", str(error))])
        except Exception as error:  # noqa: BLE001 - the boundary of a delivery: it ends, no other
            _log.exception("deployment %s failed", under_way.record.id)
            await self._fail(under_way, [Problem(".", f"{type(error).__name__}: {error}")])
        finally:
            if place is not None:
                await self._builder.discard(place)
            self._vacate()
        return under_way.record

    async def roll_back(self, deployment: Deployment, deployer: str) -> DeliveryRecord:
        """Make the site and what serves those of an earlier deployment.

        Raises NotFoundError if its release is not kept any more, ConflictError during a delivery.
        """
        release = await self._deployments.earlier(deployment.digest)
        if release is None:
            raise NotFoundError(
                f"the release of deployment {deployment.id} is not kept any more",
                hint="taak deployments lists newer ones; or deploy the files again",
            )
        try:
            return await self._roll_back(deployment, release, deployer)
        finally:
            self._deployments.let_go(release)

    def builds(self, *, by_default: bool) -> bool:
        """Tell whether a tree is to be built, by the app setting."""
        value = lookup(self.settings, BUILD_SETTING)
        return is_true(value) if value else by_default

    def refuse_by_hand(self, folder: Path) -> None:
        """Raise ConflictError if source control brought files of this folder of the site.

        They would come back with the next push, so they are changed where they come from
        (webjobs.md 7).
        """
        owner = self.records.owner()
        if owner.kind != SourceKind.GIT.value or not folder.is_relative_to(self._site):
            return
        inside = f"{folder.relative_to(self._site).as_posix()}/"
        if any(path.startswith(inside) for path in owner.paths):
            raise ConflictError(
                f"{inside} is deployed by source control (deployment {owner.id}): change it in the"
                " repository and push; or deploy the whole app with `taak deploy`, which ends"
                " source control's hold on it"
            )

    # --- Steps

    async def _made(
        self, under_way: UnderWay, place: Workplace, fill: Fill, *, build: bool
    ) -> Path:
        await fill(place.tree, under_way.log)
        return await self._builder.build(place, under_way.log, wanted=build)

    def _overlaid(self, tree: Index, site: Index, _places: Places) -> TreeChange:
        return overlay(site, tree, self.records.owner().paths)

    async def _roll_back(
        self, deployment: Deployment, release: Release, deployer: str
    ) -> DeliveryRecord:
        arrival = Arrival(
            kind=SourceKind.ROLLBACK,
            reason=f"rollback to {deployment.id}",
            deployer=deployer,
            message=f"rollback to {deployment.id} ({deployment.reason})",
        )
        under_way = self.begin(arrival)
        try:
            under_way.log.say(f"Going back to deployment {deployment.id}: {deployment.reason}")
            self._to(under_way, DeliveryStatus.BUILDING)
            self._to(under_way, DeliveryStatus.DEPLOYING)
            before = self.records.owner()
            brought = self.records.paths_of(deployment.id) or before
            owner = Owner(brought.id, brought.kind, brought.paths & release.index.entries.keys())
            await self._deliver(under_way, partial(_back, release), owner, ())
        finally:
            self._vacate()
        return under_way.record

    async def _deliver(
        self,
        under_way: UnderWay,
        change: Callable[[Index, Places], TreeChange],
        owner: Owner,
        found: tuple[Problem, ...],
    ) -> None:
        record = under_way.record
        await asyncio.to_thread(self.records.keep_paths, replace(owner, id=record.id))
        under_way.log.say("Checking the app and putting its files in place ...")
        deployment = await self._deployments.deliver(
            Delivery(
                id=record.id,
                reason=under_way.reason,
                change=change,
                swap=self._swap,
                after=lambda: {str(self.records.owner_file): owner.document()},
                found=found,
            )
        )
        if deployment.state is not DeploymentState.LIVE:
            self._tell_failure(under_way, deployment.problems, build_failed=False)
            return
        for problem in deployment.problems:
            under_way.log.say(_line(problem), WARNING if problem.warning else ERROR)
        under_way.log.say(_told(deployment))
        self._to(under_way, DeliveryStatus.SUCCESS, ended_at=self._clock.now())
        under_way.log.say(SUCCESSFUL)

    async def _fail(self, under_way: UnderWay, problems: list[Problem]) -> None:
        self._tell_failure(under_way, problems, build_failed=True)
        await self._deployments.refuse(under_way.record.id, under_way.reason, problems)

    def _tell_failure(
        self, under_way: UnderWay, problems: Iterable[Problem], *, build_failed: bool
    ) -> None:
        told = tuple(_line(problem) for problem in problems if not problem.warning)
        for text in told:  # of a build the rest stands above, as its tool has said it
            under_way.log.say(text.partition("\n")[0] if build_failed else text, ERROR)
        under_way.log.say(FAILED, ERROR)
        now = self._clock.now()
        changes = {"ended_at": now, "told": told, "build_failed": build_failed}
        self._to(under_way, DeliveryStatus.FAILED, **changes)

    def _to(self, under_way: UnderWay, status: DeliveryStatus, **changes: object) -> None:
        under_way.record = under_way.record.step(status, **changes)
        try:
            self.records.write(under_way.record)
        except OSError as error:  # a full disk: the deployment itself is recorded in the store
            _log.warning("deployment %s: %s", under_way.record.id, error)

    def _vacate(self) -> None:
        self._current = None
        self._vacated.set()
        self.records.prune()

    async def _next_vacancy(self) -> None:
        await self._vacated.wait()

    def _close_left_over(self, record: DeliveryRecord, *, written: bool) -> None:
        """Close the record of a delivery that the end of the platform cut off."""
        now = self._clock.now()
        if written and record.status is DeliveryStatus.DEPLOYING:
            self.records.write(record.step(DeliveryStatus.SUCCESS, ended_at=now))
            return
        failed = record.step(DeliveryStatus.FAILED, ended_at=now, told=(CUT_OFF,))
        self.records.write(failed)


def _back(release: Release, site: Index, places: Places) -> TreeChange:
    return exactly(site, release.index, places)


def _indexed(tree: Path) -> Index:
    """Return what was delivered, as new as it is.

    Archives often give all files one time, and a job's private copy is made anew by the times of
    its files (webjobs.md 1.4). What the site has already keeps its own.
    """
    for path in scan(tree).entries:
        os.utime(tree / path, follow_symlinks=False)
    index = with_digests(scan(tree))
    if not index.entries:
        raise BuildFailedError(Problem(".", "there is no file in what was deployed"))
    return index


def _line(problem: Problem) -> str:
    """Return a problem in words; one of the whole has no place worth naming."""
    return problem.message if problem.where == "." else str(problem)


def _told(deployment: Deployment) -> str:
    changes = ((deployment.added, "added"), (deployment.changed, "changed"))
    named = [f"{word} {', '.join(names)}" for names, word in changes if names]
    if deployment.removed:
        named.append(f"removed {', '.join(deployment.removed)}")
    return "; ".join(named) or "No function or job has changed."
