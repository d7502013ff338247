"""A bounded load on one loopback address: wrk if it is installed, else a process of our own.

Our own is there so that a first look needs nothing; it is slower than most servers, so that figures
made with it say little about throughput. The results page is made with wrk only.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from figure import quantile

_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}
_POST = Path(__file__).parent / "post.lua"


@dataclass(frozen=True)
class Target:
    """What is asked for, again and again: a GET, or a POST if there is a body."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body_bytes: int = 0


@dataclass(frozen=True)
class Load:
    """What a load saw. `errors` are answers other than 2xx and broken connections."""

    requests: int
    seconds: float
    p50_us: float
    p99_us: float
    errors: int

    @property
    def per_second(self) -> float:
        """Return the throughput."""
        return self.requests / self.seconds


def must_serve(target: Target) -> None:
    """Ask once, in words: a figure of answers that are all failures is none.

    Raises RuntimeError.
    """
    body = b"x" * target.body_bytes or None
    request = urllib.request.Request(target.url, data=body, headers=dict(target.headers))
    try:
        urllib.request.urlopen(request, timeout=30).close()
    except OSError as error:
        raise RuntimeError(f"{target.url} does not serve: {error}") from error


def generator() -> str:
    """Return what makes the load here."""
    return "wrk" if shutil.which("wrk") else "own load process"


def lacking() -> str:
    """Return what to do for figures that count; empty if nothing."""
    if generator() == "wrk":
        return ""
    return (
        "wrk is not installed (apt-get install wrk): a load process in Python stands in for it, "
        "and is the limit of most figures of throughput"
    )


def put_load(target: Target, connections: int, seconds: int = 1, core: int | None = None) -> Load:
    """Send requests over so many kept connections for so many seconds, from one core if asked."""
    assert urlsplit(target.url).hostname in ("127.0.0.1", "::1", "localhost"), "loopback only"
    with _children_on(core):
        if generator() == "wrk":
            return parse_wrk(_output(_wrk(target, connections, seconds), seconds))
        given = json.dumps({**asdict(target), "connections": connections, "seconds": seconds})
        return Load(**json.loads(_output([sys.executable, __file__, given], seconds)))


def _wrk(target: Target, connections: int, seconds: int) -> list[str]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    for name, value in target.headers.items():
        command += ["-H", f"{name}: {value}"]
    if target.body_bytes:
        return [*command, "-s", str(_POST), target.url, "--", str(target.body_bytes)]
    return [*command, target.url]


def _output(command: list[str], seconds: int) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=True)
    return done.stdout


@contextmanager
def _children_on(core: int | None) -> Iterator[None]:
    """Let what is started meanwhile inherit one core."""
    before = os.sched_getaffinity(0)
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def parse_wrk(text: str) -> Load:
    """Read wrk's report."""
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s|m)\b", text)
    assert total, text
    errors = sum(
        int(n) for n in re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", text)
    )
    return Load(
        requests=int(total[1]),
        seconds=float(total[2]) * _UNITS[total[3]] / 1e6,
        p50_us=_latency(text, "50"),
        p99_us=_latency(text, "99"),
        errors=errors,
    )


def _latency(text: str, percent: str) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)$", text, re.MULTILINE)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0


async def _run(target: Target, connections: int, seconds: float) -> Load:
    spent: list[float] = []
    errors: list[str] = []
    request = _request(target)
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_connection(target, request, start + seconds, spent, errors))
    took = time.perf_counter() - start
    p50, p99 = (quantile(spent or [0.0], part) * 1e6 for part in (0.5, 0.99))
    return Load(len(spent), took, p50, p99, len(errors))


def _request(target: Target) -> bytes:
    base = urlsplit(target.url)
    method = "POST" if target.body_bytes else "GET"
    lines = [f"{method} {base.path or '/'} HTTP/1.1", f"Host: {base.netloc}"]
    lines += [f"{name}: {value}" for name, value in target.headers.items()]
    if target.body_bytes:
        lines.append(f"Content-Length: {target.body_bytes}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + b"x" * target.body_bytes


async def _connection(
    target: Target, request: bytes, end: float, spent: list[float], errors: list[str]
) -> None:
    """Ask again and again over one connection, until the time is over or it breaks."""
    base = urlsplit(target.url)
    reader, writer = await asyncio.open_connection(base.hostname, base.port)
    try:
        while (begin := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            if length:
                await reader.readexactly(int(length[1]))
            spent.append(time.perf_counter() - begin)
            if not head.startswith(b"HTTP/1.1 2"):
                errors.append(head.decode("latin-1"))
    except (OSError, EOFError) as error:
        errors.append(str(error))
    finally:
        writer.close()


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    count, duration = asked.pop("connections"), asked.pop("seconds")
    print(json.dumps(asdict(asyncio.run(_run(Target(**asked), count, duration)))))
