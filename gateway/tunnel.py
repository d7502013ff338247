"""Bytes of one TCP connection over one WebSocket, in both directions, until either end closes.

The same on the platform's side and on the developer's. One message is some bytes; where they are
cut means nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp
from aiohttp import web

#: Bytes of one message at most; both sides refuse longer ones.
MAX_MESSAGE = 1 << 20
_READ = 1 << 16
#: A peer that is gone without a word is noticed after half as long again.
HEARTBEAT_S = 20.0

WebSocket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


async def carry(
    socket: WebSocket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry both ways; both connections are closed afterwards. Never raises but CancelledError."""
    try:
        async with asyncio.TaskGroup() as group:
            ways = [group.create_task(_out(reader, socket)), group.create_task(_in(socket, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
    finally:
        writer.close()
        with suppress(ConnectionError, aiohttp.ClientError):
            await socket.close()


async def _out(reader: asyncio.StreamReader, socket: WebSocket) -> None:
    with suppress(ConnectionError, aiohttp.ClientError):
        while data := await reader.read(_READ):
            await socket.send_bytes(data)


async def _in(socket: WebSocket, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, aiohttp.ClientError):
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY:
                return
            writer.write(message.data)
            await writer.drain()
