"""The developer's end of a tunnel: a port of this machine, each connection a WebSocket.

The port stays while the job's process comes and goes: a connection ends with the process that it
led to, and the next one finds the next process. aiohttp is loaded here only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

from gateway.auth import DEBUG_TOKEN_HEADER
from gateway.cli.exits import CliError, ExitCode
from gateway.tunnel import HEARTBEAT_S, MAX_MESSAGE, carry

#: A job that is being started is waited for by the platform; this is longer.
_CONNECT_S = 60.0
#: Others may end debugging, or prolong it.
_LOOK_S = 5.0

NewToken = Callable[[], str]


class Tunnel:
    """Listens on the loopback and carries to one job's debugger.

    Args:
        url: of the tunnel, http or https.
        new_token: asks the platform for a one-time token; CliError when debugging is over.
        tell: says a line to the developer.
    """

    def __init__(self, url: str, new_token: NewToken, tell: Callable[[str], None]) -> None:
        self._url = url
        self._new_token = new_token
        self._tell = tell
        self._over: asyncio.Event

    async def serve(
        self, port: int, ready: Callable[[int], None], ended: Callable[[], float]
    ) -> None:
        """Carry until debugging is over.

        Args:
            port: to listen at; 0 picks a free one.
            ready: is called with the port.
            ended: asks the platform how many seconds are left; 0 when debugging is over.

        Raises:
            CliError: the port is taken.
        """
        self._over = asyncio.Event()
        try:
            server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        except OSError as error:
            text = f"cannot listen at 127.0.0.1:{port}: {error.strerror}"
            hint = "give another --port, or none for any free one"
            raise CliError(text, ExitCode.CONFLICT, hint=hint) from error
        async with server:
            ready(server.sockets[0].getsockname()[1])
            while (left := await asyncio.to_thread(ended)) > 0 and not self._over.is_set():
                try:
                    async with asyncio.timeout(min(left, _LOOK_S)):
                        await self._over.wait()
                except TimeoutError:
                    continue

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            token = await asyncio.to_thread(self._new_token)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S)
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.ws_connect(
                    self._url,
                    headers={DEBUG_TOKEN_HEADER: token},
                    max_msg_size=MAX_MESSAGE,
                    heartbeat=HEARTBEAT_S,
                    compress=0,
                ) as socket,
            ):
                await carry(socket, reader, writer)
        except CliError as error:
            self._tell(f"no connection: {error.message}")
            if error.code in {ExitCode.CONFLICT, ExitCode.NOT_FOUND}:
                self._over.set()
        except (aiohttp.ClientError, OSError) as error:
            self._tell(f"no connection: {error}")
        finally:
            writer.close()
