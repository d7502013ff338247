"""A platform of small fakes: everything the management API reaches, and nothing that runs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.admin import admin_app
from gateway.keys import KeyStore
from gateway.kudu.hook_book import HookBook
from gateway.kudu.hook_sender import Hooks
from gateway.management import Platform, management_app
from sandbox.selftest import Reach
from sandbox.spec import Level
from scheduler.catalog import Catalog
from scheduler.continuous_state import ContinuousState, ContinuousStatus
from scheduler.debugging import DebugSession, DebugState
from scheduler.deployment import Deployment, DeploymentState
from scheduler.dispatcher import WorkerCounts
from scheduler.errors import ConflictError, NotFoundError
from scheduler.events import Ending, Event, HttpReply, Outcome
from scheduler.function_logs import FunctionLogs
from scheduler.functions import (
    AppDefinition,
    AuthLevel,
    Binding,
    Bundle,
    BundleKind,
    Function,
    HostSettings,
    HttpTrigger,
    Job,
    JobKind,
    Limits,
    OtherTrigger,
    Problem,
    TimerTrigger,
    Trigger,
)
from scheduler.history import History
from scheduler.instance_statuses import Summary
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.live_settings import LiveSettings
from scheduler.run import Run, RunKind, RunState, is_final
from scheduler.schedule import parse_job, parse_timer
from scheduler.source.record import DeliveryRecord, DeliveryRecords, DeliveryStatus, SourceKind
from scheduler.store.port import DeploymentPage, Depth, Health, NewRun, RunFilter, RunPage, Store

MASTER = "master-key-of-the-tests"
START = datetime(2026, 1, 5, 10, 0, 0, tzinfo=UTC)
KEY = {"x-functions-key": MASTER}


def a_bundle(name: str, kind: BundleKind = BundleKind.FUNCTION, root: Path = Path()) -> Bundle:
    """Return a bundle that nobody builds."""
    return Bundle(name=name, kind=kind, digest=f"digest-{name}", root=root)


def a_function(name: str, trigger: Trigger, **fields: Any) -> Function:
    """Return a function definition."""
    kind = {HttpTrigger: "httpTrigger", TimerTrigger: "timerTrigger"}.get(type(trigger), "manual")
    return Function(
        name=name,
        bundle=a_bundle(name),
        directory=name,
        script_file=f"{name}/__init__.py",
        entry_point="main",
        trigger=trigger,
        trigger_name="req",
        bindings=(Binding("req", kind, "in"),),
        limits=Limits(),
        **fields,
    )


def http(route: str, *methods: str, level: AuthLevel = AuthLevel.FUNCTION) -> HttpTrigger:
    """Return an HTTP trigger."""
    return HttpTrigger(route, frozenset(methods) or None, level)


def timer(expression: str) -> TimerTrigger:
    """Return a timer trigger."""
    return TimerTrigger(expression, parse_timer(expression))


def a_job(site: Path, name: str, kind: JobKind = JobKind.TRIGGERED, **fields: Any) -> Job:
    """Return a job whose folder is in the site."""
    directory = f"App_Data/jobs/{kind.value}/{name}"
    given = {"script": "run.sh", **fields}
    return Job(
        name=name,
        kind=kind,
        bundle=a_bundle(f"{kind.value}/{name}", BundleKind.JOB, site),
        directory=directory,
        live_folder=site / directory,
        **given,
    )


def a_run(run_id: int, **fields: Any) -> Run:
    """Return a run of the job `report` that succeeded in 2.5 s."""
    started = START + timedelta(hours=run_id)
    given: dict[str, Any] = {
        "public_id": f"{started:%Y%m%d%H%M%S}0000",
        "kind": RunKind.TRIGGERED,
        "name": "report",
        "trigger": "External - curl/8.1",
        "state": RunState.SUCCESS,
        "instance": "here",
        "created_at": started,
        "started_at": started,
        "ended_at": started + timedelta(seconds=2.5),
        "exit_code": 0,
    }
    return Run(id=run_id, **{**given, **fields})


class FakeStore:
    """Runs and deployments in lists; `broken` is raised by everything that a scrape asks."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.recorded: list[Deployment] = []
        self.asked: list[RunFilter] = []
        self.broken: Exception | None = None
        self.ticks: dict[str, Any] = {}
        self.config: dict[str, Any] = {}

    async def create_run(self, new: NewRun) -> Run:
        """Record a run."""
        if self.broken:
            raise self.broken
        self.runs.append(new.numbered(len(self.runs) + 1))
        return self.runs[-1]

    async def update_run(self, run_id: int, state: RunState, **_fields: Any) -> Run:
        """Move a run along."""
        self.runs = [replace(run, state=state) if run.id == run_id else run for run in self.runs]
        return next(run for run in self.runs if run.id == run_id)

    async def get_run(self, run_id: int) -> Run | None:
        """Return a run."""
        return next((run for run in self.runs if run.id == run_id), None)

    async def query_runs(
        self, where: RunFilter, *, cursor: int | None = None, limit: int = 50
    ) -> RunPage:
        """Return a page by keyset."""
        self.asked.append(where)
        older = [run for run in self.runs if cursor is None or run.id < cursor]
        items = sorted(older, key=lambda run: -run.id)[:limit]
        return RunPage(items, items[-1].id if len(older) > len(items) else None)

    async def get_deployment(self, deployment_id: str) -> Deployment | None:
        """Return a deployment."""
        return next((each for each in self.recorded if each.id == deployment_id), None)

    async def deployments(self, limit: int = 50, cursor: str | None = None) -> DeploymentPage:
        """Return a page."""
        older = [each for each in self.recorded if cursor is None or each.id < cursor]
        items = sorted(older, key=lambda each: each.id, reverse=True)[:limit]
        return DeploymentPage(items, items[-1].id if len(older) > len(items) else None)

    async def depth(self, functions: list[str]) -> Mapping[str, Depth]:
        """Return how much waits."""
        if self.broken:
            raise self.broken
        return {name: Depth(ready=3) for name in functions}

    async def health(self) -> Health:
        """Return whether it works."""
        if self.broken:
            raise self.broken
        return Health(ok=True)

    async def put_config(self, name: str, value: str) -> None:
        """Set a setting."""
        self.config[name] = SimpleNamespace(value=value)

    async def get_config(self, name: str) -> Any:
        """Return a setting."""
        return self.config.get(name)

    async def delete_config(self, name: str) -> None:
        """Remove a setting."""
        self.config.pop(name, None)

    async def last_tick(self, timer_id: str) -> Any:
        """Return the last tick."""
        return self.ticks.get(timer_id)


class FakeDispatcher:
    """Answers every call with `outcome` and remembers it."""

    def __init__(self, folder: Path) -> None:
        self.logs = FunctionLogs(folder)
        self.calls: list[tuple[str, Event, str]] = []
        self.outcome: Outcome | Exception = Outcome(
            Ending.SUCCEEDED, HttpReply(200, (("content-type", "text/plain"),), b"hello")
        )
        self.called = asyncio.Event()

    async def invoke(
        self,
        function: Function,
        event: Event,
        *,
        trigger: str,
        invocation_id: str | None = None,
        run: Run | None = None,
    ) -> Outcome:
        """Remember and answer."""
        del invocation_id, run
        self.calls.append((function.name, event, trigger))
        self.called.set()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def workers(self, _name: str) -> WorkerCounts:
        """Return fixed numbers."""
        return WorkerCounts(total=3, busy=1, spare=2, waiting=4, calls=7, failures=1, cold_starts=2)

    def load_error(self, _name: str) -> tuple[str, str] | None:
        """Say that all code loads."""
        return None

    def sandbox_report(self, _name: str) -> dict[str, Any]:
        """Return a weak sandbox."""
        return {"level": "process", "degraded_because": "no user namespaces"}


@dataclass
class FakeTriggered:
    """Runs by job name, newest first; `error` is raised by `start`."""

    runs: dict[str, list[Run]] = field(default_factory=dict)
    error: Exception | None = None
    started: list[tuple[str, str, str]] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)

    async def start(self, job: Job, *, trigger: str, arguments: str = "") -> Run:
        """Make a run that is being started."""
        if self.error:
            raise self.error
        self.started.append((job.name, trigger, arguments))
        run = a_run(
            90, name=job.name, trigger=trigger, arguments=arguments,
            state=RunState.INITIALIZING, ended_at=None, exit_code=None,
        )  # fmt: skip
        self.runs.setdefault(job.name, []).insert(0, run)
        return run

    async def cancel(self, job: Job, public_id: str, *, grace_s: float | None = None) -> None:
        """Remember it."""
        del grace_s
        if not any(run.public_id == public_id for run in self.runs.get(job.name, [])):
            raise NotFoundError(public_id)
        self.cancelled.append(public_id)

    async def end_all(self, job: Job, reason: str, *, grace_s: float) -> None:
        """Remember what was ended."""
        del reason, grace_s
        active = self.active(job)
        if active is not None:
            self.cancelled.append(active.public_id)

    async def ended(self, job: Job) -> None:
        """Return at once."""

    async def forget(self, job: Job) -> None:
        """Remove the runs."""
        self.runs.pop(job.name, None)

    def active(self, job: Job) -> Run | None:
        """Return the run that has not ended."""
        return next((run for run in self.runs.get(job.name, []) if not is_final(run.state)), None)

    def goes_on(self, run: Run) -> bool:
        """Tell whether a run has not ended."""
        return any(known.id == run.id and not is_final(known.state) for known in self._all())

    def _all(self) -> list[Run]:
        return [run for runs in self.runs.values() for run in runs]

    async def latest(self, job: Job) -> Run | None:
        """Return the newest run."""
        return next(iter(self.runs.get(job.name, [])), None)

    async def history(self, job: Job) -> list[Run]:
        """Return all runs."""
        return self.runs.get(job.name, [])

    async def find(self, job: Job, public_id: str) -> Run | None:
        """Return one run."""
        return next(
            (run for run in self.runs.get(job.name, []) if run.public_id == public_id), None
        )


class FakeDebugging:
    """Debugging that is on until it is ended."""

    def __init__(self) -> None:
        self.session: DebugSession | None = DebugSession(
            id="s0", debugger="debugpy", wait=False, began=START, ends=START + timedelta(hours=1)
        )
        self.tunnels = 0

    @property
    def state(self) -> DebugState:
        """Return where it stands."""
        return self.session.state if self.session else DebugState.OFF

    def end(self, _why: str) -> bool:
        """End."""
        was, self.session = self.session, None
        return was is not None


class FakeContinuous:
    """Every job runs with pid 4711 until it is stopped."""

    def __init__(self) -> None:
        self.states: dict[str, ContinuousState] = {}
        self.orders: list[tuple[str, str]] = []
        self.error: Exception | None = None
        self.on_status: list[Callable[[Job, ContinuousStatus], None]] = []
        self.debugged = FakeDebugging()

    async def start(self, name: str) -> None:
        """Run again."""
        self._order("start", name, ContinuousState.RUNNING)

    async def stop(self, name: str) -> None:
        """Stop."""
        self._order("stop", name, ContinuousState.STOPPED)

    async def ended(self, name: str) -> None:
        """Remember that the end was waited for."""
        self.orders.append(("ended", name))

    async def forget(self, job: Job) -> None:
        """Remember that the job was forgotten."""
        self.orders.append(("forget", job.name))

    async def restart(self, name: str) -> None:
        """Run anew."""
        self._order("restart", name, ContinuousState.RUNNING)

    async def debug(
        self, name: str, *, private_network: bool, wait: bool, duration_s: float
    ) -> DebugSession:
        """Begin."""
        self._order("debug", name, ContinuousState.RUNNING)
        del private_network
        ends = START + timedelta(seconds=duration_s)
        self.debugged.session = DebugSession(
            id="s1", debugger="debugpy", wait=wait, began=START, ends=ends, root="/job"
        )
        return self.debugged.session

    def debugging(self, _name: str) -> FakeDebugging:
        """Return the one that there is."""
        return self.debugged

    def status(self, name: str) -> ContinuousStatus:
        """Return how it is."""
        if name == "coming":
            raise NotFoundError(name)
        state = self.states.get(name, ContinuousState.RUNNING)
        runs = state is ContinuousState.RUNNING
        return ContinuousStatus(
            state=state,
            detailed_status=f"here - {state.value}\r\n",
            since=START,
            pid=4711 if runs else None,
            restarts=2,
        )

    async def summary(self, job: Job) -> Summary:
        """Return how it is; one that is just coming is Initializing."""
        word = "Initializing" if job.name == "coming" else self.status(job.name).state.value
        return Summary(word, f"here - {word}\r\n")

    def _order(self, verb: str, name: str, state: ContinuousState) -> None:
        if self.error:
            raise self.error
        self.orders.append((verb, name))
        self.states[name] = state


class FakeDeployments:
    """Says that what lies in the site is live; `read` builds the definition from it."""

    def __init__(self, platform: FakePlatform) -> None:
        self.reasons: list[str] = []
        self.newest: list[Deployment] = []
        self.refusal: Problem | None = None
        self._platform = platform

    async def reconcile(self, reason: str) -> Deployment:
        """Take over the jobs whose folders are in the site."""
        self.reasons.append(reason)
        if self.refusal:
            state, problems = DeploymentState.REFUSED, (self.refusal,)
        else:
            state, problems = DeploymentState.LIVE, ()
            self._platform.take_jobs_from_site()
        return Deployment(id="d2", state=state, reason=reason, started_at=START, problems=problems)

    async def history(self, limit: int = 50) -> list[Deployment]:
        """Return the newest."""
        return self.newest[:limit]


class FakeDeliveries:
    """No delivery is under way; a rollback makes a record and says that it is live."""

    def __init__(self, platform: FakePlatform) -> None:
        self.records = DeliveryRecords(platform.home)
        self.current = None
        self.settings: dict[str, str] = {}
        self.owned: set[str] = set()
        self.rolled_back: list[str] = []
        self._platform = platform

    def refuse_by_hand(self, folder: Path) -> None:
        """Refuse what a test has named."""
        if folder.name in self.owned:
            raise ConflictError(f"{folder.name} is deployed by source control")

    async def roll_back(self, deployment: Deployment, deployer: str) -> DeliveryRecord:
        """Make a record of it."""
        self.rolled_back.append(deployment.id)
        now = datetime.now(UTC)
        record = DeliveryRecord(
            id=f"{now:%Y%m%d%H%M%S%f}",
            kind=SourceKind.ROLLBACK,
            status=DeliveryStatus.SUCCESS,
            deployer=deployer,
            received_at=now,
            started_at=now,
            ended_at=now,
        )
        self.records.write(record)
        self._platform.store.recorded.append(replace(deployment, id=record.id))
        return record


class FakePlatform:
    """The parts, and the bundle that the API gets."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.site = folder / "site"
        for made in (self.home / "data", self.home / "site" / "jobs", self.site):
            made.mkdir(parents=True)
        self.catalog = Catalog()
        self.store = FakeStore()
        self.dispatcher = FakeDispatcher(self.home / "data" / "functions")
        self.triggered = FakeTriggered()
        self.continuous = FakeContinuous()
        self.deployments = FakeDeployments(self)
        self.deliveries = FakeDeliveries(self)
        self.history = History(cast("Store", self.store), "here")
        self.folders = JobFolders(self.home, site=self.site)
        self.logs = JobLogs(self.folders, instance="here")
        self.keys = _a_key_store(self.home / "data" / "secrets")
        self.not_ready: list[str] = []
        self.spawned: list[asyncio.Task[None]] = []
        self.bundle = self._bundle()

    def deploy(self, *items: Function | Job, problems: tuple[Problem, ...] = ()) -> None:
        """Make these the definitions that serve."""
        self.catalog.swap(
            AppDefinition(
                digest="release-1",
                root=self.site,
                host=HostSettings(),
                functions=tuple(item for item in items if isinstance(item, Function)),
                jobs=tuple(item for item in items if isinstance(item, Job)),
                problems=problems,
            )
        )

    def deploy_samples(self) -> None:
        """Deploy one of each."""
        self.deploy(
            a_function("hello", http("hello/{name?}", "GET", "POST")),
            a_function("nightly", timer("0 0 3 * * *")),
            a_function("byhand", OtherTrigger("manualTrigger"), disabled="by an app setting"),
            a_job(
                self.site, "report",
                schedule=parse_job("0 */15 * * * *"), settings={"schedule": "0 */15 * * * *"},
            ),
            a_job(self.site, "mail", JobKind.CONTINUOUS, settings={"is_singleton": True}),
            a_job(self.site, "empty", script="", error="no runnable script"),
        )  # fmt: skip

    def take_jobs_from_site(self) -> None:
        """Do what a deployment does to jobs, as far as the API's tests look."""
        jobs: list[Job] = []
        for kind in JobKind:
            for path in sorted((self.site / "App_Data" / "jobs" / kind.value).glob("*")):
                scripts = [each.name for each in path.glob("run.*")]
                jobs.append(a_job(self.site, path.name, kind, script=(scripts or [""])[0]))
        self.catalog.swap(replace(self.catalog.definition, jobs=tuple(jobs)))

    def write_job(self, name: str, kind: JobKind = JobKind.TRIGGERED, **files: str) -> Path:
        """Write a job's folder into the site; a `_` in a file's name stands for its dot."""
        path = self.site / "App_Data" / "jobs" / kind.value / name
        path.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (path / file.replace("_", ".")).write_text(text)
        return path

    def _bundle(self) -> Platform:
        parts: Any = SimpleNamespace(**vars(self))
        return Platform(
            instance="here",
            version="0.1.0",
            site=self.site,
            home=self.home,
            data_url="http://127.0.0.1:7071",
            management_url="http://127.0.0.1:7072",
            started_at=START,
            catalog=self.catalog,
            store=parts.store,
            dispatcher=parts.dispatcher,
            triggered=parts.triggered,
            continuous=parts.continuous,
            deployments=parts.deployments,
            deliveries=parts.deliveries,
            history=self.history,
            folders=self.folders,
            logs=self.logs,
            keys=self.keys,
            settings=LiveSettings({}),
            hooks=Hooks(HookBook(self.home / "site" / "deployments" / "hooks")),
            ready=lambda: self.not_ready,
            reach=lambda: Reach(Level.STANDARD, layers={"namespaces": ["mount", "pid"]}),
            spawn=self._spawn,
            store_url="sqlite:///taak.db",
        )

    def _spawn(self, work: Any) -> None:
        # The tests' stand-in for the server's task group.
        self.spawned.append(asyncio.ensure_future(work))


def _a_key_store(folder: Path) -> KeyStore:
    """Return a key store; its file is written here, because a real first start syncs the disk."""
    folder.mkdir()
    keys = {"masterKey": {"value": "unused"}, "functionKeys": [{"value": "host-function-key"}]}
    (folder / "host.json").write_text(json.dumps(keys))
    (folder / "host.json").chmod(0o600)
    return KeyStore(folder, master=MASTER)


@asynccontextmanager
async def serving(
    app: web.Application, headers: Mapping[str, str] | None = None
) -> AsyncIterator[TestClient[web.Request, web.Application]]:
    """Serve an application on a free port; requests carry the master key unless told otherwise."""
    client = TestClient(TestServer(app), headers=KEY if headers is None else headers)
    async with client:
        yield client


def management(platform: FakePlatform, headers: Mapping[str, str] | None = None) -> Any:
    """Serve the management listener."""
    return serving(management_app(platform.bundle), headers)


def admin(platform: FakePlatform, headers: Mapping[str, str] | None = None) -> Any:
    """Serve the admin API."""
    return serving(admin_app(platform.bundle), headers)
