"""An operator's "run it now": makes the event that the function's own trigger would have made.

Used by `/v1/functions/{name}/invoke` and by the Functions admin API. It must not run anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import quote, urlencode

from gateway.routes import Params, RouteTable
from scheduler.errors import BadRequestError
from scheduler.events import DataEvent, Event, HttpEvent
from scheduler.functions import Function, HttpTrigger, TimerTrigger
from scheduler.ticks import payload

#: A parameter of a route: catch-all mark, name, default value, optional mark.
_PARAMETER = re.compile(r"\{(\*{0,2})(\w+)(?::[^=?}]*(?:\{[^}]*\}[^}]*)?)?(?:=([^}]*))?(\?)?\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManualCall:
    """What the operator gave; only `input` matters to a trigger that is not HTTP."""

    input: str = ""
    method: str = ""
    path: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


def manual_event(function: Function, call: ManualCall, *, base_url: str) -> Event:
    """Return the event. `base_url` is the data listener's with the route prefix."""
    if isinstance(function.trigger, HttpTrigger):
        return _http_event(function, function.trigger, call, base_url)
    if isinstance(function.trigger, TimerTrigger):
        timer = payload(function.trigger.schedule, None, past_due=False)
        return DataEvent("timertrigger", "json", timer)
    return DataEvent(function.trigger.type.lower(), "string", call.input)


def _http_event(
    function: Function, trigger: HttpTrigger, call: ManualCall, base_url: str
) -> HttpEvent:
    body = (call.body or call.input).encode()
    method = (call.method or _default_method(trigger, has_body=bool(body))).upper()
    path, params = _fit(function, method, call.path.strip("/") or _default_path(trigger.route))
    query = f"?{urlencode(call.query)}" if call.query else ""
    headers = {name.lower(): value for name, value in call.headers.items()}
    if body:
        kind = "application/json" if _is_json(body) else "text/plain; charset=utf-8"
        headers.setdefault("content-type", kind)
    return HttpEvent(
        method=method,
        url=f"{base_url}/{quote(path)}{query}",
        headers=tuple(headers.items()),
        query=tuple(call.query.items()),
        route_params=params,
        body=body,
    )


def _default_method(trigger: HttpTrigger, *, has_body: bool) -> str:
    wished = "POST" if has_body else "GET"
    if trigger.methods is None or wished in trigger.methods:
        return wished
    return min(trigger.methods)


def _default_path(route: str) -> str:
    """Return the route itself; placeholders that need a value are told."""
    needed = [
        found[2]
        for found in _PARAMETER.finditer(route)
        if not (found[1] or found[4] or found[3] is not None)
    ]
    if needed:
        raise BadRequestError(
            f"the route {route!r} has parameters ({', '.join(needed)}):"
            ' give "path", the part behind the route prefix'
        )
    return _PARAMETER.sub(lambda found: found[3] or "", route).strip("/")


def _fit(function: Function, method: str, path: str) -> tuple[str, Params]:
    """Return the path below the prefix and the values of the route's parameters.

    An operator may give the whole path, or only what stands behind the route's fixed part.
    """
    assert isinstance(function.trigger, HttpTrigger)
    route = function.trigger.route
    # What the platform's own route table says, with the switch and the other functions left out.
    table = RouteTable([replace(function, disabled="")], "")
    fixed = route.partition("{")[0].strip("/")
    for candidate in (path, f"{fixed}/{path}"):
        match = table.find(method, f"/{quote(candidate)}")
        if match is not None:
            return candidate, match.params
    methods = ", ".join(sorted(function.trigger.methods or ())) or "any method"
    raise BadRequestError(f"{method} {path!r} does not fit the route {route!r} ({methods})")


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
