"""/v1/deployments: what was deployed when, why one was refused, deploy now, and go back."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from gateway.native.problems import problem_shape
from gateway.native.route import MAX_PAGE, Param, Route, answer, integer, iso
from gateway.platform import Platform
from scheduler.deployment import Deployment, DeploymentState
from scheduler.errors import ConflictError, NotFoundError

_LEVELS = ("info", "warning", "error")


def deployment_shape(deployment: Deployment) -> dict[str, Any]:
    """Return a deployment as JSON."""
    return {
        "id": deployment.id,
        "state": deployment.state.value,
        "reason": deployment.reason,
        "digest": deployment.digest,
        "generation": deployment.generation,
        "started_at": iso(deployment.started_at),
        "ended_at": iso(deployment.ended_at),
        "problems": [problem_shape(problem) for problem in deployment.problems],
        "added": list(deployment.added),
        "changed": list(deployment.changed),
        "removed": list(deployment.removed),
    }


async def list_deployments(platform: Platform, request: web.Request) -> web.Response:
    """Answer GET /v1/deployments, newest first."""
    limit = integer(request, "limit", default=20, low=1, high=MAX_PAGE)
    page = await platform.store.deployments(limit, request.query.get("cursor"))
    items = [deployment_shape(deployment) for deployment in page.items]
    return answer({"items": items, "cursor": page.cursor})


async def get_deployment(platform: Platform, request: web.Request) -> web.Response:
    """Answer GET /v1/deployments/{id}."""
    return answer(deployment_shape(await _look_up(platform, request.match_info["id"])))


async def _look_up(platform: Platform, wanted: str) -> Deployment:
    deployment = await platform.store.get_deployment(wanted)
    if deployment is None:
        raise NotFoundError(
            f"there is no deployment {wanted!r}; it may have been pruned",
            hint="list them: taak deployments, or GET /v1/deployments",
        )
    return deployment


async def get_log(platform: Platform, request: web.Request) -> web.StreamResponse:
    """Answer GET /v1/deployments/{id}/log: what the build and the deployment have said."""
    wanted = request.match_info["id"]
    after = integer(request, "after", default=0, low=0, high=2**31)
    record = platform.deliveries.records.read(wanted)
    if record is None:  # what was saved has no log
        deployment = await _look_up(platform, wanted)
        facts = {"state": deployment.state.value, "complete": True, "build_failed": False}
        return answer({"items": [], **facts})
    lines = await asyncio.to_thread(platform.deliveries.records.log, wanted)
    items = [
        {"at": iso(line.at), "level": _LEVELS[line.level], "text": line.text}
        for line in lines[after:]
    ]
    facts = {
        "state": record.status.name.lower(),
        "complete": record.is_complete,
        "build_failed": record.build_failed,
    }
    return answer({"items": items, **facts})


async def roll_back(platform: Platform, request: web.Request) -> web.Response:
    """Answer POST /v1/deployments/{id}/rollback: serve what that deployment served."""
    deployment = await find_live(platform, request.match_info["id"])
    agent = request.headers.get("User-Agent", "")
    record = await platform.deliveries.roll_back(deployment, f"rollback ({agent})")
    found = await platform.store.get_deployment(record.id)
    if found is None:
        raise NotFoundError(f"the deployment {record.id} is not recorded; is the disk full?")
    return answer(deployment_shape(found))


async def find_live(platform: Platform, wanted: str) -> Deployment:
    """Return a deployment that has served; "previous" is the one before what serves now."""
    if wanted == "previous":
        return await _previous(platform)
    deployment = await _look_up(platform, wanted)
    if deployment.state is not DeploymentState.LIVE:
        raise ConflictError(f"deployment {wanted} was {deployment.state.value}: it never served")
    return deployment


async def _previous(platform: Platform) -> Deployment:
    serving = platform.catalog.definition.digest
    cursor: str | None = None
    while True:
        page = await platform.store.deployments(MAX_PAGE, cursor)
        for one in page.items:
            if one.state is DeploymentState.LIVE and one.digest != serving:
                return one
        cursor = page.cursor
        if cursor is None:
            raise NotFoundError(
                "nothing else has served before what serves now",
                hint="list them: taak deployments",
            )


async def reconcile(platform: Platform, _request: web.Request) -> web.Response:
    """Answer POST /v1/deployments:reconcile: compare the site with what runs, deploy now."""
    return answer(deployment_shape(await platform.deployments.reconcile("requested")))


ROUTES = (
    Route(
        method="GET",
        path="/v1/deployments/{id}/log",
        call=get_log,
        summary="The log of a deployment that was pushed, uploaded or rolled back",
        answer="DeploymentLog",
        query=(Param("after", {"type": "integer", "minimum": 0}, "lines that are known; 0"),),
    ),
    Route(
        method="POST",
        path="/v1/deployments/{id}/rollback",
        call=roll_back,
        summary='Serve what that deployment served; "previous" is the one before what serves now',
        answer="Deployment",
    ),
    Route(
        method="GET",
        path="/v1/deployments",
        call=list_deployments,
        summary="Deployments, newest first",
        answer="DeploymentPage",
        query=(
            Param("limit", {"type": "integer", "minimum": 1, "maximum": MAX_PAGE}, "rows; 20"),
            Param("cursor", {"type": "string"}, "where the page starts: `cursor` before"),
        ),
    ),
    Route(
        method="GET",
        path="/v1/deployments/{id}",
        call=get_deployment,
        summary="One deployment with its problems",
        answer="Deployment",
    ),
    Route(
        method="POST",
        path="/v1/deployments:reconcile",
        call=reconcile,
        summary="Compare the site with what runs and deploy what differs",
        answer="Deployment",
    ),
)
