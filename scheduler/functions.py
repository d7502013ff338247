"""Definitions: functions, jobs, and what they are made of. Immutable, made by `manifest.py`.

Names compare without case everywhere (functions.md 1, webjobs.md 1.8): use `key()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from scheduler.isolation import Isolation
from scheduler.job_policy import JobPolicy
from scheduler.log_limits import LogLimits
from scheduler.schedule import Schedule


def key(name: str) -> str:
    """Return the form of a name under which it is looked up."""
    return name.casefold()


class AuthLevel(Enum):
    """Who may call an HTTP function (functions.md 7.2)."""

    ANONYMOUS = "anonymous"
    FUNCTION = "function"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file of the app, written so that its author can mend it.

    `where` is the path relative to the app; `line` counts from 1, 0 if the whole file is meant;
    `field` is a dotted path such as `bindings[0].route`. A warning does not stop the deployment.
    `owner` names the one function ("hello") or job ("triggered/report") that is hurt; empty, it is
    the whole app.
    """

    where: str
    message: str
    line: int = 0
    field: str = ""
    warning: bool = False
    owner: str = ""

    def __str__(self) -> str:
        place = self.where + (f":{self.line}" if self.line else "")
        return f"{place}: {self.field + ': ' if self.field else ''}{self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one function may use. Defaults are the product's; `"taak"` in the manifests sets them.

    Attributes:
        timeout_s: wall clock of one invocation; None is unlimited (host.json functionTimeout -1).
        max_workers: processes of one function at most.
        concurrency: invocations that one worker of a coroutine function has in flight at most.
        prefetch: calls that wait inside a plain function's worker at most, behind the one that
            runs; how many do follows from the function's recent time. 0: strictly one at a time.
        queue_depth: calls that wait for a worker at most; one more is answered with 429.
        queue_age_s: how long a call waits for a worker before it is answered with 429.
        idle_s: a worker without a call for so long is retired; min_workers of them stay.
        min_workers: workers kept warm.
        recycle_calls: a worker is replaced after so many calls; 0 is never.
        start_timeout_s: how long importing the code may take until it is given up.
    """

    timeout_s: float | None = 1800.0
    max_workers: int = 16
    concurrency: int = 64
    prefetch: int = 127
    queue_depth: int = 1000
    queue_age_s: float = 60.0
    idle_s: float = 60.0
    min_workers: int = 1
    recycle_calls: int = 0
    start_timeout_s: float = 60.0


class BundleKind(Enum):
    """What a bundle holds."""

    FUNCTION = "function"
    APP = "app"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is isolated together and what a sandbox is made from.

    `digest` covers every file that the bundle's code can see, and its settings; two bundles with
    one digest behave alike, so a sandbox is kept over a new release. `root` is the directory of an
    immutable release in which the digest was first seen.
    """

    name: str
    kind: BundleKind
    digest: str
    root: Path
    own_packages: bool = False  # brings packages that our preloaded ones could meet
    package_paths: tuple[str, ...] = ()  # relative to root, first wins
    visible: tuple[
        str, ...
    ] = ()  # what its code can see, relative to root; nothing below is left out
    isolation: Isolation = field(default_factory=Isolation)


@dataclass(frozen=True, slots=True)
class Binding:
    """A named input or output of a function; the trigger is the one input that starts it."""

    name: str
    type: str  # as written; compare with .type.lower()
    direction: str  # "in" | "out"
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HttpTrigger:
    """route has no prefix; methods None means every method."""

    route: str
    methods: frozenset[str] | None
    auth_level: AuthLevel


@dataclass(frozen=True, slots=True)
class TimerTrigger:
    """A schedule with the rules of functions.md 8; use_monitor is forced off below 1 min."""

    expression: str
    schedule: Schedule
    run_on_startup: bool = False
    use_monitor: bool = True


@dataclass(frozen=True, slots=True)
class OtherTrigger:
    """A trigger that can only be fired through the admin API (manualTrigger, warmupTrigger …)."""

    type: str


Trigger = HttpTrigger | TimerTrigger | OtherTrigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A definition that answers events."""

    name: str
    bundle: Bundle
    directory: str  # relative to the app root; "" for functions of a function_app.py
    script_file: str  # relative to the app root, e.g. "hello/__init__.py"
    entry_point: str
    trigger: Trigger
    trigger_name: str  # name of the trigger's binding: the parameter that receives the event
    bindings: tuple[Binding, ...]
    limits: Limits
    disabled: str = ""  # why it is switched off; empty if it is not
    environment: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)  # function.json as read


class JobKind(Enum):
    """The two kinds of WebJob."""

    TRIGGERED = "triggered"
    CONTINUOUS = "continuous"

    __hash__ = object.__hash__  # members are compared by identity; Enum's own hash is slow


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A WebJob's definition (webjobs.md 1 and 2).

    `folder` is the job directory inside the release (`bundle.root / directory`), `live_folder` the
    one in the site that people edit and that holds disable.job; both hold the same files at the
    moment of deployment. `script` is relative to the job directory ("inner/run.sh" is possible);
    it is empty when there is none, and then `error` says so.
    """

    name: str
    kind: JobKind
    bundle: Bundle
    directory: str
    live_folder: Path
    script: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    schedule: Schedule | None = None
    schedule_error: str = ""
    is_singleton: bool = False
    is_in_place: bool = False
    stopping_wait_s: float = 5.0
    disabled: bool = False  # disable.job was there at deployment; only continuous jobs heed it
    error: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    policy: JobPolicy = field(default_factory=JobPolicy)
    logs: LogLimits = field(default_factory=LogLimits)

    @property
    def folder(self) -> Path:
        """Return the immutable copy of the job directory."""
        return self.bundle.root / self.directory


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """host.json and the app settings, as far as the platform itself reads them."""

    route_prefix: str = "api"
    custom_headers: Mapping[str, str] = field(default_factory=dict)
    max_outstanding_requests: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)  # app settings
    time_zone: str = "UTC"
    logs: LogLimits = field(default_factory=LogLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDefinition:
    """Everything that one release defines, with what is wrong in it."""

    digest: str
    root: Path
    host: HostSettings
    functions: tuple[Function, ...]
    jobs: tuple[Job, ...]
    problems: tuple[Problem, ...] = ()
