"""A killed platform comes back as the same member: nothing that its first life held stays stuck."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from real import apps
from real.platform import Platform
from store_values import work

from scheduler.store.port import Store
from scheduler.store.sqlite import SqliteStore

pytestmark = [pytest.mark.real]

LONG_S = 3600


def rows(platform: Platform, sql: str) -> list[Any]:
    """Ask the running platform's store, beside it."""
    with closing(sqlite3.connect(f"file:{platform.home}/taak.db?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def member(platform: Platform) -> tuple[int, int]:
    """Return epoch and last heartbeat of the one member."""
    ((epoch, seen_at),) = rows(platform, "SELECT epoch, seen_at FROM members")
    return epoch, seen_at


async def hold(store: Store, instance: str) -> int:
    """Leave behind what a process may hold when it is killed; return the work's id."""
    await store.acquire("job/stuck", instance, LONG_S)
    taken = await store.enqueue(work("later", lease_to=instance, lease_s=LONG_S))
    assert taken.lease is not None
    return taken.id


async def look(store: Store) -> tuple[list[str], list[int]]:
    """Return the names that are held, and which work can be claimed."""
    claimed = await store.claim("test", [("later", 9)], 1)
    return [lease.name for lease in await store.leases()], [each.id for each in claimed]


async def in_store(platform: Platform, step: Any, *given: Any) -> Any:
    """Do something to the store of a platform that does not run."""
    async with SqliteStore(platform.home / "taak.db") as store:
        return await step(store, *given)


def test_kill_and_restart_joins_again(site, start_platform) -> None:
    """Kill -9 in mid-run: a new epoch, runs closed, leases free, lost work ready, jobs start."""
    script = "touch $WEBJOBS_DATA_PATH/began; exec sleep 60\n"
    apps.job(site, "triggered", "long", "run.sh", script)
    apps.job(site, "continuous", "one", "run.sh", "exec sleep 1000\n", is_singleton=True)
    platform = start_platform()
    instance = platform.v1("/status")["instance"]
    epoch, seen_at = member(platform)
    platform.wait_until(lambda: member(platform)[1] > seen_at, what="a heartbeat")
    run = platform.v1("/jobs/triggered/long/run", {})
    mark = platform.home / "data/jobs/triggered/long/began"
    platform.wait_until(mark.exists, what="the run's begin")
    platform.wait_until(lambda: platform.job("one")["state"] == "Running", what="the job")
    assert rows(platform, "SELECT count(*) FROM leases WHERE owner <> ''") != [(0,)]

    platform.kill()
    work_id = asyncio.run(in_store(platform, hold, instance))
    platform.start()

    assert member(platform)[0] > epoch
    ended = platform.wait_for_run(run["id"])
    assert (ended["state"], ended["reason"]) == ("aborted", "host_restart")
    ready = f"SELECT count(*) FROM work WHERE id = {work_id} AND state = 0"
    platform.wait_until(lambda: rows(platform, ready) == [(1,)], timeout_s=5, what="the work")
    platform.wait_until(
        lambda: platform.job("one")["state"] == "Running", timeout_s=5, what="the singleton"
    )
    again = platform.v1("/jobs/triggered/long/run", {})
    assert platform.v1(f"/runs/{again['id']}")["state"] in {"initializing", "running"}
    platform.v1(f"/runs/{again['id']}/cancel", {})
    platform.wait_for_run(again["id"])

    assert platform.stop() == 0
    held, claimable = asyncio.run(in_store(platform, look))
    assert (held, claimable) == ([], [work_id])
    with closing(sqlite3.connect(platform.home / "taak.db")) as db:
        assert db.execute("SELECT * FROM members").fetchall() == [], "it left in order"
