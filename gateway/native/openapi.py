"""The OpenAPI 3.1 document of /v1, made from the route tables: it cannot forget a route."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from aiohttp import web

from gateway.native import (
    debug,
    deployments,
    doctor,
    functions,
    jobs,
    keys,
    runs,
    schedules,
    status,
)
from gateway.native.route import PATH_NAME, Route, Schema, answer
from gateway.native.schemas import SCHEMAS
from gateway.platform import Platform

_PATH_SCHEMAS: dict[str, Schema] = {
    "kind": {"type": "string", "enum": ["triggered", "continuous"]},
    "id": {"type": "string"},
    "name": {"type": "string"},
}
_ABOUT = (
    "The native API of a Taak platform. Pages are keyset pages: give the `cursor` of one as"
    " `cursor` of the next request; null is the end. Failures are RFC 9457 problem documents with"
    " a stable `code` and a `hint`. Names compare without case."
)


async def openapi_page(platform: Platform, _request: web.Request) -> web.Response:
    """Answer GET /v1/openapi.json."""
    return answer(document(ROUTES, version=platform.version))


def document(routes: Iterable[Route], *, version: str) -> dict[str, Any]:
    """Return the document of these routes."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Taak", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"key": []}, {"bearer": []}, {"basic": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{route.call.__name__}_{_slug(route)}",
        "tags": [route.path.split("/")[2].partition(":")[0]],
        "summary": route.summary,
        "parameters": _parameters(route),
        "responses": {
            str(route.status): {"description": route.summary, "content": _content(route)},
            "default": {
                "description": "A problem",
                "content": {"application/problem+json": {"schema": _ref("Problem")}},
            },
        },
    }
    if route.body:
        content = {"application/json": {"schema": _ref(route.body)}}
        operation["requestBody"] = {"required": False, "content": content}
    return operation


def _slug(route: Route) -> str:
    words = PATH_NAME.sub(r"\1", route.path.removeprefix("/v1/"))
    return f"{route.method.lower()}_{words}".translate(str.maketrans("/:.", "___"))


def _parameters(route: Route) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[name]}
        for name in PATH_NAME.findall(route.path)
    ]
    in_query = [
        {
            "name": param.name,
            "in": "query",
            "required": False,
            "description": param.description,
            "schema": param.schema,
        }
        for param in route.query
    ]
    return in_path + in_query


def _content(route: Route) -> dict[str, Any]:
    return {
        media: {"schema": _ref(route.answer)}
        if route.answer and media == "application/json"
        else {"schema": {"type": "string"}}
        for media in route.media
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


#: Every route of /v1.
ROUTES: tuple[Route, ...] = (
    *status.ROUTES,
    *functions.ROUTES,
    *jobs.ROUTES,
    *debug.ROUTES,
    *runs.ROUTES,
    *deployments.ROUTES,
    *schedules.ROUTES,
    *doctor.ROUTES,
    *keys.ROUTES,
    Route(
        method="GET",
        path="/v1/openapi.json",
        call=openapi_page,
        summary="This document",
        answer="OpenApi",
    ),
)
