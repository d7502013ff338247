"""The app log stream: everybody hears everything that there is room for, and nobody waits."""

from __future__ import annotations

import asyncio
import threading

import pytest
from job_fakes import START

from scheduler.functions import JobKind
from scheduler.job_folders import JobFolders
from scheduler.job_logs import JobLogs
from scheduler.log_line import Level
from scheduler.log_stream import Batch, Dropped, LogStream, TooManyListenersError
from scheduler.run import RunKind


class Named:
    """A job as far as its logs are concerned."""

    def __init__(self, name: str, kind: JobKind | RunKind) -> None:
        self.name = name
        self.kind = kind


def publish(stream: LogStream, *lines: str) -> None:
    """Publish lines of stdout."""
    stream.publish(START, "continuous", "mail", "", Level.OUT, lines)


async def test_each_listener_hears_everything() -> None:
    """Two listeners do not take from each other; who comes later hears what comes later."""
    stream = LogStream()
    publish(stream, "before")
    with stream.subscribe() as first, stream.subscribe() as second:
        publish(stream, "a", "b")
        for listener in (first, second):
            batch = await anext(listener)
            assert isinstance(batch, Batch)
            assert (batch.name, batch.level.stream, batch.lines) == ("mail", "stdout", ("a", "b"))


async def test_a_listener_that_waits_is_woken_from_another_thread() -> None:
    """What the drain's thread publishes reaches the loop."""
    stream = LogStream()
    with stream.subscribe() as listener:
        waiting = asyncio.ensure_future(anext(listener))
        await asyncio.sleep(0)
        thread = threading.Thread(target=publish, args=(stream, "late"))
        thread.start()
        batch = await waiting
        thread.join()
    assert isinstance(batch, Batch)
    assert batch.lines == ("late",)


async def test_a_slow_listener_is_told_how_much_it_missed() -> None:
    """The count stands where the lines would, and what comes once there is room is there."""
    stream = LogStream()
    with stream.subscribe(room=200) as listener:
        publish(stream, "x" * 100)
        for _ in range(3):
            publish(stream, "y" * 100, "z")
        heard = [await anext(listener), await anext(listener)]
        publish(stream, "again")
        heard.append(await anext(listener))
    assert heard[1] == Dropped(6)
    assert [item.lines for item in heard if isinstance(item, Batch)] == [("x" * 100,), ("again",)]


async def test_a_batch_larger_than_the_room_is_heard_alone() -> None:
    """No job is silent only because it writes much at once."""
    stream = LogStream()
    with stream.subscribe(room=10) as listener:
        publish(stream, "x" * 100)
        assert isinstance(await anext(listener), Batch)


async def test_listeners_are_bounded_and_those_who_leave_make_room() -> None:
    """A limit of listeners is a limit of those who are there."""
    stream = LogStream(max_listeners=1)
    with stream.subscribe(), pytest.raises(TooManyListenersError, match="1 listen"), \
            stream.subscribe():  # fmt: skip
        pass
    with stream.subscribe():
        pass


async def test_continuous_jobs_are_heard_always_and_runs_on_demand(tmp_path) -> None:
    """webjobs.md 3.1: WEBJOBS_LOG_TRIGGERED_JOBS_TO_APP_LOGS adds the runs."""
    logs = JobLogs(JobFolders(tmp_path), instance="i", now=lambda: START)
    report, mail = Named("report", JobKind.TRIGGERED), Named("mail", JobKind.CONTINUOUS)
    with logs.stream.subscribe() as listener:
        logs.run(report, "202601051000000000").append(Level.OUT, ["silent"])
        logs.run(report, "202601051000000001", streamed=True).append(Level.ERR, ["heard"])
        logs.continuous(mail).info("always")
        heard = [await anext(listener), await anext(listener)]
    assert [
        (item.kind, item.name, item.run_id, item.level, item.lines)
        for item in heard
        if isinstance(item, Batch)
    ] == [
        ("triggered", "report", "202601051000000001", Level.ERR, ("heard",)),
        ("continuous", "mail", "", Level.SYS_INFO, ("always",)),
    ]
