"""ARM mode: what Kudu answers when the portal or the Azure CLI asks through the resource manager.

The header `x-ms-geo-location` says that it does; objects are then wrapped in an envelope whose id
is the path that the resource manager was asked for (webjobs.md 6.1). Pure but for the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

HEADER = "x-ms-geo-location"
_PROVIDER = "microsoft.web"


def is_asked(request: web.BaseRequest) -> bool:
    """Tell whether the request came through the resource manager."""
    return HEADER in request.headers


def one(request: web.BaseRequest, shape: dict[str, Any]) -> dict[str, Any]:
    """Return an object as the request wants it."""
    return _envelope(request, _own_id(request), shape) if is_asked(request) else shape


def many(request: web.BaseRequest, shapes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the envelope of a list; each object in it is wrapped, its name ends its id."""
    base = _own_id(request).rstrip("/")
    return {
        "value": [_envelope(request, f"{base}/{shape['name']}", shape) for shape in shapes],
    }


def _envelope(request: web.BaseRequest, own_id: str, shape: dict[str, Any]) -> dict[str, Any]:
    kind, name = _kind_and_name(own_id)
    return {
        "id": own_id,
        "name": name,
        "type": kind,
        "location": request.headers[HEADER],
        "properties": shape,
    }


def _own_id(request: web.BaseRequest) -> str:
    return urlsplit(request.headers.get("Referer", "")).path or request.path


def _kind_and_name(own_id: str) -> tuple[str | None, str | None]:
    """Return `Microsoft.Web/sites/triggeredwebjobs` and `site/job` of a path with both."""
    tokens = own_id.strip("/").split("/")
    folded = [token.casefold() for token in tokens]
    if _PROVIDER not in folded:
        return None, None
    at = folded.index(_PROVIDER)
    kinds, names = tokens[at + 1 :: 2], tokens[at + 2 :: 2]
    return "/".join([tokens[at], *kinds]), "/".join(names) or None
