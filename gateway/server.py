"""The composition root: builds the layers, runs them in one TaskGroup, ends them in order.

The only module that names all three layers. Start: lock, sockets, store, launchers, jobs, first
deployment, screen. Stop: the ticks and the watch first (no new work), then calls and jobs within
the drain time, then the listeners, then what is left in memory to the store.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import uvloop

from gateway import descriptors, logs
from gateway.addresses import StartError, bind, url_of
from gateway.config import Config
from gateway.environment import app_settings
from gateway.folder_watch import FolderWatch
from gateway.home import Home, HomeLockedError
from gateway.keys import KeyFileError, KeyStore
from gateway.kudu.hook_book import HookBook
from gateway.kudu.hook_sender import Hooks
from gateway.kudu.hooks import follow as fire_hooks
from gateway.listeners import Listeners
from gateway.metrics import Metrics
from gateway.notify import notify
from gateway.opening_screen import start_facts
from gateway.platform import Platform
from gateway.start_screen import render
from gateway.stop import StopRequest
from gateway.tick_outlets import outlets
from gateway.timer_trigger import Timers
from gateway.version import version
from sandbox.cgroups import Cgroups
from sandbox.drain import Drain
from sandbox.launchers import Launchers
from sandbox.resources import Resources
from sandbox.users import Users
from scheduler.catalog import EMPTY, Catalog, difference
from scheduler.clock import SystemClock
from scheduler.continuous import ContinuousJobs
from scheduler.deployments import Deployments, Prepare
from scheduler.dispatcher import Dispatcher
from scheduler.errors import SchedulerError
from scheduler.function_environment import function_environment
from scheduler.function_logs import FunctionLogs
from scheduler.history import History
from scheduler.isolation import Level
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.live_settings import LiveSettings
from scheduler.log_retention import LogRetention
from scheduler.releases import Releases
from scheduler.source.build import Builder
from scheduler.source.deliveries import Deliveries
from scheduler.source.script_check import ScriptCheck
from scheduler.store.opening import open_store
from scheduler.store.port import Store
from scheduler.triggered import CANCEL_VERB, TriggeredJobs
from scheduler.upkeep import Upkeep
from scheduler.vanished_jobs import is_the_same_site, remove_vanished

_log = logging.getLogger("taak")
_INSISTED = 130
#: A call makes some 20 objects that die with it: the default of 700 would look for cycles all the
#: time, and a full collection over 10,000 timers would hold the loop up for a quarter second.
_GC_THRESHOLDS = (20_000, 50, 1000)
_CLOSE_S = 5.0  # for ticks whose runs have ended


def run(config: Config) -> int:
    """Run the platform until it is told to stop; return the exit code of the command."""
    began = time.monotonic()
    logs.set_up(config.log_format)
    try:
        if config.site_is_default:
            config.site.mkdir(parents=True, exist_ok=True)
        files = descriptors.raise_limit()
        with Home(config.home) as home:
            return uvloop.run(_Server(config, home, began, files).serve())
    except (HomeLockedError, StartError, KeyFileError, SchedulerError, OSError) as error:
        print(f"taak: {error}", file=sys.stderr)
        return 1
    except BaseExceptionGroup as group:
        refusal, rest = group.split(StartError)  # found when the parts were running already
        if refusal is None or rest is not None:
            raise
        print(f"taak: {refusal.exceptions[0]}", file=sys.stderr)
        return 1


class _Parts:
    """The running parts, and the order in which they come and go."""

    def __init__(
        self,
        config: Config,
        home: Home,
        platform: Platform,
        launchers: Launchers,
        group: asyncio.TaskGroup,
        not_ready: list[str],
        files: int,
    ) -> None:
        self._config = config
        self._home = home
        self._platform = platform
        self._launchers = launchers
        self._group = group
        self._not_ready = not_ready
        self._timers = Timers(outlets(platform))
        self._upkeep = Upkeep(
            platform.store,
            platform.instance,
            address=platform.data_url,
            load=platform.dispatcher.load,
            job_statuses=platform.continuous.states,
            verbs={CANCEL_VERB: platform.triggered.cancel_by_order},
            sweep_logs=LogRetention(platform.logs, platform.catalog).sweep,
        )
        self._intake: list[asyncio.Task[None]] = []  # what brings new work
        self._ticking: list[asyncio.Task[None]] = []  # ends by itself once its runs have ended
        self._services: list[asyncio.Task[None]] = []  # what work needs
        self._listeners = Listeners(config, platform, group.create_task, files)
        self._began = time.monotonic()

    async def start(self, data: socket.socket, management: socket.socket) -> None:
        """Serve; returns when the first deployment has been decided and the screen is printed."""
        platform = self._platform
        platform.catalog.subscribe(platform.dispatcher.pools.apply)
        await self._upkeep.join()  # frees what an earlier life held, so before anything is held
        self._serve(self._upkeep.serve())
        self._serve(self._launchers.serve())
        self._serve(platform.history.serve())
        self._serve(platform.dispatcher.pools.serve())
        self._serve(platform.metrics.watch_loop())
        self._serve(platform.triggered.serve())
        self._serve(platform.continuous.serve())
        for connections in await self._listeners.open(data, management):
            self._serve(connections.serve())
        await self._launchers.ready()
        if reason := self._launchers.too_little():
            raise StartError(reason)
        await self._deploy()
        fire_hooks(platform)
        watch = FolderWatch(
            self._config.site,
            platform.deployments.watched_roots(),
            platform.deployments.reconcile,
            settle_s=self._config.settle_s,
            rescan_s=self._config.rescan_s,
            ignored=[self._home.path],
        )
        await platform.triggered.recovered.wait()  # runs that begin from now on are of this life
        self._ticking = [self._group.create_task(self._timers.run())]
        self._intake = [self._group.create_task(watch.run())]
        gc.collect()
        gc.freeze()  # what lives as long as the platform need not be looked at again
        gc.set_threshold(*_GC_THRESHOLDS)
        await self._announce()

    async def _deploy(self) -> None:
        """Serve what served last, then what the site says."""
        platform = self._platform
        await platform.deliveries.open()
        await platform.deployments.open()
        decided = await platform.deployments.resume()
        if platform.deployments.current is not None:
            self._ready()
        if not decided:
            await platform.deployments.reconcile("start")
        self._ready()
        if platform.deployments.current is not None:
            await self._forget_vanished_jobs()
        # Jobs and timers begin with what was decided: one that was mended while the platform was
        # down must not run as it was, and what it missed is made up for once.
        begun = difference(EMPTY, platform.catalog.definition)
        for follow in (platform.continuous.apply, platform.triggered.apply, self._timers.apply):
            follow(begun)
            platform.catalog.subscribe(follow)

    async def _forget_vanished_jobs(self) -> None:
        platform = self._platform
        if await is_the_same_site(platform.store, platform.instance, platform.site):
            jobs = platform.catalog.definition.jobs
            await remove_vanished(platform.folders, platform.logs, platform.store, jobs)

    def _ready(self) -> None:
        self._not_ready.clear()
        self._listeners.ready()

    async def stop(self, drain_s: float) -> None:
        """End everything in order; nothing that was accepted is lost."""
        platform = self._platform
        notify("STOPPING=1")
        self._not_ready.append("the platform is stopping")
        self._listeners.ready()  # who waits for the start learns that there will be none
        # First what brings new work; calls that come from now on are told to go elsewhere.
        self._timers.stop()
        await _cancel(self._intake)
        await platform.deliveries.stop()
        async with asyncio.TaskGroup() as ending:
            ending.create_task(platform.dispatcher.pools.drain(drain_s))
            ending.create_task(platform.continuous.drain(drain_s))
            ending.create_task(platform.triggered.drain(drain_s))
        # Their calls have ended: what remains is to record how.
        if self._ticking:
            await asyncio.wait(self._ticking, timeout=_CLOSE_S)
        await _cancel(self._ticking)
        # Answers of the drained calls are on their way: the listeners close after them.
        await self._listeners.close()
        await _cancel(self._services)
        await platform.history.flush()
        await self._upkeep.leave()
        platform.dispatcher.logs.close()

    def _serve(self, service: Coroutine[Any, Any, None]) -> None:
        self._services.append(self._group.create_task(service))

    async def _announce(self) -> None:
        platform = self._platform
        self._home.announce(
            {
                "instance": platform.instance,
                "data_url": platform.data_url,
                "management_url": platform.management_url,
            }
        )
        facts = await start_facts(platform, self._began)
        print(render(facts, color=sys.stdout.isatty()), flush=True)
        notify("READY=1")


class _Server:
    """One platform, from its sockets to its last flush."""

    def __init__(self, config: Config, home: Home, began: float, files: int) -> None:
        self._files = files
        self._config = config
        self._home = home
        self._began = began
        self._not_ready = ["the platform is starting"]
        self._stop = StopRequest()
        self._at_end: list[Callable[[], None]] = []

    async def serve(self) -> int:
        """Run everything; return 0 after an ordered stop."""
        config = self._config
        self._stop.listen()
        async with contextlib.AsyncExitStack() as stack:
            data = stack.enter_context(bind(config.host, config.port, "--port"))
            management = stack.enter_context(
                bind(config.management_host, config.management_port, "--management-port")
            )
            store = await stack.enter_async_context(open_store(config.store))
            stack.callback(lambda: [close() for close in self._at_end])
            drain = Drain()
            drain.start()
            stack.callback(drain.stop)
            async with asyncio.TaskGroup() as group:
                insisting = group.create_task(self._insist())
                parts = self._build(store, drain, group, url_of(data), url_of(management))
                try:
                    await parts.start(data, management)
                    await self._stop.asked.wait()
                finally:
                    await parts.stop(config.drain_s)
                insisting.cancel()
        return 0

    async def _insist(self) -> None:
        await self._stop.insisted.wait()
        os._exit(_INSISTED)  # every sandbox ends with our end of its channel

    def _build(
        self, store: Store, drain: Drain, group: asyncio.TaskGroup, data: str, management: str
    ) -> _Parts:
        config, home = self._config, self._home
        settings = app_settings(os.environ)
        live = LiveSettings(settings, home.settings)
        metrics, catalog = Metrics(), Catalog()
        users = Users(home.path / "data" / "users.jsonl")
        launchers = self._launchers(drain, users, (data, management))
        folders = JobFolders(home.path, site=config.site)
        history = History(store, config.instance)
        dispatcher = Dispatcher(
            launchers,
            FunctionLogs(home.function_logs),
            history,
            group.create_task,
            metrics.observe_invocation,
            environment=function_environment(config.instance, config.site.name, data),
        )
        logs = JobLogs(folders, instance=config.instance)
        jobs: dict[str, Any] = {"instance": config.instance, "settings": live, "users": users}
        jobs["logs"] = logs
        deployments = self._deployments(catalog, store, dispatcher.pools.prepare, settings)
        platform = Platform(
            instance=config.instance,
            version=version(),
            site=config.site,
            home=home.path,
            data_url=data,
            management_url=management,
            started_at=datetime.now(UTC),
            catalog=catalog,
            store=store,
            dispatcher=dispatcher,
            triggered=TriggeredJobs(launchers, store, folders, **jobs),
            continuous=ContinuousJobs(launchers, store, folders, **jobs),
            deployments=deployments,
            deliveries=self._deliveries(deployments, launchers, users, live),
            history=history,
            folders=folders,
            logs=logs,
            keys=KeyStore(home.secrets, master=config.master_key or None),
            settings=live,
            hooks=Hooks(HookBook(home.path / "site" / "deployments" / "hooks")),
            ready=lambda: self._not_ready,
            reach=lambda: launchers.reach,
            spawn=group.create_task,
            store_url=config.store,
            debug_s=config.debug_s,
            metrics=metrics,
        )
        return _Parts(config, home, platform, launchers, group, self._not_ready, self._files)

    def _launchers(self, drain: Drain, users: Users, urls: Iterable[str]) -> Launchers:
        """Return where sandboxes come from; the platform's own ports are closed to all of them."""
        config, home = self._config, self._home.path
        resources = Resources(Cgroups.discover(f"{config.instance}-{home}"))
        self._at_end.append(resources.close)
        return Launchers(
            drain,
            users,
            resources,
            home / "tmp" / "sandboxes",
            least=config.require_sandbox,
            closed_ports=[urlsplit(url).port or 0 for url in urls],
        )

    def _deployments(
        self, catalog: Catalog, store: Store, prepare: Prepare, settings: Mapping[str, str]
    ) -> Deployments:
        """Return what watches over releases; it asks the dispatcher to prepare them."""
        config = self._config
        return Deployments(
            config.site,
            self._home.path,
            catalog,
            Releases(self._home.path),
            store,
            prepare=prepare,
            settings=settings,
            least=Level(config.require_sandbox) if config.require_sandbox else None,
            settle_s=config.settle_s,
        )

    def _deliveries(
        self,
        deployments: Deployments,
        launchers: Launchers,
        users: Users,
        settings: Mapping[str, str],
    ) -> Deliveries:
        """Return what takes uploads and rollbacks; it builds and checks them in sandboxes."""
        home, clock = self._home.path, SystemClock()
        about: dict[str, Any] = {"settings": settings, "environ": os.environ}
        return Deliveries(
            deployments,
            Builder(launchers, home, clock, users=users, **about),
            ScriptCheck(launchers, clock, **about),
            home,
            self._config.site,
            clock,
        )


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
