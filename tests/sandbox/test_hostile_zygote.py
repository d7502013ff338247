"""The host's handle of a zygote, which runs user code: what of its words is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from unittest import mock

import pytest
from fuzz.fakes import FakeTree

from sandbox import channel as channels
from sandbox import zygote as zygotes
from sandbox.channel import Channel
from sandbox.drain import Drain
from sandbox.runtime import wire
from sandbox.spec import Exit
from sandbox.tree import Tree
from sandbox.worker import WorkerState
from sandbox.zygote import Zygote


@asynccontextmanager
async def zygote() -> AsyncIterator[Zygote]:
    """Give a handle without a process, and close it at last."""
    host, peer = channels.pair()
    each = Zygote(cast("Tree", FakeTree()), cast("Drain", None))
    each._channel = Channel(host, each._on_message, each._on_closed)
    try:
        yield each
    finally:
        peer.close()
        each._channel.close()


def says(each: Zygote, body: bytes) -> None:
    """Let the zygote send one frame."""
    each._channel._take(len(body).to_bytes(4, "big") + body)


async def test_an_end_that_nobody_waits_for_ends_it() -> None:
    """Each word of a zygote is used up: a flood of them would cost the loop all its time."""
    async with zygote() as each:
        each._workers[7] = ended = cast("Any", mock.Mock())
        each._on_message([wire.WORKER_EXIT, 7, 0, None])
        assert each.alive
        ended.exited.assert_called_once_with(Exit(0, None))
        each._on_message([wire.WORKER_EXIT, 7, 0, None])
        assert not each.alive
        await asyncio.sleep(0)


@pytest.mark.parametrize("end", ["fault", "eof"])
async def test_a_zygote_without_a_channel_ends_with_its_last_worker(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """It may live on: not before its workers' calls are answered, and not for ever."""
    monkeypatch.setattr(zygotes, "_LOOK_S", 0.001)
    async with zygote() as each:
        tree = cast("FakeTree", each._tree)
        worker = mock.Mock(state=WorkerState.BUSY)
        each._forked = [worker]
        if end == "eof":
            each._channel._take(b"")
        else:
            says(each, b"\xc1")
        await asyncio.sleep(0.01)
        assert not tree.killed
        worker.state = WorkerState.GONE
        async with asyncio.timeout(5):
            while not tree.killed:
                await asyncio.sleep(0.001)


async def test_reasons_that_are_no_texts_are_not_looked_into() -> None:
    """A list of a thousand levels is more than Python can write down."""
    async with zygote() as each:
        binding = asyncio.ensure_future(each.bind({}, import_here=True))
        await asyncio.sleep(0)
        deep = b"\x91" * 1000 + b"\xc0"
        says(each, b"\x93\x1e\x81\xa1f" + deep + b"\x93" + deep + b"\xa2ok\x01")
        bound = await binding
        unreadable = "the zygote reported an unreadable error"
        assert bound.errors == {"f": (unreadable, "")}
        assert bound.unforkable == [unreadable, "ok", unreadable]


@pytest.mark.parametrize(
    "message",
    [
        [wire.FORKED, 1, True],
        [wire.FORKED, 1, -1],
        [wire.FORKED, 1, 0],
        [wire.FORKED, 1, [1]],
        [wire.FORKED, [1], 7],
        [wire.WORKER_EXIT, {}, 0, None],
        [wire.WORKER_EXIT, True, 0, None],
        [wire.FORK_FAILED, 1, ["no", "text"]],
    ],
)
async def test_what_is_no_pid_ends_it(message: list[Any]) -> None:
    """And raises nothing: a list is no key either."""
    async with zygote() as each:
        each._coming[1] = cast("Any", None)
        each._on_message(message)
        assert not each.alive
        each._coming.clear()
        await asyncio.sleep(0)
