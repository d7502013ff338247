"""What is SQLite's own: migrations, group commit, a poisoned operation, trouble and recovery."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from store_values import SetClock, call, new_run, work

from scheduler.errors import BadRequestError, UnavailableError
from scheduler.run import RunState
from scheduler.store import sqlite_migrations
from scheduler.store.memory import MemoryStore
from scheduler.store.opening import open_store
from scheduler.store.port import Conflict, RunFilter, Unavailable
from scheduler.store.sqlite import SqliteStore
from scheduler.store.sqlite_transaction import Transaction

pytestmark = pytest.mark.real


@pytest.fixture
async def store(tmp_path: Path, clock: SetClock) -> AsyncIterator[SqliteStore]:
    """Give an open store."""
    async with SqliteStore(tmp_path / "taak.db", clock=clock) as made:
        yield made


async def test_reopening_finds_everything(tmp_path: Path, clock: SetClock) -> None:
    """What was written is there after close and open; ids go on; no log file is left behind."""
    path = tmp_path / "deep" / "taak.db"
    async with SqliteStore(path, clock=clock) as first:
        run = await first.create_run(new_run(clock))
        taken = await first.enqueue(work())
    assert sorted(file.name for file in path.parent.iterdir()) == ["taak.db", "taak.db.lock"]
    async with SqliteStore(path, clock=clock) as second:
        assert await second.get_run(run.id) == run
        assert [c.id for c in await second.claim("me", [("mail", 1)], 30)] == [taken.id]
        assert (await second.enqueue(work())).id == taken.id + 1


async def test_migrating_twice_changes_nothing(store: SqliteStore) -> None:
    """The version is that of the last file, whoever asks again."""
    assert await store.migrate() == await store.migrate() == max(sqlite_migrations.steps())


async def test_a_migration_that_fails_leaves_the_old_schema(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a step or nothing of it."""
    good = sqlite_migrations.steps()
    broken = {**good, 99: "CREATE TABLE extra (a);\nCREATE TABLE runs (a);\n"}
    monkeypatch.setattr(sqlite_migrations, "steps", lambda: broken)
    with pytest.raises(Unavailable, match="already exists"):
        await store.migrate()
    monkeypatch.setattr(sqlite_migrations, "steps", lambda: good)
    assert await store.migrate() == max(good)
    tables = await store.read(lambda rows: rows.all("SELECT name FROM sqlite_master"))
    assert ("extra",) not in tables


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """The message names both versions; the file is not touched and not kept locked."""
    path = tmp_path / "taak.db"
    async with SqliteStore(path) as store:
        await store.write(lambda tx: tx.execute("INSERT INTO schema_version VALUES (77, 0)"))
    for _ in range(2):
        with pytest.raises(Unavailable, match="version 77, this program knows versions up to 1"):
            await SqliteStore(path).open()


async def test_a_second_owner_is_refused_by_name(store: SqliteStore, tmp_path: Path) -> None:
    """One process owns the file; the message names it and says what to do."""
    with pytest.raises(Unavailable, match=r"in use by process \d+; .*--store"):
        await SqliteStore(tmp_path / "taak.db").open()


async def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """Unavailable names the file."""
    path = tmp_path / "taak.db"
    path.write_text("this is a letter to my aunt" * 100)
    with pytest.raises(Unavailable, match=r"taak\.db cannot be opened"):
        await SqliteStore(path).open()


async def test_waiting_operations_share_one_commit(store: SqliteStore) -> None:
    """While one commit is held up, forty operations gather; they become a single batch."""
    commits = 0
    gate, entered = threading.Event(), threading.Event()

    def hold(tx: Transaction) -> None:
        entered.set()
        gate.wait(5)

    def count(tx: Transaction) -> int:
        nonlocal commits
        commits += tx.one("SELECT 1") is not None
        return tx.changes

    async with asyncio.TaskGroup() as group:
        group.create_task(store.write(hold))
        await asyncio.to_thread(entered.wait, 5)
        tasks = [group.create_task(store.write(count)) for _ in range(40)]
        await asyncio.sleep(0)
        seen = store._writer._jobs.qsize()
        gate.set()
    assert seen == 40
    assert commits == 40
    assert len({task.result() for task in tasks}) == 1


async def test_a_poisoned_operation_fails_alone(store: SqliteStore, clock: SetClock) -> None:
    """Its neighbours in the batch are committed, it is undone, its error is its own."""

    def poison(tx: Transaction) -> None:
        tx.execute("INSERT INTO series (kind, key, name) VALUES (0, 'poison', 'poison')")
        tx.execute("INSERT INTO work_limits VALUES (1, 'text', NULL, 0)")

    def conflict(tx: Transaction) -> None:
        tx.execute("INSERT INTO series (kind, key, name) VALUES (0, 'conflict', 'conflict')")
        raise Conflict("late")

    results = await asyncio.gather(
        store.enqueue(work("a")),
        store.write(poison),
        store.enqueue(work("b")),
        store.write(conflict),
        store.enqueue(work("c")),
        return_exceptions=True,
    )
    kinds = [type(result).__name__ for result in results]
    assert kinds == ["Enqueued", "IntegrityError", "Enqueued", "Conflict", "Enqueued"]
    names = await store.read(lambda rows: rows.all("SELECT name FROM series ORDER BY name"))
    assert names == [("a",), ("b",), ("c",)]
    assert len((await store.query_runs(RunFilter())).items) == 3


async def test_a_full_disk_refuses_and_recovers(store: SqliteStore, clock: SetClock) -> None:
    """Unavailable while it is full, health says so, and all is well again without a restart."""
    row = await store.read(lambda rows: rows.one("PRAGMA page_count"))
    assert row is not None
    connect = store._writer._connect

    def connect_full() -> Transaction:
        tx = connect()
        tx.execute(f"PRAGMA max_page_count = {row[0]}")
        return tx

    await store.write(lambda tx: tx.execute(f"PRAGMA max_page_count = {row[0]}"))
    store._writer._connect = connect_full
    big = work(payload=b"x" * 60_000)
    results = await asyncio.gather(*(store.enqueue(big) for _ in range(3)), return_exceptions=True)
    assert {type(result) for result in results} == {Unavailable}
    assert "full" in str(results[0])
    assert (await store.query_runs(RunFilter())).items == []
    with pytest.raises(UnavailableError):
        await store.enqueue(big)
    store._writer._connect = connect
    assert (await store.health()).ok
    assert (await store.enqueue(big)).created


async def test_a_bug_in_an_operation_does_not_stop_the_writer(store: SqliteStore) -> None:
    """Any exception goes to its caller only."""

    def bug(tx: Transaction) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await store.write(bug)
    assert (await store.enqueue(work())).created


async def test_a_cancelled_caller_does_not_disturb_the_others(store: SqliteStore) -> None:
    """Its operation may or may not happen; the ones behind it do."""
    leaving = asyncio.ensure_future(store.enqueue(work()))
    staying = asyncio.ensure_future(store.enqueue(work()))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).created


async def test_after_close_every_call_is_refused(tmp_path: Path, clock: SetClock) -> None:
    """Unavailable, not a hang; closing again is allowed."""
    store = SqliteStore(tmp_path / "taak.db", clock=clock)
    async with store:
        pass
    await store.close()
    with pytest.raises(Unavailable):
        await store.enqueue(work())
    with pytest.raises(Unavailable):
        await store.get_run(1)
    assert not (await store.health()).ok


async def test_close_commits_what_was_accepted(tmp_path: Path, clock: SetClock) -> None:
    """Operations on their way when close is called are in the file afterwards."""
    path = tmp_path / "taak.db"
    store = SqliteStore(path, clock=clock)
    async with store, asyncio.TaskGroup() as group:
        tasks = [group.create_task(store.enqueue(work())) for _ in range(300)]
        await asyncio.sleep(0)
        await store.close()
    assert len({task.result().id for task in tasks}) == 300
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM work").fetchone() == (300,)
    db.close()


async def test_only_needed_indexes_see_a_successful_call(
    store: SqliteStore, clock: SetClock
) -> None:
    """The history's hot rows are in one index; failures, open runs and jobs are in the others."""
    await store.finish_many([call(clock)] * 3)
    await store.finish_many([call(clock, state=RunState.FAILED)])
    await store.create_run(new_run(clock))
    for index, rows in {
        "runs_open": "state < 3",
        "runs_failed": "state > 3",
        "runs_of_jobs": "kind > 0",
    }.items():
        sql = f"SELECT count(*) FROM runs INDEXED BY {index} WHERE {rows}"
        assert await store.read(lambda r, sql=sql: r.one(sql)) == (1,)


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ("r.series = 1 AND r.id < 9", "runs_by_series"),
        ("r.kind = 1 AND r.kind > 0", "runs_of_jobs"),
        ("r.state = 4 AND r.state > 3", "runs_failed"),
        ("r.state = 4 AND r.state > 3 AND r.series = 1", "runs_failed_by_series"),
        ("r.kind > 0 AND r.public_id = 'x' AND r.series = 1", "runs_by_public_id"),
    ],
)
async def test_pages_come_from_an_index(store: SqliteStore, where: str, index: str) -> None:
    """The statements of the history are shaped so that the planner sees the partial indexes."""
    plan = await store.read(
        lambda rows: rows.all(
            f"EXPLAIN QUERY PLAN SELECT * FROM runs r WHERE {where} ORDER BY r.id DESC LIMIT 50"
        )
    )
    assert index in str(plan)
    assert "TEMP B-TREE" not in str(plan)


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("postgresql://db/taak", Unavailable, "not there yet.*sqlite:///.*memory:"),
        ("mysql://db", BadRequestError, "unknown kind 'mysql'"),
        ("sqlite:taak.db", BadRequestError, "names no file"),
        ("sqlite:///", BadRequestError, "names no file"),
    ],
)
def test_a_wrong_url_is_told_what_exists(url: str, error: type[Exception], says: str) -> None:
    """The message names what could be meant instead."""
    with pytest.raises(error, match=says):
        open_store(url)


def test_urls_name_stores(tmp_path: Path) -> None:
    """Three slashes are relative, four absolute, %20 is a space."""
    assert isinstance(open_store("memory:"), MemoryStore)
    store = open_store("sqlite:////var/my%20data/taak.db")
    assert isinstance(store, SqliteStore)
    assert store._path == Path("/var/my data/taak.db")
    relative = open_store("sqlite:///data/taak.db")
    assert isinstance(relative, SqliteStore)
    assert relative._path == Path("data/taak.db")
