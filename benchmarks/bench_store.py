"""The store's price: durable enqueues at 1, 16 and 128 callers, whole lives, history rows.

    python benchmarks/bench_store.py [--json] [--seconds 1.0] [--dir DIR]

Every enqueue waits for its synced commit. `busy` rows repeat a figure while the event loop never
rests: the writer thread then waits for the interpreter lock, as it does under full HTTP load.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from scheduler.run import RunKind, RunState
from scheduler.store.port import NewRun, NewWork
from scheduler.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAYLOAD = b"x" * 420
CALLERS = (1, 16, 128)
BATCH_ROWS = 5_000


async def _rate(
    step: Callable[[], Awaitable[object]], callers: int, seconds: float
) -> dict[str, Any]:
    """Call `step` from so many callers for so long; return the rate and the latency."""
    spans: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while (began := time.perf_counter()) < end:
            await step()
            spans.append(time.perf_counter() - began)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(callers):
            group.create_task(caller())
    took = time.perf_counter() - begun
    spans.sort()
    return {
        "per_s": round(len(spans) / took),
        "p50_ms": round(statistics.median(spans) * 1000, 3),
        "p99_ms": round(spans[int(len(spans) * 0.99)] * 1000, 3),
    }


def _rows(count: int) -> list[NewRun]:
    now = datetime.now(UTC)
    return [
        NewRun(
            public_id=f"00000000-0000-4000-8000-{number:012d}",
            kind=RunKind.FUNCTION,
            name=f"function{number % 20}",
            trigger="http",
            state=RunState.SUCCESS,
            instance="here",
            release="0" * 64,
            created_at=now,
            started_at=now,
            ended_at=now,
            exec_ms=1.5,
            wait_ms=0.1,
        )
        for number in range(count)
    ]


async def _history(store: SqliteStore, seconds: float) -> int:
    rows = _rows(BATCH_ROWS)
    begun = time.perf_counter()
    done = 0
    while time.perf_counter() - begun < seconds:
        await store.finish_many(rows)
        done += len(rows)
    return round(done / (time.perf_counter() - begun))


async def _chat(stop: asyncio.Event) -> None:
    """Keep the loop busy as traffic does: eight connections that answer each other at once."""
    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            for end in socket.socketpair():
                group.create_task(_echo(end, stop))


async def _echo(end: socket.socket, stop: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection(sock=end)
    writer.write(b"x" * 64)
    while not stop.is_set():
        writer.write(await reader.read(64))
    writer.close()


async def measure(seconds: float = 1.0, directory: str | None = None) -> dict[str, Any]:
    """Return all figures."""
    figures: dict[str, Any] = {"enqueue": {}, "life": {}}
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        async with SqliteStore(Path(folder) / "bench.db") as store:

            async def enqueue() -> None:
                await store.enqueue(NewWork(function="f", payload=PAYLOAD))

            async def life() -> None:
                taken = await store.enqueue(
                    NewWork(function="direct", payload=PAYLOAD, lease_to="here", lease_s=60)
                )
                assert taken.lease is not None
                await store.complete(taken.id, taken.lease.token, exec_ms=1.0)

            for callers in CALLERS:
                figures["enqueue"][callers] = await _rate(enqueue, callers, seconds)
            for callers in CALLERS:
                figures["life"][callers] = await _rate(life, callers, seconds)
            figures["finish_many_rows_per_s"] = await _history(store, seconds)
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(_chat(stop))
                figures["busy_enqueue_16"] = await _rate(enqueue, 16, seconds)
                figures["busy_finish_many_rows_per_s"] = await _history(store, seconds)
                stop.set()
    return figures


def _table(figures: dict[str, Any]) -> str:
    lines = [f"{'':28}{'per s':>10}{'p50 ms':>10}{'p99 ms':>10}"]
    entries = [
        (f"{what}, {n} callers", figures[what][n]) for what in ("enqueue", "life") for n in CALLERS
    ]
    entries.append(("enqueue, 16, busy loop", figures["busy_enqueue_16"]))
    lines += [
        f"{what:28}{f['per_s']:>10,}{f['p50_ms']:>10}{f['p99_ms']:>10}" for what, f in entries
    ]
    lines.append(f"{'history rows':28}{figures['finish_many_rows_per_s']:>10,}")
    lines.append(f"{'history rows, busy loop':28}{figures['busy_finish_many_rows_per_s']:>10,}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--dir", help="where the store file lies; the disk decides the figures")
    given = parser.parse_args()
    figures = asyncio.run(measure(given.seconds, given.dir))
    print(json.dumps(figures) if given.json else _table(figures))


if __name__ == "__main__":
    main()
