"""The yardstick: a bare aiohttp Application on uvloop, access log off, five bytes of answer.

    python benchmarks/bare_server.py PORT

`/` answers without looking at a body, `/echo` gives it back.
"""

from __future__ import annotations

import sys

import uvloop
from aiohttp import web

_MAX_BODY = 100 << 20


async def hello(_request: web.Request) -> web.Response:
    """Answer the five bytes."""
    return web.Response(text="hello")


async def echo(request: web.Request) -> web.Response:
    """Answer the body."""
    return web.Response(body=await request.read())


def main() -> None:
    """Serve until a signal ends it."""
    uvloop.install()
    app = web.Application(client_max_size=_MAX_BODY)
    app.router.add_route("*", "/", hello)
    app.router.add_post("/echo", echo)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
