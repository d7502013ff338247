"""A bounded load on one loopback address: wrk if it is installed, else a process of our own.

python benchmarks/load.py URL CONNECTIONS SECONDS      prints one JSON line
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from figure import quantile

_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


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


def generator() -> str:
    """Return what makes the load here."""
    return "wrk" if shutil.which("wrk") else "own load process"


def put_load(url: str, connections: int, seconds: int = 1) -> Load:
    """Send GETs over so many kept connections for so many seconds."""
    assert urlsplit(url).hostname in ("127.0.0.1", "::1", "localhost"), "loopback only"
    if generator() == "wrk":
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
        return parse_wrk(_output(command, seconds))
    command = [sys.executable, __file__, url, str(connections), str(seconds)]
    return Load(**json.loads(_output(command, seconds)))


def _output(command: list[str], seconds: int) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True)
    return done.stdout


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


async def _run(url: str, connections: int, seconds: float) -> Load:
    spent: list[float] = []
    errors: list[str] = []
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_connection(url, start + seconds, spent, errors))
    took = time.perf_counter() - start
    p50, p99 = (quantile(spent or [0.0], part) * 1e6 for part in (0.5, 0.99))
    return Load(len(spent), took, p50, p99, len(errors))


async def _connection(url: str, end: float, spent: list[float], errors: list[str]) -> None:
    """Ask again and again over one connection, until the time is over or it breaks."""
    base = urlsplit(url)
    reader, writer = await asyncio.open_connection(base.hostname, base.port)
    request = f"GET {base.path or '/'} HTTP/1.1\r\nHost: {base.netloc}\r\n\r\n".encode()
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
    address, count, duration = sys.argv[1:]
    print(json.dumps(asdict(asyncio.run(_run(address, int(count), float(duration))))))
