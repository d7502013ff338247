"""100 to 100,000 queued rows in the store: to enqueue, to claim and to complete one more.

Two stores are open at once, the small and the large, and are asked in turn. Every step waits for
its synced commit, as it does in the platform.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from figure import Figure, median_ratio
from findings import Findings

from scheduler.store.port import NewWork
from scheduler.store.sqlite import SqliteStore

PAYLOAD = b"x" * 420
SMALL = 100
_BATCH = 1000
_FUNCTION = "f"


def measure(findings: Findings) -> None:
    """Measure the store itself; no platform takes part."""
    asyncio.run(_measure(findings))


async def _measure(findings: Findings) -> None:
    rounds = 40 if findings.quick else 300
    with tempfile.TemporaryDirectory(prefix="taak-bench-") as folder:
        async with SqliteStore(Path(folder) / "small.db") as small:
            await _fill(small, SMALL)
            for size in (2_000,) if findings.quick else (10_000, 100_000):
                async with SqliteStore(Path(folder) / f"{size}.db") as large:
                    start = time.perf_counter()
                    await _fill(large, size)
                    rate = size / (time.perf_counter() - start)
                    name = f"growth.queue.{size}"
                    findings.add([Figure(f"{name}.fill", rate, "rows/s", "higher")])
                    await _compare(findings, name, small, large, rounds)


async def _fill(store: SqliteStore, count: int) -> None:
    for begin in range(0, count, _BATCH):
        await store.enqueue_many(
            [
                NewWork(function=f"{_FUNCTION}{number % 20}", payload=PAYLOAD)
                for number in range(begin, min(begin + _BATCH, count))
            ]
        )


async def _compare(
    findings: Findings, name: str, small: SqliteStore, large: SqliteStore, rounds: int
) -> None:
    """Put one in, take one out and end it, in both stores in turn: their depth stays."""
    spent: dict[str, dict[str, list[float]]] = {"enqueue": {}, "claim": {}, "complete": {}}
    for number in range(rounds + 5):
        for which, store in (("small", small), ("large", large)):
            steps = await _one(store, f"{_FUNCTION}{number % 20}")
            if number >= 5:
                for step, seconds in steps.items():
                    spent[step].setdefault(which, []).append(seconds)
    for step, found in spent.items():
        median = statistics.median(found["large"]) * 1e3
        ratio = median_ratio(found["large"], found["small"])
        note = f"{ratio:.2f} x the one with {SMALL} rows"
        findings.add(
            [
                Figure(f"{name}.{step}", median, "ms", "lower", note),
                Figure(f"{name}.{step}_ratio", ratio, f"x {SMALL} rows", "lower", detail=True),
            ]
        )


async def _one(store: SqliteStore, function: str) -> dict[str, float]:
    times = [time.perf_counter()]
    await store.enqueue(NewWork(function=function, payload=PAYLOAD))
    times.append(time.perf_counter())
    [work] = await store.claim("here", [(function, 1)], 60)
    times.append(time.perf_counter())
    await store.complete(work.id, work.token, exec_ms=1.0)
    times.append(time.perf_counter())
    spans = [after - before for before, after in pairwise(times)]
    return dict(zip(("enqueue", "claim", "complete"), spans, strict=True))
