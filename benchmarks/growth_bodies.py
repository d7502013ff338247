"""Bodies from nothing to 64 MiB, echoed: how long, and how much memory at most.

One connection, one call at a time. Beside it, in turn, a bare aiohttp handler that echoes.
"""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

from figure import Figure, median_ratio
from findings import Findings
from guests import WHO, worker
from memory import forget_peak, peak_rss, rss
from scene import bare_server, http_function, platform_on, workshop

_MIB = 1 << 20
_SIZES = (0, 1 << 10, 64 << 10, _MIB, 8 * _MIB, 64 * _MIB)
ECHO = WHO.replace(
    "def main(req):", "def main(req):\n    if req.method == 'POST':\n        return req.get_body()"
)


@dataclass(frozen=True)
class Echo:
    """One connection to a server that gives back what it gets, and who works there."""

    name: str
    client: socket.socket
    path: str
    pids: Mapping[str, int]

    def call(self, body: bytes) -> float:
        """Return how long an echo takes."""
        head = f"POST {self.path} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n"
        start = time.perf_counter()
        self.client.sendall(head.encode())
        self.client.sendall(body)
        size = self._read()
        spent = time.perf_counter() - start
        assert size == len(body), f"{self.name} gave {size} of {len(body)} bytes"
        return spent

    def _read(self) -> int:
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.client.recv(65536)
            assert part, f"{self.name} closed the connection: {data[:200]!r}"
            data += part
        head, _, body = data.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), f"{self.name}: {head!r} {body[:200]!r}"
        length = next(
            int(line.split(b":")[1])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        room = memoryview(bytearray(1 << 20))
        got = len(body)
        while got < length:
            part_size = self.client.recv_into(room)
            assert part_size, f"{self.name} stopped after {got} of {length} bytes"
            got += part_size
        return got


def measure(findings: Findings) -> None:
    """Measure each size."""
    sizes = _SIZES[:-1] if findings.quick else _SIZES
    with ExitStack() as stack:
        folder = stack.enter_context(workshop())
        http_function(folder / "site", "echo", ECHO)
        bare = stack.enter_context(bare_server())
        platform = stack.enter_context(platform_on(folder))
        guest = worker(platform.pid, platform.get("/api/echo").text)
        echoes = [
            Echo("bare", stack.enter_context(_connected(bare.url)), "/echo", {"server": bare.pid}),
            Echo(
                "taak",
                stack.enter_context(_connected(platform.data_url)),
                "/api/echo",
                {"gateway": platform.pid, "worker": guest},
            ),
        ]
        for size in sizes:
            _measure_size(findings, echoes, size)
        _per_mib(findings, sizes[-1])


def _connected(url: str) -> socket.socket:
    base = urlsplit(url)
    client = socket.create_connection((base.hostname or "", base.port or 0), timeout=60)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _measure_size(findings: Findings, echoes: list[Echo], size: int) -> None:
    body = b"x" * size
    rounds = max(3, min(200, (32 * _MIB) // (size + 1)))
    spent: dict[str, list[float]] = {echo.name: [] for echo in echoes}
    rest = {pid: rss(pid) for echo in echoes for pid in echo.pids.values()}
    for pid in rest:
        forget_peak(pid)
    for number in range(rounds + 1):
        for echo in echoes:
            seconds = echo.call(body)
            if number:
                spent[echo.name].append(seconds)
    prefix = f"growth.bodies.{size}"
    ratio = median_ratio(spent["taak"], spent["bare"])
    findings.add(
        [
            *(
                Figure(f"{prefix}.{name}", statistics.median(values) * 1e3, "ms", "lower")
                for name, values in spent.items()
            ),
            Figure(f"{prefix}.of_bare", ratio, "x bare", "lower"),
            *(
                Figure(
                    f"{prefix}.{role}_peak",
                    (peak_rss(pid) - rest[pid]) / _MIB,
                    "MiB",
                    "lower",
                    "peak RSS above what it had before",
                )
                for echo in echoes
                for role, pid in echo.pids.items()
            ),
        ]
    )


def _per_mib(findings: Findings, largest: int) -> None:
    """Compare what a MiB costs in the largest body with one in an eighth of it."""
    for name, key in (("taak", "per_mib_ratio"), ("bare", "bare_per_mib_ratio")):
        whole = findings.value(f"growth.bodies.{largest}.{name}")
        eighth = findings.value(f"growth.bodies.{largest // 8}.{name}")
        if whole and eighth:
            ratio = whole / eighth / 8
            findings.add(
                [Figure(f"growth.bodies.{largest}.{key}", ratio, "x 1/8", "lower", detail=True)]
            )
