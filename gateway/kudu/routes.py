"""Kudu's route table with all its old aliases; paths match without case."""

from __future__ import annotations

import json

from aiohttp import web

from gateway.folded_routes import FoldedRoutes
from gateway.kudu import (
    about,
    deployments,
    hooks,
    logstream,
    processes,
    settings,
    upload,
    vfs,
    webjobs,
    zip_folder,
    zipdeploy,
)
from gateway.kudu.messages import with_messages
from gateway.kudu.passthrough import METHODS, passthrough
from gateway.platform import PLATFORM
from gateway.scopes import KIND_ROOTS, LIST_ROOTS


async def kudu_entry(request: web.Request) -> web.StreamResponse:
    """Answer any request whose path is Kudu's."""
    found = ROUTES.find(request.method, request.path)
    if found is None:
        # Kudu: a JSON string that names the path, for an unknown path and a wrong verb alike.
        words = f"No HTTP resource was found that matches the request URI '{request.url}'."
        return web.Response(status=404, text=json.dumps(words), content_type="application/json")
    call, match = found
    return await call(request.app[PLATFORM], request, match)


def _table() -> FoldedRoutes:
    routes = FoldedRoutes()
    for root in LIST_ROOTS:
        routes.add("GET", root, webjobs.list_all)
    routes.add("GET", "/api/triggeredwebjobsswagger", webjobs.swagger_page)
    for root in KIND_ROOTS:
        for kind in ("triggered", "continuous"):
            _add_kind(routes, root, kind)
    _add_neighbours(routes)
    _add_deployments(routes)
    return routes


def _add_deployments(routes: FoldedRoutes) -> None:
    routes.add("POST PUT", "/api/zipdeploy", zipdeploy.zip_deploy)
    routes.add("POST PUT", "/api/publish", zipdeploy.publish)
    routes.add("GET", "/api/deployments", deployments.list_deployments)
    routes.add("PUT", "/api/deployments", deployments.redeploy)
    base = "/api/deployments/{id}"
    routes.add("GET", base, deployments.get_deployment)
    routes.add("PUT", base, deployments.redeploy)
    routes.add("DELETE", base, deployments.delete_deployment)
    routes.add("GET", f"{base}/log", deployments.get_log)
    routes.add("GET", f"{base}/log/{{entry}}", deployments.get_log)


def _add_neighbours(routes: FoldedRoutes) -> None:
    """Add what is beside the jobs, where failures are told as `{"Message": …}`."""
    for root in ("/api/vfs", "/vfs"):
        routes.add("GET HEAD", f"{root}/{{path*}}", with_messages(vfs.get))
        routes.add("PUT", f"{root}/{{path*}}", with_messages(vfs.put))
        routes.add("DELETE", f"{root}/{{path*}}", with_messages(vfs.delete))
        routes.add("GET HEAD", root, with_messages(vfs.root))
    routes.add("GET", "/api/processes", processes.list_all)
    routes.add("GET", "/api/processes/{id}", processes.get)
    routes.add("DELETE", "/api/processes/{id}", processes.delete)
    routes.add("GET", "/api/logstream", logstream.stream)
    routes.add("GET", "/api/logstream/{path*}", logstream.stream)
    routes.add("GET", "/api/hooks", hooks.list_all)
    routes.add("POST", "/api/hooks", with_messages(hooks.subscribe))
    routes.add("POST", "/api/hooks/publish/{event}", with_messages(hooks.publish))
    routes.add("GET", "/api/hooks/{id}", hooks.get)
    routes.add("DELETE", "/api/hooks/{id}", with_messages(hooks.unsubscribe))
    for path in ("/api/environment", "/api/info"):
        routes.add("GET", path, about.environment)
    routes.add("GET", "/api/diagnostics/settings", about.diagnostics)
    routes.add("GET", "/api/diagnostics/settings/{key}", about.diagnostic)
    routes.add("POST", "/api/diagnostics/settings", about.fixed)
    routes.add("DELETE", "/api/diagnostics/settings/{key}", about.fixed)
    routes.add("POST", "/api/command", about.command)
    routes.add("GET", "/api/settings", with_messages(settings.list_all))
    routes.add("POST", "/api/settings", with_messages(settings.post))
    routes.add("GET", "/api/settings/{key}", with_messages(settings.get))
    routes.add("DELETE", "/api/settings/{key}", with_messages(settings.delete))
    routes.add("GET", "/api/zip/{path*}", with_messages(zip_folder.get))
    routes.add("PUT", "/api/zip/{path*}", with_messages(zip_folder.put))


def _add_kind(routes: FoldedRoutes, root: str, kind: str) -> None:
    base = root.replace("{kind}", f"{{kind={kind}}}")
    routes.add("GET", base, webjobs.list_kind)
    routes.add("GET", f"{base}/{{name}}", webjobs.get_job)
    routes.add("PUT", f"{base}/{{name}}", upload.put_job)
    routes.add("DELETE", f"{base}/{{name}}", upload.delete_job)
    routes.add("GET", f"{base}/{{name}}/settings", webjobs.get_settings)
    routes.add("PUT", f"{base}/{{name}}/settings", webjobs.put_settings)
    if kind == "continuous":
        routes.add("POST", f"{base}/{{name}}/start", webjobs.start)
        routes.add("POST", f"{base}/{{name}}/stop", webjobs.stop)
        routes.add(METHODS, f"{base}/{{name}}/passthrough", passthrough)
        routes.add(METHODS, f"{base}/{{name}}/passthrough/{{path*}}", passthrough)
        return
    routes.add("POST", f"{base}/{{name}}/run", webjobs.run_job)
    routes.add("GET", f"{base}/{{name}}/history", webjobs.history)
    routes.add("GET", f"{base}/{{name}}/history/{{id}}", webjobs.history_run)


ROUTES = _table()
