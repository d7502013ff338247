"""Warm dispatch: HTTP to an isolated worker and back, against a bare aiohttp handler beside it.

Both servers are up at once and visited in turn, so that what slows one slows the other; the ratio
is the median of the per-round ratios. CPU is that of the whole process tree.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from cpu import tree_seconds
from figure import Figure, median_ratio
from load import Load, generator, put_load
from scene import bare_server, http_function, platform_on, workshop

PLAIN = "def main(req):\n    return 'hello'\n"
COROUTINE = "async def main(req):\n    return 'hello'\n"
AZURE = (
    "import azure.functions as func\n\n\n"
    "def main(req: func.HttpRequest) -> func.HttpResponse:\n"
    "    return func.HttpResponse('hello')\n"
)


@dataclass
class Subject:
    """A server under load, with what was seen of it."""

    name: str
    url: str
    pid: int
    loads: list[Load] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def visit(self, connections: int) -> None:
        """Put one second of load on it."""
        before = tree_seconds(self.pid)
        load = put_load(self.url, connections)
        self.loads.append(load)
        self.cpu_us.append((tree_seconds(self.pid) - before) * 1e6 / max(load.requests, 1))

    def rates(self) -> list[float]:
        """Return the throughput of each round."""
        return [load.per_second for load in self.loads]


def measure(*, quick: bool = False) -> list[Figure]:
    """Measure at 1, 16 and 64 connections."""
    rounds = 2 if quick else 5
    figures: list[Figure] = []
    with workshop() as folder, bare_server() as (bare_url, bare_pid):
        for name, code in (("plain", PLAIN), ("coroutine", COROUTINE), ("azure", AZURE)):
            http_function(folder / "site", name, code)
        with platform_on(folder) as platform:
            for connections in (1, 16, 64):
                names = ("plain",) if connections < 64 else ("plain", "coroutine", "azure")
                subjects = [Subject("bare", bare_url, bare_pid)]
                subjects += [
                    Subject(name, f"{platform.data_url}/api/{name}", platform.pid) for name in names
                ]
                _rounds(subjects, connections, rounds)
                figures += _figures(subjects, connections)
    return figures


def _rounds(subjects: list[Subject], connections: int, rounds: int) -> None:
    for subject in subjects:  # warm: workers forked, code paths touched
        put_load(subject.url, connections)
    for _ in range(rounds):
        for subject in subjects:
            subject.visit(connections)


def _figures(subjects: list[Subject], connections: int) -> list[Figure]:
    bare = subjects[0]
    figures: list[Figure] = []
    for subject in subjects:
        ratio = median_ratio(subject.rates(), bare.rates())
        figures += _of_one(f"dispatch.c{connections}.{subject.name}", subject, ratio)
    return figures


def _of_one(key: str, subject: Subject, ratio: float) -> list[Figure]:
    """Return one line of the table, and its parts for the document."""
    loads = subject.loads
    p50 = statistics.median(load.p50_us for load in loads)
    p99 = statistics.median(load.p99_us for load in loads)
    cpu = statistics.median(subject.cpu_us)
    errors = sum(load.errors for load in loads)
    note = f"{ratio:.2f} x bare, p50 {p50:.0f} us, p99 {p99:.0f} us, CPU {cpu:.1f} us/req"
    note += f", {errors} ERRORS" if errors else ""
    rate = statistics.median(subject.rates())
    return [
        Figure(key, rate, "req/s", "higher", f"{note} ({generator()})"),
        Figure(f"{key}.ratio", ratio, "x bare", "higher", detail=True),
        Figure(f"{key}.p50", p50, "us", "lower", detail=True),
        Figure(f"{key}.p99", p99, "us", "lower", detail=True),
        Figure(f"{key}.cpu", cpu, "us/req", "lower", detail=True),
        Figure(f"{key}.errors", errors, "answers", "lower", detail=True),
    ]
