"""The five bytes as RSGI and as ASGI applications."""

from __future__ import annotations

from typing import Any

_HEADERS = [("content-type", "text/plain")]
_RAW_HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"5")]


async def rsgi(_scope: Any, protocol: Any) -> None:
    """Answer the five bytes."""
    protocol.response_str(200, _HEADERS, "hello")


async def asgi(scope: Any, _receive: Any, send: Any) -> None:
    """Answer the five bytes; a lifespan is none of ours."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": _RAW_HEADERS})
    await send({"type": "http.response.body", "body": b"hello"})
