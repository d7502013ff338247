"""What the management API may reach: one frozen bundle of the running parts.

Owned by `server.py`, which fills it; read by every handler. It must not hold behaviour.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.debug_tokens import DebugTokens
from gateway.keys import KeyStore
from gateway.kudu.hook_sender import Hooks
from gateway.metrics import Metrics
from scheduler.catalog import Catalog
from scheduler.continuous import ContinuousJobs
from scheduler.deployments import Deployments
from scheduler.dispatcher import Dispatcher
from scheduler.history import History
from scheduler.isolation import Reach
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.live_settings import LiveSettings
from scheduler.source.deliveries import Deliveries
from scheduler.store.port import Store
from scheduler.triggered import TriggeredJobs


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The running platform, as its operators' interfaces see it.

    Attributes:
        instance: this platform's name among several.
        version: of Taak.
        site: the app root; home: the one directory that the platform writes to.
        data_url: "http://127.0.0.1:7071", without a slash at the end; management_url alike.
        started_at: aware UTC.
        history: of synchronous calls, on its way into the store.
        ready: returns the reasons why the platform is not ready; empty means ready.
        logs: of jobs; `logs.stream` is the app log stream.
        reach: returns the most that stands around user code on this machine.
        spawn: runs a coroutine in a task group that outlives the request.
        store_url: as configured, without a password.
        debug_s: the longest time of debugging.
    """

    instance: str
    version: str
    site: Path
    home: Path
    data_url: str
    management_url: str
    started_at: datetime
    catalog: Catalog
    store: Store
    dispatcher: Dispatcher
    triggered: TriggeredJobs
    continuous: ContinuousJobs
    deployments: Deployments
    deliveries: Deliveries
    history: History
    folders: JobFolders
    logs: JobLogs
    keys: KeyStore
    settings: LiveSettings
    hooks: Hooks
    ready: Callable[[], list[str]]
    reach: Callable[[], Reach]
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    store_url: str = ""
    debug_s: float = 3600.0
    debug_tokens: DebugTokens = field(default_factory=DebugTokens)
    metrics: Metrics = field(default_factory=Metrics)


PLATFORM = web.AppKey("platform", Platform)
