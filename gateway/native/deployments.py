"""/v1/deployments: what was deployed when, why one was refused, and deploy now."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.native.problems import problem_shape
from gateway.native.route import MAX_PAGE, Param, Route, answer, integer, iso
from gateway.platform import Platform
from scheduler.deployment import Deployment
from scheduler.errors import NotFoundError


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
    wanted = request.match_info["id"]
    deployment = await platform.store.get_deployment(wanted)
    if deployment is None:
        raise NotFoundError(
            f"there is no deployment {wanted!r}; it may have been pruned",
            hint="list them: taak deployments, or GET /v1/deployments",
        )
    return answer(deployment_shape(deployment))


async def reconcile(platform: Platform, _request: web.Request) -> web.Response:
    """Answer POST /v1/deployments:reconcile: compare the site with what runs, deploy now."""
    return answer(deployment_shape(await platform.deployments.reconcile("requested")))


ROUTES = (
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
