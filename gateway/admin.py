"""The Functions admin API on the data listener (functions.md 13), the parts that tools call.

All of it needs the master key, except ping. The shapes are the Azure host's; our own API is
`gateway.native`.
"""

from __future__ import annotations

import json
import logging
import platform as machine
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from aiohttp import web

from gateway.auth import function_key
from gateway.errors import answer_for
from gateway.folded_routes import Call, FoldedRoutes, Match
from gateway.keys import Level
from gateway.manual_trigger import ManualCall, manual_event
from gateway.native.functions import base_url
from gateway.native.problems import known_problems, problems_of
from gateway.platform import PLATFORM, Platform
from scheduler.clock import SystemClock
from scheduler.errors import SchedulerError
from scheduler.events import Ending, Event
from scheduler.function_runs import FunctionRuns
from scheduler.functions import Function, HttpTrigger
from scheduler.run import Run

log = logging.getLogger("taak.admin")

#: An invocation through this API carries an input of at most so many bytes.
MAX_BODY_BYTES = 16 * 1024 * 1024


def admin_app(platform: Platform) -> web.Application:
    """Return the application for every path that begins with /admin."""
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app[PLATFORM] = platform
    # One entry: these paths match without case, and a sub-application sees the whole path.
    app.router.add_route("*", "/{path:.*}", admin_entry)
    return app


async def admin_entry(request: web.Request) -> web.StreamResponse:
    """Check the key and answer; a failure has an empty body or a text, as upstream."""
    platform = request.app[PLATFORM]
    open_call = _OPEN.find(request.method, request.path)
    if open_call is not None:
        return await open_call[0](platform, request, open_call[1])
    if platform.keys.allows("", function_key(request.headers, request.query)) is not Level.ADMIN:
        return web.Response(status=401)
    found = _ROUTES.find(request.method, request.path)
    if found is None:
        return web.Response(status=404)
    call, match = found
    try:
        return await call(platform, request, match)
    except SchedulerError as error:
        told = answer_for(error)
        return web.Response(status=told.status, text=told.detail, headers=told.headers)


async def ping(_platform: Platform, _request: web.Request, _match: Match) -> web.Response:
    """GET, POST /admin/host/ping: needs no key and tells nothing but life."""
    return web.Response(headers={"Cache-Control": "no-store, no-cache"})


async def host_status(platform: Platform, _request: web.Request, _match: Match) -> web.Response:
    """GET /admin/host/status."""
    errors = [str(problem) for problem in await known_problems(platform) if not problem.warning]
    uptime = datetime.now(UTC) - platform.started_at
    shape: dict[str, Any] = {
        "id": platform.instance,
        "state": "Initialized" if platform.ready() else "Running",
        "version": platform.version,
        "versionDetails": f"Taak {platform.version}",
        "platformVersion": "",
        "instanceId": platform.instance,
        "computerName": machine.node(),
        "processUptime": int(uptime.total_seconds() * 1000),
        "functionAppContentEditingState": "Allowed",
    }
    if errors:
        shape["errors"] = errors
    return web.json_response(shape)


async def list_functions(platform: Platform, request: web.Request, _match: Match) -> web.Response:
    """GET /admin/functions."""
    base = _base(request)
    shapes = [function_shape(platform, base, each) for each in platform.catalog.functions()]
    return web.json_response(shapes)


async def get_function(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """GET /admin/functions/{name}."""
    function = platform.catalog.function(match["name"])
    return web.json_response(function_shape(platform, _base(request), function))


async def run_function(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """POST /admin/functions/{name}: 202, the invocation runs in the background."""
    function = platform.catalog.function(match["name"])
    try:
        document = json.loads(await request.read())
    except ValueError:
        document = None
    if not isinstance(document, dict):
        return web.Response(status=400, text='The body must be JSON: {"input": TEXT}.')
    given = document.get("input")
    text = given if isinstance(given, str) else "" if given is None else json.dumps(given)
    event = manual_event(function, _call(function, text), base_url=base_url(platform))
    runs = _runs(platform)
    run = await runs.begin(function, "manual")  # accepted means recorded: a full disk refuses here
    platform.spawn(_invoke(runs, run, function, event))
    return web.Response(status=202)


async def function_status(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """GET /admin/functions/{name}/status: its errors, {} when there are none."""
    problems = problems_of(match["name"], await known_problems(platform))
    errors = [str(problem) for problem in problems if not problem.warning]
    if not errors:
        platform.catalog.function(match["name"])  # 404 for a name that means nothing
    return web.json_response({"errors": errors} if errors else {})


def function_shape(platform: Platform, base: str, function: Function) -> dict[str, Any]:
    """Return a function as the Azure host shows it."""
    name = quote(function.name)
    files = f"{base}/admin/vfs"
    folder = f"{files}/{quote(function.directory)}/" if function.directory else f"{files}/"
    return {
        "name": function.name,
        "script_root_path_href": folder,
        "script_href": f"{files}/{quote(function.script_file)}",
        "config_href": f"{folder}function.json",
        "test_data_href": f"{files}/data/Functions/sampledata/{name}.dat",
        "href": f"{base}/admin/functions/{name}",
        "invoke_url_template": _invoke_url(platform, base, function),
        "language": "python",
        "config": dict(function.config) or _config(function),
        "files": None,
        "test_data": None,
        "isDisabled": bool(function.disabled),
        "isDirect": False,
        "isProxy": False,
    }


def _call(function: Function, text: str) -> ManualCall:
    """Return the call; an HTTP function may be given a request as JSON."""
    if not isinstance(function.trigger, HttpTrigger):
        return ManualCall(input=text)
    try:
        request = json.loads(text)
    except ValueError:
        request = None
    if not isinstance(request, dict) or "method" not in request:
        return ManualCall(input=text)
    pairs = request.get("queryStringParams") or request.get("query") or {}
    headers = request.get("headers") or {}
    return ManualCall(
        method=str(request["method"]),
        query=_texts(pairs),
        headers=_texts(headers),
        body=str(request.get("body") or ""),
    )


def _texts(pairs: object) -> dict[str, str]:
    """Return a mapping of texts from an object, or from a list of {name, value}."""
    if isinstance(pairs, list):
        named = [pair for pair in pairs if isinstance(pair, dict) and "name" in pair]
        return {str(pair["name"]): str(pair.get("value", "")) for pair in named}
    if isinstance(pairs, dict):
        return {str(name): str(value) for name, value in pairs.items()}
    return {}


def _runs(platform: Platform) -> FunctionRuns:
    invoke = platform.dispatcher.invoke
    return FunctionRuns(platform.store, invoke, instance=platform.instance, clock=SystemClock())


async def _invoke(runs: FunctionRuns, run: Run, function: Function, event: Event) -> None:
    try:
        outcome = await runs.carry_out(run, function, event)
    except SchedulerError as error:
        log.warning("function %s, called through the admin API: %s", function.name, error)
        return
    except Exception:
        # It runs in the platform's own task group: what escaped here would end the platform.
        log.exception("function %s, called through the admin API, failed", function.name)
        return
    if outcome.ending is not Ending.SUCCEEDED:
        log.warning("function %s %s: %s", function.name, outcome.ending.value, outcome.error)


def _invoke_url(platform: Platform, base: str, function: Function) -> str | None:
    if not isinstance(function.trigger, HttpTrigger):
        return None
    prefix = platform.catalog.definition.host.route_prefix.strip("/")
    return "/".join(part for part in (base, prefix, function.trigger.route.strip("/")) if part)


def _config(function: Function) -> dict[str, Any]:
    """Return what a function.json would say, for a function that was declared in code."""
    bindings = [
        {
            "name": binding.name,
            "type": binding.type,
            "direction": binding.direction,
            **binding.properties,
        }
        for binding in function.bindings
    ]
    return {"bindings": bindings}


def _base(request: web.BaseRequest) -> str:
    return f"{request.scheme}://{request.host}"


def _table(*rows: tuple[str, str, Call]) -> FoldedRoutes:
    routes = FoldedRoutes()
    for methods, template, call in rows:
        routes.add(methods, template, call)
    return routes


_OPEN = _table(("GET POST", "/admin/host/ping", ping))
_ROUTES = _table(
    ("GET", "/admin/host/status", host_status),
    ("GET", "/admin/functions", list_functions),
    ("GET", "/admin/functions/{name}", get_function),
    ("POST", "/admin/functions/{name}", run_function),
    ("GET", "/admin/functions/{name}/status", function_status),
)
