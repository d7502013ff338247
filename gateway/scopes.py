"""What a key may do in management: scopes, and the one table of which route needs which.

A route without a row is the master key's alone. tests/gateway/test_scopes.py walks every route of
the listener and holds it against this table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from gateway.path_template import Pattern, template
from scheduler.errors import BadRequestError

_LOOK = "GET HEAD"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_ANY = "GET HEAD POST PUT PATCH DELETE"


class Scope(Enum):
    """What a key may be given."""

    INVOKE = "invoke"  # call functions, run jobs, speak to jobs' own servers
    READ = "read"  # look at state, history and logs; at no code and no settings
    OPERATE = "operate"  # start, stop, cancel, end processes
    DEPLOY = "deploy"  # replace files, jobs, settings and hooks, and read them
    DEBUG = "debug"  # attach to a job: run anything as it
    ADMIN = "admin"  # all of management, keys included
    ALL = "all"  # the master key, which opens the data listener's administration, too


#: scope -> all that it opens. Who deploys a job can do with it what an operator can.
_OPERATE = frozenset({Scope.OPERATE, Scope.READ, Scope.INVOKE})
OPENS: dict[Scope, frozenset[Scope]] = {
    Scope.INVOKE: frozenset({Scope.INVOKE}),
    Scope.READ: frozenset({Scope.READ}),
    Scope.OPERATE: _OPERATE,
    Scope.DEPLOY: _OPERATE | {Scope.DEPLOY},
    Scope.DEBUG: _OPERATE | {Scope.DEBUG},
    Scope.ADMIN: frozenset(Scope) - {Scope.ALL},
    Scope.ALL: frozenset(Scope),
}
#: What a key can be made with.
GRANTABLE = tuple(scope.value for scope in Scope if scope is not Scope.ALL)
JOB_FORM = "job:NAME:run"


@dataclass(frozen=True, slots=True)
class Rights:
    """What a key opens: scopes, and single triggered jobs that it may run and watch."""

    scopes: frozenset[Scope] = frozenset()
    jobs: frozenset[str] = frozenset()

    @classmethod
    def of(cls, words: Iterable[str]) -> Rights:
        """Read `read`, `deploy`, `job:NAME:run` …; ValueError names a word that is none."""
        scopes: set[Scope] = set()
        jobs: set[str] = set()
        for word in words:
            head, _, rest = word.partition(":")
            name, _, verb = rest.rpartition(":")
            if word in GRANTABLE:
                scopes |= OPENS[Scope(word)]
            elif head == "job" and name and verb == "run":
                jobs.add(name.casefold())
            else:
                raise ValueError(word)
        return cls(frozenset(scopes), frozenset(jobs))

    def __str__(self) -> str:
        """Return the words that a key with these rights could be made with; of all, just `all`."""
        if Scope.ALL in self.scopes:
            return Scope.ALL.value
        jobs = sorted(f"job:{name}:run" for name in self.jobs)
        return ", ".join([*sorted(scope.value for scope in self.scopes), *jobs])

    def reaches(self, need: Need | None) -> bool:
        """Tell whether they suffice; what has no row needs the master key."""
        if need is None:
            return Scope.ALL in self.scopes
        return need.scope in self.scopes or (bool(need.job) and need.job.casefold() in self.jobs)


#: What the master key and the page's session open.
EVERYTHING = Rights(OPENS[Scope.ALL])


class Need(NamedTuple):
    """What a request needs: a scope, or the right to run this one triggered job."""

    scope: Scope
    job: str = ""
    runs: bool = False  # it is the run itself, not a look at it


class Row(NamedTuple):
    """Verbs and paths that need a scope; `job` says that the job's own key does as well."""

    methods: str
    path: str
    scope: Scope
    job: bool = False


def check_grant(name: str, scopes: Sequence[str]) -> None:
    """Raise BadRequestError unless a key of this name may be made with these scopes."""
    if not _NAME.fullmatch(name):
        raise BadRequestError(
            f"{name[:80]!r} is no name of a key: letters, digits, _ . and -, 64 at most"
        )
    known = f"{', '.join(GRANTABLE)}, {JOB_FORM}"
    if not scopes:
        raise BadRequestError(f"a key needs at least one scope of: {known}")
    try:
        Rights.of(scopes)
    except ValueError as error:
        raise BadRequestError(f"{str(error)[:80]!r} is no scope; known: {known}") from error


def need(method: str, path: str) -> Need | None:
    """Return what a request needs; None is the master key."""
    for row, pattern in _PATTERNS:
        if method in row.methods.split() and (found := pattern.fullmatch(path)):
            job = found["name"] if row.job else ""
            return Need(row.scope, job, runs=bool(job) and method == "POST")
    return None


def _job_rows(kind_root: str) -> Iterator[Row]:
    """Yield the rows of one spelling of Kudu's job routes."""
    for kind in ("triggered", "continuous"):
        base, mine = kind_root.replace("{kind}", kind), kind == "triggered"
        job = f"{base}/{{name}}"
        yield Row("GET", base, Scope.READ)
        yield Row("GET", job, Scope.READ, job=mine)
        yield Row("PUT DELETE", job, Scope.DEPLOY)
        yield Row("GET", f"{job}/settings", Scope.READ)
        yield Row("PUT", f"{job}/settings", Scope.DEPLOY)
        if mine:
            yield Row("POST", f"{job}/run", Scope.INVOKE, job=True)
            yield Row("GET", f"{job}/history", Scope.READ, job=True)
            yield Row("GET", f"{job}/history/{{id}}", Scope.READ, job=True)
        else:
            yield Row("POST", f"{job}/start", Scope.OPERATE)
            yield Row("POST", f"{job}/stop", Scope.OPERATE)
            yield Row(_ANY, f"{job}/passthrough", Scope.INVOKE)
            yield Row(_ANY, f"{job}/passthrough/{{path*}}", Scope.INVOKE)


#: Four spellings of one thing: the first is today's, the others are still in scripts.
KIND_ROOTS = ("/api/{kind}webjobs", "/api/{kind}jobs", "/api/jobs/{kind}", "/jobs/{kind}")
LIST_ROOTS = ("/api/webjobs", "/api/jobs", "/jobs")

TABLE: tuple[Row, ...] = (
    # The page, and what describes everything.
    Row(_LOOK, "/", Scope.READ),
    Row(_LOOK, "/metrics", Scope.READ),
    Row(_LOOK, "/openapi.json", Scope.READ),
    # Kudu's jobs.
    *(Row("GET", root, Scope.READ) for root in LIST_ROOTS),
    Row("GET", "/api/triggeredwebjobsswagger", Scope.READ),
    *(row for root in KIND_ROOTS for row in _job_rows(root)),
    # Kudu's files: logs of jobs are for looking, all else may hold secrets.
    *(
        row
        for root in ("/api/vfs", "/vfs")
        for row in (
            Row(_LOOK, f"{root}/data/jobs/triggered/{{name}}/{{path*}}", Scope.READ, job=True),
            Row(_LOOK, f"{root}/data/jobs", Scope.READ),
            Row(_LOOK, f"{root}/data/jobs/{{path*}}", Scope.READ),
            Row(_LOOK, root, Scope.DEPLOY),
            Row("GET HEAD PUT DELETE", f"{root}/{{path*}}", Scope.DEPLOY),
        )
    ),
    Row("GET PUT", "/api/zip/{path*}", Scope.DEPLOY),
    # Kudu's other neighbours.
    Row("GET POST", "/api/settings", Scope.DEPLOY),
    Row("GET DELETE", "/api/settings/{key}", Scope.DEPLOY),
    Row("GET", "/api/environment", Scope.READ),
    Row("GET", "/api/info", Scope.READ),
    Row("GET", "/api/diagnostics/settings", Scope.READ),
    Row("GET", "/api/diagnostics/settings/{key}", Scope.READ),
    Row("POST", "/api/diagnostics/settings", Scope.DEPLOY),
    Row("DELETE", "/api/diagnostics/settings/{key}", Scope.DEPLOY),
    Row("POST", "/api/command", Scope.ADMIN),
    Row("GET", "/api/processes", Scope.READ),
    Row("GET", "/api/processes/{id}", Scope.READ),
    Row("DELETE", "/api/processes/{id}", Scope.OPERATE),
    Row("GET", "/api/logstream", Scope.READ),
    Row("GET", "/api/logstream/{path*}", Scope.READ),
    Row("GET POST", "/api/hooks", Scope.DEPLOY),
    Row("POST", "/api/hooks/publish/{event}", Scope.DEPLOY),
    Row("GET DELETE", "/api/hooks/{id}", Scope.DEPLOY),
    # Deployments, also by git.
    Row("POST PUT", "/api/zipdeploy", Scope.DEPLOY),
    Row("POST PUT", "/api/publish", Scope.DEPLOY),
    Row("GET", "/api/deployments", Scope.READ),
    Row("GET", "/api/deployments/{path*}", Scope.READ),
    Row("PUT", "/api/deployments", Scope.DEPLOY),
    Row("PUT DELETE POST", "/api/deployments/{path*}", Scope.DEPLOY),
    Row("GET", "/api/scm/info", Scope.READ),
    Row("GET POST", "/git/{path*}", Scope.DEPLOY),
    Row("GET POST", "/{repository}.git/{path*}", Scope.DEPLOY),
    # Our own.
    Row("GET", "/v1/openapi.json", Scope.READ),
    Row("GET", "/v1/status", Scope.READ),
    Row("GET", "/v1/doctor", Scope.READ),
    Row("GET", "/v1/functions", Scope.READ),
    Row("GET", "/v1/functions/{name}", Scope.READ),
    Row("GET", "/v1/functions/{name}/logs", Scope.READ),
    Row("POST", "/v1/functions/{name}/invoke", Scope.INVOKE),
    Row("GET", "/v1/jobs", Scope.READ),
    Row("GET", "/v1/jobs/triggered/{name}", Scope.READ, job=True),
    Row("GET", "/v1/jobs/{kind}/{name}", Scope.READ),
    Row("GET", "/v1/jobs/triggered/{name}/log", Scope.READ, job=True),
    Row("GET", "/v1/jobs/{kind}/{name}/logs", Scope.READ),
    Row("GET", "/v1/jobs/{kind}/{name}/log", Scope.READ),
    Row("POST", "/v1/jobs/triggered/{name}/run", Scope.INVOKE, job=True),
    Row("POST", "/v1/jobs/continuous/{name}/start", Scope.OPERATE),
    Row("POST", "/v1/jobs/continuous/{name}/stop", Scope.OPERATE),
    Row("POST", "/v1/jobs/continuous/{name}/restart", Scope.OPERATE),
    Row("GET", "/v1/jobs/{kind}/{name}/debug", Scope.READ),
    Row("POST DELETE", "/v1/jobs/{kind}/{name}/debug", Scope.DEBUG),
    Row("GET POST", "/v1/jobs/{kind}/{name}/debug/{path*}", Scope.DEBUG),
    Row("GET", "/v1/runs", Scope.READ),
    Row("GET", "/v1/runs/{id}", Scope.READ),
    Row("GET", "/v1/runs/{id}/log", Scope.READ),
    Row("POST", "/v1/runs/{id}/cancel", Scope.OPERATE),
    Row("GET", "/v1/schedules", Scope.READ),
    Row("GET", "/v1/schedules:preview", Scope.READ),
    Row("GET", "/v1/deployments", Scope.READ),
    Row("GET", "/v1/deployments/{id}", Scope.READ),
    Row("GET", "/v1/deployments/{id}/log", Scope.READ),
    Row("POST", "/v1/deployments/{id}/rollback", Scope.DEPLOY),
    Row("POST", "/v1/deployments:reconcile", Scope.DEPLOY),
    Row("GET POST", "/v1/keys", Scope.ADMIN),
    Row("DELETE", "/v1/keys/{name}", Scope.ADMIN),
)
_PATTERNS: list[tuple[Row, Pattern]] = [(row, template(row.path)) for row in TABLE]
