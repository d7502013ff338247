"""The JSON shapes of /v1, as the OpenAPI document tells them. Data only.

A test reads real answers against these, so a field that is added to a shape is added here.
"""

from __future__ import annotations

from typing import Any

from scheduler.debugging import DebugState
from scheduler.deployment import DeploymentState
from scheduler.events import Ending
from scheduler.functions import JobKind
from scheduler.run import RunKind, RunState

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_INT: Schema = {"type": "integer"}
_NUMBER: Schema = {"type": "number"}
_BOOL: Schema = {"type": "boolean"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_MAYBE_INT: Schema = {"type": ["integer", "null"]}
_MAYBE_TIME: Schema = {"type": ["string", "null"], "format": "date-time"}
_FREE: Schema = {"type": "object", "additionalProperties": True}
_TEXTS: Schema = {"type": "array", "items": _TEXT}
_TIMES: Schema = {"type": "array", "items": _TIME}
_TEXT_MAP: Schema = {"type": "object", "additionalProperties": _TEXT}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(name: str) -> Schema:
    return {"type": "array", "items": _ref(name)}


def _object(optional: tuple[str, ...] = (), **properties: Schema) -> Schema:
    needed = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": needed}


def _both(one: Schema, other: Schema) -> Schema:
    properties = {**one["properties"], **other["properties"]}
    return {**one, "properties": properties, "required": [*one["required"], *other["required"]]}


def _items(name: str) -> Schema:
    return _object(items=_list(name))


def _words(kind: Any) -> Schema:
    return {"type": "string", "enum": [member.value for member in kind]}


_PROBLEM_DOCUMENT = _object(
    type=_TEXT, title=_TEXT, status=_INT, detail=_TEXT, code=_TEXT, hint=_TEXT
)
_MANIFEST_PROBLEM = _object(where=_TEXT, line=_INT, field=_TEXT, message=_TEXT, warning=_BOOL)
_FUNCTION = _object(
    name=_TEXT,
    trigger=_MAYBE_TEXT,
    route=_MAYBE_TEXT,
    methods={"type": ["array", "null"], "items": _TEXT},
    auth_level=_MAYBE_TEXT,
    url=_MAYBE_TEXT,
    schedule=_MAYBE_TEXT,
    canonical=_MAYBE_TEXT,
    time_zone=_MAYBE_TEXT,
    next=_TIMES,
    state={"type": "string", "enum": ["ready", "disabled", "error"]},
    reason=_TEXT,
    release=_TEXT,
    bundle=_TEXT,
    workers=_object(total=_INT, busy=_INT, spare=_INT, waiting=_INT),
    counts=_object(calls=_INT, failures=_INT, cold_starts=_INT),
    sandbox=_FREE,
    limits=_FREE,
    problems=_list("ManifestProblem"),
)
_OUTCOME = _object(
    ("body_base64",),
    invocation_id=_TEXT,
    ending=_words(Ending),
    status=_MAYBE_INT,
    headers={"type": "array", "items": _TEXTS},
    body=_MAYBE_TEXT,
    body_base64=_TEXT,
    error=_TEXT,
    detail=_TEXT,
    cold=_BOOL,
    exec_ms=_NUMBER,
    wait_ms=_NUMBER,
)
_JOB = _object(
    name=_TEXT,
    kind=_words(JobKind),
    state=_TEXT,
    schedule=_MAYBE_TEXT,
    canonical=_MAYBE_TEXT,
    time_zone=_MAYBE_TEXT,
    next=_TIMES,
    latest_run={"oneOf": [_ref("Run"), {"type": "null"}]},
    script=_TEXT,
    interpreter=_TEXT,
    settings=_FREE,
    error=_MAYBE_TEXT,
    restarts=_MAYBE_INT,
    pid=_MAYBE_INT,
    since=_MAYBE_TIME,
    last_exit=_MAYBE_TEXT,
    sandbox=_FREE,
    limits=_FREE,
    problems=_list("ManifestProblem"),
    debugging={"oneOf": [_ref("JobDebugging"), {"type": "null"}]},
)
_DEBUG_TOKEN = _object(token=_TEXT, token_ends=_TIME)
_DEBUG = _object(
    job=_TEXT,
    state=_words(DebugState),
    debugger=_MAYBE_TEXT,
    wait=_BOOL,
    began=_MAYBE_TIME,
    ends=_MAYBE_TIME,
    script=_TEXT,
    folder=_TEXT,
    remote_root=_TEXT,
    tunnel=_TEXT,
    tunnels=_INT,
)
_RUN = _object(
    id=_INT,
    public_id=_TEXT,
    kind=_words(RunKind),
    name=_TEXT,
    trigger=_TEXT,
    state=_words(RunState),
    instance=_TEXT,
    release=_TEXT,
    created_at=_TIME,
    started_at=_MAYBE_TIME,
    ended_at=_MAYBE_TIME,
    exit_code=_MAYBE_INT,
    reason=_TEXT,
    arguments=_TEXT,
    attempt=_INT,
    wait_ms=_NUMBER,
    exec_ms=_NUMBER,
)
_DEPLOYMENT = _object(
    id=_TEXT,
    state=_words(DeploymentState),
    reason=_TEXT,
    digest=_TEXT,
    generation=_INT,
    started_at=_TIME,
    ended_at=_MAYBE_TIME,
    problems=_list("ManifestProblem"),
    added=_TEXTS,
    changed=_TEXTS,
    removed=_TEXTS,
)
_STATUS = _object(
    version=_TEXT,
    instance=_TEXT,
    state={"type": "string", "enum": ["starting", "ready"]},
    started_at=_TIME,
    uptime_s=_NUMBER,
    data_url=_TEXT,
    management_url=_TEXT,
    site=_TEXT,
    home=_TEXT,
    store=_TEXT,
    release=_TEXT,
    generation=_INT,
    not_ready=_TEXTS,
)
_SCHEDULE = _object(
    name=_TEXT,
    kind=_words(RunKind),
    expression=_TEXT,
    canonical=_TEXT,
    time_zone=_TEXT,
    next=_TIMES,
    last=_MAYBE_TIME,
)

SCHEMAS: dict[str, Schema] = {
    "Problem": _PROBLEM_DOCUMENT,
    "ManifestProblem": _MANIFEST_PROBLEM,
    "Function": _FUNCTION,
    "FunctionList": _items("Function"),
    "Invoke": _object(
        ("input", "method", "path", "query", "headers", "body"),
        input=_MAYBE_TEXT,
        method=_MAYBE_TEXT,
        path=_MAYBE_TEXT,
        query=_TEXT_MAP,
        headers=_TEXT_MAP,
        body=_MAYBE_TEXT,
    ),
    "Outcome": _OUTCOME,
    "LogLine": _object(
        at=_TIME,
        function=_TEXT,
        invocation_id=_MAYBE_TEXT,
        stream={"type": "string", "enum": ["stdout", "stderr", "log"]},
        level=_TEXT,
        text=_TEXT,
    ),
    "LogLines": _items("LogLine"),
    "Job": _JOB,
    "JobList": _items("Job"),
    "JobDebugging": _object(
        state=_words(DebugState), debugger=_TEXT, wait=_BOOL, began=_TIME, ends=_TIME
    ),
    "Debug": _DEBUG,
    "DebugRequest": _object(("wait", "duration_s"), wait=_BOOL, duration_s=_NUMBER),
    "DebugBegun": _both(_DEBUG, _DEBUG_TOKEN),
    "DebugToken": _DEBUG_TOKEN,
    "KeyList": _items("Key"),
    "Key": _object(name=_TEXT, scopes=_TEXTS, created_at=_TIME),
    "NewKey": _object(name=_TEXT, scopes=_TEXTS),
    "MadeKey": _object(name=_TEXT, scopes=_TEXTS, created_at=_TIME, key=_TEXT),
    "RunRequest": _object(("arguments",), arguments=_MAYBE_TEXT),
    "Run": _RUN,
    "RunPage": _object(items=_list("Run"), cursor=_MAYBE_INT),
    "Deployment": _DEPLOYMENT,
    "DeploymentLog": _object(
        items={"type": "array", "items": _FREE}, state=_TEXT, complete=_BOOL, build_failed=_BOOL
    ),
    "DeploymentPage": _object(items=_list("Deployment"), cursor=_MAYBE_TEXT),
    "Schedule": _SCHEDULE,
    "ScheduleList": _items("Schedule"),
    "SchedulePreview": _object(
        expression=_TEXT, dialect=_TEXT, canonical=_TEXT, time_zone=_TEXT, next=_TIMES
    ),
    "Status": _STATUS,
    "Doctor": _object(checks=_list("Check")),
    "Check": _object(name=_TEXT, ok=_BOOL, detail=_TEXT, fix=_TEXT, needed=_BOOL),
    "OpenApi": _FREE,
}
