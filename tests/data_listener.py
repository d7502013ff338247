"""The data listener on a free port, on either of its ways; its dispatcher answers by hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiohttp import web

from gateway.connections import Connections
from gateway.fast_lane import FastLanes
from gateway.front_desk import FrontDesk
from gateway.http_limits import HttpLimits
from gateway.http_trigger import DataListener
from gateway.keys import KeyStore
from gateway.listener import Listener as Door
from gateway.metrics import Metrics
from gateway.opening import Opening
from scheduler.events import Ending, HttpEvent, HttpReply, Outcome
from scheduler.functions import (
    AuthLevel,
    Bundle,
    BundleKind,
    Function,
    HostSettings,
    HttpTrigger,
    Limits,
)
from scheduler.http_template import HttpTemplate

MASTER = "master-key-0123456789-0123456789-0123456789"
BUNDLE = Bundle("app", BundleKind.APP, "d", Path("/"))
OK = Outcome(Ending.SUCCEEDED, HttpReply(200, (("X-A", "b"),), b"done"))
TIMEOUT_S = 5.0


def function(name: str, level: AuthLevel = AuthLevel.ANONYMOUS, **more: Any) -> Function:
    """Return an HTTP function whose route is its name."""
    return Function(
        name=name,
        bundle=BUNDLE,
        directory=name,
        script_file="",
        entry_point="main",
        trigger=HttpTrigger(more.pop("route", name), more.pop("methods", None), level),
        trigger_name="req",
        bindings=(),
        limits=Limits(),
        **more,
    )


class FakeDispatcher:
    """Keeps events and answers what the test says, at once or when it says so."""

    def __init__(self) -> None:
        self.events: list[HttpEvent] = []
        self.functions: list[str] = []
        self.outcome: Outcome | Exception | Callable[[HttpEvent], Outcome] = OK
        self.held: list[Callable[[], None]] | None = None
        self.failures: list[str] = []
        self.logs = SimpleNamespace(failure=lambda *texts: self.failures.append(texts[2]))

    def dispatch_http(
        self, called: Function, template: HttpTemplate, content: bytes, on_outcome: Any, _body: Any
    ) -> None:
        event = template.event._replace(body=content)
        self.events.append(event)
        self.functions.append(called.name)
        outcome = self.outcome
        if isinstance(outcome, Exception):
            raise outcome
        made = outcome(event) if callable(outcome) else outcome
        if self.held is None:
            on_outcome(made)
        else:
            self.held.append(lambda: on_outcome(made))


class Listener:
    """A listener on a free port, and clients of it."""

    def __init__(
        self,
        port: int,
        dispatcher: FakeDispatcher,
        desk: FrontDesk,
        connections: Connections,
        facts: Any,
    ) -> None:
        self.port = port
        self.dispatcher = dispatcher
        self.desk = desk
        self.connections = connections
        self.facts = facts

    async def exchange(self, *parts: bytes | str, eof_s: float = TIMEOUT_S) -> bytes:
        """Send the parts with a loop turn between them and return all until the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part.encode("latin-1") if isinstance(part, str) else part)
                await writer.drain()
                await asyncio.sleep(0.01)
            return await asyncio.wait_for(reader.read(), eof_s)
        finally:
            writer.close()

    @property
    def refusals(self) -> dict[str, int]:
        """Return what was refused, by reason."""
        return {reason: n for (_, reason), n in self.desk._metrics.refusals.items()}

    async def get(self, target: str, *headers: str, method: str = "GET", body: str = "") -> Answer:
        """Make one call on a connection of its own."""
        length = [f"Content-Length: {len(body)}"] if body else []
        head = [f"{method} {target} HTTP/1.1", "Host: h:1", "Connection: close", *headers, *length]
        return Answer(await self.exchange("\r\n".join(head) + "\r\n\r\n" + body))


class Answer:
    """One response, taken apart."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        self.raw = raw
        self.status = int(first.split()[1]) if first else 0
        self.headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in rest)}


@asynccontextmanager
async def running(
    tmp_path: Path,
    *,
    lane: bool,
    limits: HttpLimits | None = None,
    opening: Opening | None = None,
    most: int = 1000,
    body_limit: int = 1000,
    **host: Any,
) -> AsyncIterator[Listener]:
    """Run a listener with a few functions."""
    settings = {"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": str(body_limit)}
    facts = SimpleNamespace(not_ready=[])
    functions = (
        function("open"),
        function("keyed", AuthLevel.FUNCTION),
        function("admin_only", AuthLevel.ADMIN),
        function("off", disabled="a setting says so"),
        function("files", route="files/{*rest}"),
    )
    catalog = SimpleNamespace(
        definition=SimpleNamespace(
            host=HostSettings(settings=settings, custom_headers={"X-Site": "s"}, **host)
        ),
        functions=lambda: functions,
        subscribe=lambda _: None,
    )
    dispatcher = FakeDispatcher()
    platform: Any = SimpleNamespace(
        catalog=catalog,
        dispatcher=dispatcher,
        keys=KeyStore(tmp_path, master=MASTER),
        metrics=Metrics(),
        ready=lambda: facts.not_ready,
    )
    desk = FrontDesk(platform, opening)

    async def admin(request: web.BaseRequest) -> web.Response:
        return web.Response(text=f"admin {request.path}")

    limits = limits or HttpLimits()
    general = DataListener(desk, web.Server(admin), limits)
    lanes = FastLanes(desk, general.connection, limits)
    connections = Connections("data", platform.metrics, most=most, limits=limits)
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    async with asyncio.TaskGroup() as group:
        protocol = lanes if lane else general.connection
        door = Door(sock, connections, protocol, group.create_task)
        door.open()
        watch = group.create_task(connections.serve())
        try:
            yield Listener(port, dispatcher, desk, connections, facts)
        finally:
            watch.cancel()
            door.close()
            lanes.close()
            general.server.pre_shutdown()
            await general.server.shutdown(2 * TIMEOUT_S)
            async with asyncio.timeout(TIMEOUT_S):
                while connections.open:  # every connection gives its place back
                    await asyncio.sleep(0.005)
