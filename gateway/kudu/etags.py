"""ETags of Kudu's lists and histories (webjobs.md 6.4), and of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from gateway.kudu.shapes import to_json

_LIST_FIELDS = ("detailed_status", "name", "run_command", "type", "error")


def jobs_etag(shapes: Sequence[dict[str, Any]]) -> str:
    """Return the tag of a list. Settings do not count; the duration of a running run does."""
    parts: list[object] = []
    for shape in shapes:
        run = shape.get("latest_run") or {}
        parts.append([shape.get(name) for name in _LIST_FIELDS])
        parts.append([run.get(name) for name in ("id", "status", "duration")])
    return _tag(parts)


def history_etag(runs: Sequence[dict[str, Any]]) -> str:
    """Return the tag of a history: its newest run's, or a fixed one of its own if there is none."""
    if not runs:
        return _tag("no runs")
    return _tag([runs[0][name] for name in ("id", "status", "end_time")])


def file_etag(facts: os.stat_result) -> str:
    """Return the tag of a file: what changes when it does."""
    return f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'


def names_tag(header: str, tag: str) -> bool:
    """Tell whether a list of tags, as If-Match and If-None-Match have it, names this one."""
    told = {each.strip().removeprefix("W/") for each in header.split(",")}
    return "*" in told or tag in told


def is_unchanged(request: web.BaseRequest, tag: str) -> bool:
    """Tell whether the client has this version: exact text of the first tag, quotes included."""
    return request.headers.get("If-None-Match", "").partition(",")[0].strip() == tag


def tagged(request: web.BaseRequest, value: object, tag: str) -> web.Response:
    """Return a JSON answer with its tag, or 304 without a body."""
    if is_unchanged(request, tag):
        return web.Response(status=304, headers={"ETag": tag})
    return web.Response(text=to_json(value), content_type="application/json", headers={"ETag": tag})


def _tag(value: object) -> str:
    return f'"{hashlib.sha256(to_json(value).encode()).hexdigest()[:32]}"'
