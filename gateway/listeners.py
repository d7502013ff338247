"""Both listeners of the platform: put together, opened, and closed in order.

Data: the fast lane in front of aiohttp's general path, with the Functions admin API beside the
functions. Management: aiohttp alone. It knows nothing of what runs behind them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from aiohttp import web

from gateway import descriptors
from gateway.admin import admin_app
from gateway.config import Config
from gateway.connections import Connections, Visit
from gateway.fast_lane import FastLanes
from gateway.front_desk import FrontDesk
from gateway.http_connection import HttpConnection
from gateway.http_limits import HttpLimits
from gateway.http_trigger import DataListener
from gateway.listener import Listener, Spawn
from gateway.management import management_app
from gateway.opening import Opening
from gateway.platform import Platform

_CLOSE_S = 5.0  # for answers that are being written


class Listeners:
    """The data and the management listener of one platform."""

    def __init__(self, config: Config, platform: Platform, spawn: Spawn, descriptors: int) -> None:
        """Prepare them.

        Args:
            config: the settings.
            platform: what they reach.
            spawn: runs short coroutines in the owner's task group.
            descriptors: how many files this process may have open.
        """
        self._config = config
        self._platform = platform
        self._spawn = spawn
        self._descriptors = descriptors
        self._opening = Opening()
        self._runners: list[web.BaseRunner] = []
        self._open: list[Listener] = []
        self._lanes: FastLanes | None = None

    async def open(
        self, data: socket.socket, management: socket.socket
    ) -> tuple[Connections, Connections]:
        """Accept on both sockets; return their connections, which the owner lets serve."""
        config, platform = self._config, self._platform
        limits = HttpLimits(
            head_s=config.header_timeout_s,
            idle_s=config.idle_timeout_s,
            body_s=config.body_timeout_s,
        )
        most, most_management = descriptors.share(
            self._descriptors, config.max_connections, config.max_management_connections
        )
        admin = web.AppRunner(admin_app(platform), access_log=None)
        await admin.setup()
        assert admin.server is not None
        desk = FrontDesk(platform, self._opening)
        general = DataListener(desk, admin.server, limits)
        front = web.ServerRunner(general.server, shutdown_timeout=_CLOSE_S)
        back = web.AppRunner(management_app(platform), access_log=None, shutdown_timeout=_CLOSE_S)
        self._runners = [front, back, admin]
        await front.setup()
        await back.setup()
        assert back.server is not None
        made = partial(
            Connections,
            metrics=platform.metrics,
            most_per_address=config.max_connections_per_address,
            limits=limits,
        )
        if config.fast_lane:
            self._lanes = FastLanes(desk, general.connection, limits)
        outside = made("data", most=most)
        self._listen(data, outside, self._lanes or general.connection)
        inside = made("management", most=most_management, option="--max-management-connections")
        self._listen(management, inside, partial(HttpConnection, back.server, limits=limits))
        return outside, inside

    def ready(self) -> None:
        """Serve the calls that came while the platform started."""
        self._opening.end()

    async def close(self) -> None:
        """End all connections: idle ones now, the others after their answers."""
        self._opening.end()
        for listener in self._open:
            listener.close()
        if self._lanes is not None:
            self._lanes.close()
        for runner in self._runners:
            await runner.cleanup()

    def _listen(
        self,
        sock: socket.socket,
        connections: Connections,
        protocol: Callable[[Visit], asyncio.Protocol],
    ) -> None:
        listener = Listener(sock, connections, protocol, self._spawn)
        listener.open()
        self._open.append(listener)
