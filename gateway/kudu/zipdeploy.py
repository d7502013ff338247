"""POST /api/zipdeploy: the app as a zip archive (webjobs.md 7).

What the archive has replaces what the last deployment brought; files that no deployment brought
stay. With `?isAsync=true` the answer comes at once, and where to ask how it goes.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from aiohttp import web

from gateway.folded_routes import Match
from gateway.kudu.archive import unpack
from gateway.kudu.body import receive_file
from gateway.kudu.shapes import Base
from gateway.platform import Platform
from scheduler.errors import BadRequestError, ConflictError
from scheduler.source.deliveries import IN_PROGRESS
from scheduler.source.delivery_log import DeliveryLog
from scheduler.source.record import DeliveryStatus, SourceKind
from scheduler.source.under_way import Arrival, UnderWay

#: Kudu's own words for who says nothing.
DEPLOYER = "Push-Deployer"
MESSAGE = "Created via a push deployment"
_MAX_TEXT = 1000


async def zip_deploy(platform: Platform, request: web.Request, _match: Match) -> web.Response:
    """Deploy the archive in the body: 200, or 202 with a Location; 400 with the reasons."""
    if request.content_type.lower() == "application/json":
        raise BadRequestError(
            "a packageUri is not fetched by this platform: send the zip archive itself as the body"
        )
    if platform.deliveries.current is not None:
        raise ConflictError(IN_PROGRESS)
    archive = platform.home / "tmp" / f"zipdeploy-{secrets.token_hex(8)}.zip"
    try:
        await receive_file(request, archive, scratch=archive.parent)
        under_way = platform.deliveries.begin(_arrival(request))
    except BaseException:
        archive.unlink(missing_ok=True)
        raise
    headers = {"SCM-DEPLOYMENT-ID": under_way.record.id}
    wants_now = request.query.get("isAsync") or request.query.get("async") or ""
    if wants_now.lower() in {"true", "1"}:
        platform.spawn(_carry_out(platform, under_way, archive))
        headers["Location"] = f"{Base.of(request).url}/api/deployments/latest"
        return web.Response(status=202, headers=headers)
    await _carry_out(platform, under_way, archive)
    record = under_way.record
    if record.status is DeliveryStatus.SUCCESS:
        return web.Response(headers=headers)
    told = "\n".join(record.told)
    text = f"Deployment {record.id} failed; the last good release goes on serving.\n{told}\n"
    return web.Response(status=400, text=text, headers=headers)


async def publish(platform: Platform, request: web.Request, match: Match) -> web.Response:
    """POST /api/publish?type=zip: the same under the name that newer clients use."""
    kind = request.query.get("type", "")
    if kind.lower() != "zip":
        raise BadRequestError(f"type={kind!r}: only type=zip is published here")
    return await zip_deploy(platform, request, match)


async def _carry_out(platform: Platform, under_way: UnderWay, archive: Path) -> None:
    async def fill(tree: Path, log: DeliveryLog) -> None:
        log.say("Unpacking the archive ...")
        await asyncio.to_thread(unpack, archive, tree)

    try:
        build = platform.deliveries.builds(by_default=False)
        await platform.deliveries.carry_out(under_way, fill, build=build)
    finally:
        await asyncio.to_thread(archive.unlink, missing_ok=True)


def _arrival(request: web.Request) -> Arrival:
    said = {name.lower(): value[:_MAX_TEXT] for name, value in request.query.items()}
    message = said.get("message") or MESSAGE
    return Arrival(
        kind=SourceKind.ZIP,
        reason=f"zip deployment: {message}"[:200],
        author=said.get("author", ""),
        author_email=said.get("authoremail", "") or said.get("author_email", ""),
        deployer=said.get("deployer") or DEPLOYER,
        message=message,
    )
