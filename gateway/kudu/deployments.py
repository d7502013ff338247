"""/api/deployments: what was pushed, uploaded and rolled back, in Kudu's shapes (webjobs.md 7)."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu.shapes import Base, to_json
from gateway.native.deployments import find_live
from gateway.platform import Platform
from scheduler.errors import BadRequestError, ConflictError, NotFoundError
from scheduler.source.record import DeliveryRecord, DeliveryStatus, LogLine, SourceKind

LATEST = "latest"
_TEXTS = {
    DeliveryStatus.PENDING: "Pending",
    DeliveryStatus.BUILDING: "Building and deploying",
    DeliveryStatus.DEPLOYING: "Checking and putting files in place",
}


async def list_deployments(platform: Platform, request: web.Request, _match: Match) -> web.Response:
    """GET /api/deployments: newest first; `$top` bounds them."""
    records = await asyncio.to_thread(lambda: list(platform.deliveries.records.all()))
    active = _active(records)
    top = request.query.get("$top", "")
    if top:
        if not top.isdecimal() or len(top) > 9:
            raise BadRequestError(f"$top: {top!r} is no number")
        records = records[: int(top)]
    return _json([shape(platform, request, record, active) for record in records])


async def get_deployment(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """GET /api/deployments/{id}: 202 with a Location until it has ended."""
    records = await asyncio.to_thread(lambda: list(platform.deliveries.records.all()))
    record = _find(records, match["id"])
    body = shape(platform, request, record, _active(records))
    if record.is_complete:
        return _json(body)
    return _json(body, status=202, headers={"Location": str(request.url)})


async def get_log(platform: Platform, _request: web.Request, match: Match) -> web.Response:
    """GET /api/deployments/{id}/log, and /log/{entry}: one entry a line."""
    record = await asyncio.to_thread(_look_up, platform, match["id"])
    lines = await asyncio.to_thread(platform.deliveries.records.log, record.id)
    entries = [_entry(record, number, line) for number, line in enumerate(lines)]
    if "entry" in match:
        entries = [entry for entry in entries if entry["id"] == match["entry"]]
        if not entries:
            raise NotFoundError(f"deployment {record.id} has no log entry {match['entry']!r}")
    return _json(entries)


async def redeploy(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """PUT /api/deployments/{id}: make an earlier deployment serve again."""
    record = await asyncio.to_thread(_look_up, platform, match.get("id") or LATEST)
    deployment = await find_live(platform, record.id)
    agent = request.headers.get("User-Agent", "")
    done = await platform.deliveries.roll_back(deployment, agent or "api")
    if done.status is not DeliveryStatus.SUCCESS:
        raise ConflictError("; ".join(done.told))
    return _json(shape(platform, request, done, done.id))


async def delete_deployment(
    platform: Platform, _request: web.Request, match: Match
) -> web.Response:
    """DELETE /api/deployments/{id}: forget a record and its log; not that of what serves."""
    records = await asyncio.to_thread(lambda: list(platform.deliveries.records.all()))
    record = _find(records, match["id"])
    if record.id == _active(records) or not record.is_complete:
        raise ConflictError(f"deployment {record.id} serves or is under way: it cannot be deleted")
    await asyncio.to_thread(platform.deliveries.records.forget, record.id)
    return web.Response(status=204)


def shape(
    platform: Platform, request: web.Request, record: DeliveryRecord, active: str
) -> dict[str, Any]:
    """Return a deployment as Kudu tells it."""
    url = f"{Base.of(request).url}/api/deployments/{record.id}"
    failed = record.status is DeliveryStatus.FAILED
    succeeded = record.status is DeliveryStatus.SUCCESS
    return {
        "id": record.commit or record.id,
        "status": record.status.value,
        "status_text": "; ".join(record.told) if failed else _TEXTS.get(record.status, ""),
        "author_email": record.author_email or "N/A",
        "author": record.author or "N/A",
        "deployer": record.deployer,
        "message": record.message,
        "progress": "" if record.is_complete else _TEXTS[record.status],
        "received_time": _time(record.received_at),
        "start_time": _time(record.started_at),
        "end_time": _time(record.ended_at),
        "last_success_end_time": _time(record.ended_at) if succeeded else None,
        "complete": record.is_complete,
        "active": record.id == active,
        "is_temp": False,
        "is_readonly": record.kind is not SourceKind.GIT,
        "url": url,
        "log_url": f"{url}/log",
        "site_name": platform.site.name,
    }


def _active(records: list[DeliveryRecord]) -> str:
    """Return the id of the newest deployment that came to serve."""
    served = (record.id for record in records if record.status is DeliveryStatus.SUCCESS)
    return next(served, "")


def _look_up(platform: Platform, wanted: str) -> DeliveryRecord:
    return _find(list(platform.deliveries.records.all()), wanted)


def _find(records: list[DeliveryRecord], wanted: str) -> DeliveryRecord:
    """Return a record by its id, by the commit that was pushed, or the newest."""
    if wanted.lower() == LATEST and records:
        return records[0]
    wanted = wanted.lower()
    for record in records:
        if wanted == record.id or (record.commit and wanted == record.commit):
            return record
    raise NotFoundError(f"there is no deployment {wanted!r}; GET /api/deployments lists them")


def _entry(record: DeliveryRecord, number: int, line: LogLine) -> dict[str, Any]:
    return {
        "log_time": _time(line.at),
        "id": f"{record.id}-{number}",
        "message": line.text,
        "type": line.level,
        "details_url": None,
    }


def _time(instant: datetime | None) -> str | None:
    return instant.isoformat().replace("+00:00", "Z") if instant else None


def _json(
    value: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    text = to_json(value)
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
