"""/v1/functions: what is deployed, how it fares, call it, read its log."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.manual_trigger import ManualCall, manual_event
from gateway.native.problems import known_problems, problem_shape, problems_of
from gateway.native.route import (
    Param,
    Route,
    answer,
    flag,
    integer,
    iso,
    read_object,
    text_field,
    text_map,
)
from gateway.native.schedules import next_times
from gateway.native.streams import stream_values
from gateway.platform import Platform
from gateway.sandbox_facts import function_sandbox, resource_limits
from scheduler.events import Outcome
from scheduler.function_logs import LogLine
from scheduler.functions import Function, HttpTrigger, Problem, TimerTrigger, key

MAX_LOG_LINES = 1000


def base_url(platform: Platform) -> str:
    """Return the address that the routes of HTTP functions start with."""
    prefix = platform.catalog.definition.host.route_prefix.strip("/")
    return f"{platform.data_url}/{prefix}" if prefix else platform.data_url


def function_shape(
    platform: Platform, function: Function, problems: list[Problem]
) -> dict[str, Any]:
    """Return a function as JSON."""
    own = problems_of(function.name, problems)
    return {
        "name": function.name,
        **_trigger_shape(platform, function),
        **_state_shape(platform, function),
        "release": platform.catalog.definition.digest,
        "bundle": function.bundle.digest,
        **_runtime_shape(platform, function),
        "limits": _limits_shape(function),
        "problems": [problem_shape(problem) for problem in own],
    }


async def list_functions(platform: Platform, _request: web.Request) -> web.Response:
    """Answer GET /v1/functions."""
    return answer({"items": await function_list(platform)})


async def function_list(platform: Platform) -> list[dict[str, Any]]:
    """Return the functions that serve, then those that could not be loaded."""
    problems = await known_problems(platform)
    functions = sorted(platform.catalog.functions(), key=lambda function: key(function.name))
    items = [function_shape(platform, function, problems) for function in functions]
    return items + _broken(functions, problems)


async def get_function(platform: Platform, request: web.Request) -> web.Response:
    """Answer GET /v1/functions/{name}."""
    name = request.match_info["name"]
    problems = await known_problems(platform)
    for broken in _broken(platform.catalog.functions(), problems):
        if key(broken["name"]) == key(name):
            return answer(broken)
    return answer(function_shape(platform, platform.catalog.function(name), problems))


async def invoke_function(platform: Platform, request: web.Request) -> web.Response:
    """Answer POST /v1/functions/{name}/invoke: run it now and wait for the outcome."""
    function = platform.catalog.function(request.match_info["name"])
    given = await read_object(request, ("input", "method", "path", "query", "headers", "body"))
    call = ManualCall(
        input=text_field(given, "input"),
        method=text_field(given, "method"),
        path=text_field(given, "path"),
        query=text_map(given, "query"),
        headers=text_map(given, "headers"),
        body=text_field(given, "body"),
    )
    event = manual_event(function, call, base_url=base_url(platform))
    invocation_id = str(uuid.uuid4())
    outcome = await platform.dispatcher.invoke(
        function, event, trigger="manual", invocation_id=invocation_id
    )
    return answer({"invocation_id": invocation_id, **outcome_shape(outcome)})


async def function_logs(platform: Platform, request: web.Request) -> web.StreamResponse:
    """Answer GET /v1/functions/{name}/logs."""
    function = platform.catalog.function(request.match_info["name"])
    tail = integer(request, "tail", default=100, low=0, high=MAX_LOG_LINES)
    logs = platform.dispatcher.logs

    def earlier() -> list[LogLine]:
        return logs.tail(function.name, tail) if tail else []

    if not flag(request, "follow"):
        return answer({"items": [log_line_shape(line) for line in earlier()]})
    return await stream_values(request, earlier, logs.subscribe(function.name), log_line_shape)


def outcome_shape(outcome: Outcome) -> dict[str, Any]:
    """Return how an invocation ended as JSON; a body that is no text goes as base64."""
    reply = outcome.reply
    shape: dict[str, Any] = {
        "ending": outcome.ending.value,
        "status": reply.status if reply else None,
        "headers": [list(pair) for pair in reply.headers] if reply else [],
        "body": None,
        "error": outcome.error,
        "detail": outcome.detail,
        "cold": outcome.cold,
        "exec_ms": round(outcome.exec_s * 1000, 3),
        "wait_ms": round(outcome.wait_s * 1000, 3),
    }
    if reply is not None:
        body = reply.body
        whole = body if isinstance(body, bytes) else body.read(0, len(body))
        try:
            shape["body"] = whole.decode()
        except UnicodeDecodeError:
            shape["body_base64"] = base64.b64encode(whole).decode()
    return shape


def log_line_shape(line: LogLine) -> dict[str, Any]:
    """Return a log line as JSON."""
    return {
        "at": iso(line.at),
        "function": line.function,
        "invocation_id": line.invocation_id,
        "stream": line.stream,
        "level": line.level,
        "text": line.text,
    }


def _trigger_shape(platform: Platform, function: Function) -> dict[str, Any]:
    trigger = function.trigger
    shape: dict[str, Any] = dict.fromkeys(
        ("route", "methods", "auth_level", "url", "schedule", "canonical", "time_zone")
    )
    shape["next"] = []
    if isinstance(trigger, HttpTrigger):
        shape |= {
            "trigger": "http",
            "route": trigger.route,
            "methods": sorted(trigger.methods) if trigger.methods is not None else None,
            "auth_level": trigger.auth_level.value,
            "url": f"{base_url(platform)}/{trigger.route}",
        }
    elif isinstance(trigger, TimerTrigger):
        live = not function.disabled
        shape |= {
            "trigger": "timer",
            "schedule": trigger.expression,
            "canonical": trigger.schedule.canonical,
            "time_zone": trigger.schedule.zone,
            "next": next_times(trigger.schedule, datetime.now(UTC), 5) if live else [],
        }
    else:
        shape["trigger"] = trigger.type
    return {"trigger": shape.pop("trigger"), **shape}


def _state_shape(platform: Platform, function: Function) -> dict[str, Any]:
    """Return whether calls can be answered; code that does not load answers each with a 500."""
    if error := platform.dispatcher.load_error(function.name):
        return {"state": "error", "reason": error[0]}
    return {"state": "disabled" if function.disabled else "ready", "reason": function.disabled}


def _runtime_shape(platform: Platform, function: Function) -> dict[str, Any]:
    counts = platform.dispatcher.workers(function.name)
    return {
        "workers": {
            "total": counts.total,
            "busy": counts.busy,
            "spare": counts.spare,
            "waiting": counts.waiting,
        },
        "counts": {
            "calls": counts.calls,
            "failures": counts.failures,
            "cold_starts": counts.cold_starts,
        },
        "sandbox": function_sandbox(platform, function),
    }


def _limits_shape(function: Function) -> dict[str, Any]:
    limits = function.limits
    names = (
        "timeout_s", "max_workers", "concurrency", "prefetch", "queue_depth", "queue_age_s",
        "idle_s", "min_workers", "recycle_calls", "start_timeout_s",
    )  # fmt: skip
    own = {name: getattr(limits, name) for name in names}
    return {**own, **resource_limits(function.bundle.isolation)}


def _broken(functions: Iterable[Function], problems: list[Problem]) -> list[dict[str, Any]]:
    """Return the functions that a mistake keeps out of the catalog."""
    served = {key(function.name) for function in functions}
    broken: dict[str, list[Problem]] = {}
    for problem in problems:
        # An owner with a slash is a job, one without a name is the app.
        is_function = problem.owner and "/" not in problem.owner
        if is_function and not problem.warning and key(problem.owner) not in served:
            broken.setdefault(problem.owner, []).append(problem)
    return [_broken_shape(name, own) for name, own in sorted(broken.items())]


def _broken_shape(name: str, problems: list[Problem]) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("trigger", "route", "methods", "auth_level", "url", "schedule", "canonical", "time_zone")
    )
    return {
        "name": name,
        **nothing,
        "next": [],
        "state": "error",
        "reason": str(problems[0]),
        "release": "",
        "bundle": "",
        "workers": {"total": 0, "busy": 0, "spare": 0, "waiting": 0},
        "counts": {"calls": 0, "failures": 0, "cold_starts": 0},
        "sandbox": {},
        "limits": {},
        "problems": [problem_shape(problem) for problem in problems],
    }


_LOG_QUERY = (
    Param("tail", {"type": "integer", "minimum": 0, "maximum": MAX_LOG_LINES}, "last lines"),
    Param("follow", {"type": "boolean"}, "go on as an event stream"),
)
ROUTES = (
    Route(
        method="GET",
        path="/v1/functions",
        call=list_functions,
        summary="Every function, those in error included",
        answer="FunctionList",
    ),
    Route(
        method="GET",
        path="/v1/functions/{name}",
        call=get_function,
        summary="One function",
        answer="Function",
    ),
    Route(
        method="POST",
        path="/v1/functions/{name}/invoke",
        call=invoke_function,
        summary="Run a function now and wait for the outcome",
        body="Invoke",
        answer="Outcome",
    ),
    Route(
        method="GET",
        path="/v1/functions/{name}/logs",
        call=function_logs,
        summary="What a function printed and logged",
        answer="LogLines",
        query=_LOG_QUERY,
        media=("application/json", "text/event-stream"),
    ),
)
