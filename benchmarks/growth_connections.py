"""1 to 5,000 open connections: all of them busy, and all of them silent.

Beside it, in turn, the bare aiohttp handler with as many.
"""

from __future__ import annotations

import resource
import socket
import statistics
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

from figure import Figure, median_ratio
from findings import Findings
from load import Target
from memory import rss
from scene import bare_server, function_key, http_function, platform_on, running, workshop
from subject import Seen, Subject, visit_all

_SECONDS = 3  # wrk's first second goes into connecting
_KIB = 1 << 10
_SPARE_FILES = 200


def measure(findings: Findings) -> None:
    """Measure at 1, 64, 1,000 and 5,000 connections."""
    sizes: tuple[int, ...] = (1, 64, 500) if findings.quick else (1, 64, 1000, 5000)
    possible = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES
    if sizes[-1] > possible:
        findings.remark("connections", f"the limit of open files allows {possible} connections")
        sizes = tuple(size for size in sizes if size <= possible)
    rounds = 1 if findings.quick else 3
    with workshop() as folder, bare_server() as bare:
        # By default a function refuses the 1,001st call that waits (429): here all 5,000 may wait.
        http_function(folder / "site", "hello", level="function", limits={"queue_depth": 10_000})
        with platform_on(folder) as platform:
            key = function_key(folder / "home")
            ours = running(platform, "hello")
            subjects = [Subject(s.name, s.pid, Target(s.url, key)) for s in (bare, ours)]
            # First: what a load leaves behind would serve the silent ones for nothing.
            findings.add([_silent(subject, key, sizes[-1]) for subject in subjects])
            first: dict[str, Seen] = {}
            for size in sizes:
                seen = visit_all(subjects, size, rounds, seconds=_SECONDS)
                if size == 64:
                    first = dict(seen)
                for name in ("taak", "bare"):
                    findings.add(_figures(size, name, seen[name], first.get(name)))
                ratio = median_ratio(seen["taak"].rates(), seen["bare"].rates())
                name = f"growth.connections.{size}.of_bare"
                findings.add([Figure(name, ratio, "x bare", "higher")])


def _figures(size: int, name: str, seen: Seen, first: Seen | None) -> list[Figure]:
    rate, p50, p99, cpu = (
        statistics.median(values)
        for values in (seen.rates(), seen.p50s(), seen.p99s(), seen.cpu_us)
    )
    errors = sum(load.errors for load in seen.loads)
    prefix = f"growth.connections.{size}.{name}"
    note = f"p50 {p50 / 1e3:.1f} ms, p99 {p99 / 1e3:.1f} ms, {errors} errors"
    figures = [
        Figure(prefix, rate, "req/s", "higher", note),
        Figure(f"{prefix}_p50", p50 / 1e3, "ms", "lower", detail=True),
        Figure(f"{prefix}_p99", p99 / 1e3, "ms", "lower", detail=True),
        Figure(f"{prefix}_cpu", cpu, "us/req", "lower", detail=True),
        Figure(f"{prefix}_errors", errors, "errors", "lower", detail=True),
    ]
    if first is not None:
        ratio = median_ratio(seen.rates(), first.rates())
        figures.append(Figure(f"{prefix}_of_64", ratio, "x 64", "higher", detail=True))
    return figures


def _silent(subject: Subject, headers: dict[str, str], count: int) -> Figure:
    """Open connections that have been answered once and then keep silent."""
    base = urlsplit(subject.target.url)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"GET {base.path} HTTP/1.1\r\nHost: here\r\n{lines}\r\n".encode()
    before = rss(subject.pid)
    with ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(
                socket.create_connection((base.hostname or "", base.port or 0), timeout=10)
            )
            client.sendall(request)
            answer = client.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200"), answer
        time.sleep(0.5)
        grown = rss(subject.pid) - before
    name = f"memory.connection.{subject.name}"
    return Figure(name, grown / count / _KIB, "KiB", "lower", f"RSS, of {count} silent ones")
