"""A worker that is forked ahead, for whichever function wants one next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from unittest.mock import Mock

import pytest
from fuzz.fakes import FakeDrain, FakeTree

from sandbox import channel as channels
from sandbox import zygote as zygotes
from sandbox.channel import Channel
from sandbox.drain import Drain
from sandbox.runtime import wire
from sandbox.tree import Tree
from sandbox.zygote import Zygote


@asynccontextmanager
async def bound(monkeypatch: pytest.MonkeyPatch, why_not: list[str]) -> AsyncIterator[Zygote]:
    """Give the handle of a zygote that has imported its code."""
    monkeypatch.setattr(zygotes, "_REFILL_S", 0)
    host, peer = channels.pair()
    drain = FakeDrain()
    each = Zygote(cast("Tree", FakeTree()), cast("Drain", drain))
    each._channel = Channel(host, each._on_message, each._on_closed)
    binding = asyncio.ensure_future(each.bind({}, import_here=True))
    await asyncio.sleep(0)
    each._on_message([wire.BOUND, {"f": None}, why_not])
    await binding
    try:
        yield each
    finally:
        cast("FakeTree", each._tree).end()
        await asyncio.sleep(0)
        for worker in each._forked:
            worker.fail("the test is over")
        peer.close()
        drain.close()


def owner() -> Any:
    """Return what a worker tells things to."""
    return Mock()


async def _refilled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_the_next_worker_is_there_before_it_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two are forked for their function; the third had been forked, and hears of it."""
    async with bound(monkeypatch, []) as zygote:
        first = zygote.fork("f", owner())
        await _refilled()
        assert zygote._spare is None, "one worker is enough for most"
        second = zygote.fork("f", owner())
        await _refilled()
        spare = zygote._spare
        assert spare not in (None, first, second)
        wants = owner()
        assert zygote.fork("f", wants) is spare
        spare._on_message([wire.HELLO, False, None])
        wants.ready.assert_called_once_with(spare)
        await _refilled()
        assert zygote._spare not in (None, spare)


async def test_who_speaks_before_it_is_wanted_is_no_spare_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A greeting tells of a function, and it has none."""
    async with bound(monkeypatch, []) as zygote:
        zygote.fork("f", owner())
        zygote.fork("f", owner())
        await _refilled()
        assert zygote._spare is not None
        zygote._spare._on_message([wire.HELLO, False, None])
        assert zygote._spare is None


async def test_code_that_workers_import_by_themselves_has_no_spare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It could not import before it is known what."""
    async with bound(monkeypatch, ["the import started a thread"]) as zygote:
        zygote.fork("f", owner())
        zygote.fork("f", owner())
        await _refilled()
        assert zygote._spare is None


async def test_a_spare_does_not_keep_a_dead_zygotes_sandbox(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody will ever want it, and its sandbox would stay for as long as the platform."""
    async with bound(monkeypatch, []) as zygote:
        workers = [zygote.fork("f", owner()) for _ in range(2)]
        await _refilled()
        assert zygote._spare is not None
        for worker in workers:
            worker.fail("it has ended")
        zygote._channel._take(b"")
        await _refilled()
        assert zygote._spare is None
        assert cast("FakeTree", zygote._tree).killed
