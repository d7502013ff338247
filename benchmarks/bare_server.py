"""The yardstick: a bare aiohttp Application on uvloop, access log off, five bytes of answer.

Prints its URL when it listens, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web


async def hello(_request: web.Request) -> web.Response:
    """Answer the five bytes."""
    return web.Response(text="hello")


async def main() -> None:
    """Serve until the parent closes the pipe."""
    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    print(f"http://{host}:{port}/", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main())
