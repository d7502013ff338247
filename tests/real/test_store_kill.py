"""Promise D1 on the embedded store: what was acknowledged survives kill -9 of its process."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest

from scheduler.run import RunState
from scheduler.store.port import RunFilter
from scheduler.store.sqlite import SqliteStore

pytestmark = pytest.mark.real

WRITER = Path(__file__).parents[1] / "store_writer.py"
ROUNDS = 4
ACKNOWLEDGED = 1_500  # lines to read before the kill: it lands in mid-load


async def load_and_kill(path: Path) -> list[bytes]:
    """Run the writer until it has acknowledged enough, kill it, return all it acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(WRITER), str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        lines = [await process.stdout.readline() for _ in range(ACKNOWLEDGED)]
    finally:
        process.kill()
    lines += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    return [line for line in lines if line.endswith(b"\n")]


async def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path) -> None:
    """Four kills in mid-load on one file: no acknowledged row is missing, the file is sound."""
    path = tmp_path / "taak.db"
    acknowledged: dict[int, bytes] = {}
    for _ in range(ROUNDS):
        for line in await load_and_kill(path):
            number, word = line.split()
            acknowledged[int(number)] = word
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            runs = dict(db.execute("SELECT id, state FROM runs").fetchall())
            works = {row[0] for row in db.execute("SELECT id FROM work")}
            counted = db.execute("SELECT ifnull(sum(n), 0) FROM work_counts").fetchone()[0]
        db.close()
        lost = [number for number in acknowledged if number not in runs]
        undone = [n for n, word in acknowledged.items() if word == b"done" and runs[n] != 3]
        vanished = [
            n
            for n, word in acknowledged.items()
            if word == b"queued" and runs[n] == 2 and n not in works
        ]
        assert (lost, undone, vanished) == ([], [], [])
        assert counted == len(works)
    assert len(acknowledged) > ROUNDS * ACKNOWLEDGED / 2


async def test_the_next_life_takes_over_at_once(tmp_path: Path) -> None:
    """After the kill the file is not locked, work held by the dead goes back, runs are listed."""
    path = tmp_path / "taak.db"
    await load_and_kill(path)
    async with SqliteStore(path) as store:
        held = (await store.query_runs(RunFilter(state=RunState.RUNNING), limit=200)).items
        assert held
        await store.join("me")
        requeued = set((await store.reap(limit=100_000)).requeued)
        assert {run.id for run in held} <= requeued
