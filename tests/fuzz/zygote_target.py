"""A zygote that has run user code: what it says of its import, its forks and its workers' ends."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from sandbox import channel as channels
from sandbox.channel import Channel
from sandbox.drain import Drain
from sandbox.errors import SpawnFailedError
from sandbox.runtime import wire
from sandbox.tree import Tree
from sandbox.worker import Worker
from sandbox.zygote import Bound, Zygote

from .case import Case
from .fakes import FakeDrain, FakeTree, Owner

_ROUNDS = 8
_FORKS = 3


class ZygoteTarget:
    """The host's handle of a zygote with a bind and some forks under way."""

    name = "zygote"
    share = 0.15

    async def run(self, case: Case) -> None:
        """Let the zygote say what it likes, then end its sandbox."""
        tree, drain = FakeTree(), FakeDrain()
        host, peer = channels.pair()
        zygote = Zygote(cast("Tree", tree), cast("Drain", drain))
        zygote._channel = Channel(host, zygote._on_message, zygote._on_closed)
        closed: list[None] = []
        zygote.on_closed = lambda: closed.append(None)
        binding = asyncio.ensure_future(zygote.bind({}, import_here=True))
        forked: list[tuple[Worker, Owner]] = []
        try:
            await asyncio.sleep(0)
            for _ in range(_ROUNDS):
                if not zygote.alive:
                    break
                _fork(case, zygote, forked)
                _feed(case, zygote, len(forked))
                if case.chance(0.2):
                    await asyncio.sleep(0.01)
            tree.end()
            peer.close()
            await asyncio.sleep(10)
            assert not zygote.alive, "a zygote lives on without its sandbox"
            assert len(closed) == 1, f"its end was told {len(closed)} times"
            await _check_bind(case, binding)
            for worker, owner in forked:
                _check_worker(worker, owner)
        finally:
            for worker, _owner in forked:
                worker._channel.close()
            drain.close()
            peer.close()
            zygote._channel.close()


def _fork(case: Case, zygote: Zygote, forked: list[tuple[Worker, Owner]]) -> None:
    if len(forked) >= _FORKS or case.chance(0.4):
        return
    owner = Owner(case)
    worker = zygote.fork("f", owner)
    forked.append((worker, owner))
    if case.chance(0.3):
        worker._channel._take(wire.encode([wire.HELLO, False, None]))


def _feed(case: Case, zygote: Zygote, forks: int) -> None:
    token = case.random.randrange(1, forks + 2)
    pid = case.random.choice((1, 7, 7, 4242, 0, -1, 1 << 40))
    right: list[list[Any]] = [
        [wire.FORKED, token, pid],
        [wire.FORK_FAILED, token, "fork: Resource temporarily unavailable"],
        [wire.WORKER_EXIT, pid, None, 9],
    ]
    if not zygote._bound.done():
        right.append([wire.BOUND, {"f": ["ImportError: no", "Traceback"]}, ["a thread runs"]])
    for data in case.hostile(right, valid=0.4):
        if zygote.alive:
            zygote._channel._take(data)
            case.check_channel(zygote._channel, wire.MAX_CONTROL_FRAME)


async def _check_bind(case: Case, binding: asyncio.Future[Bound]) -> None:
    assert binding.done(), "a bind waits for ever"
    try:
        bound = await binding
    except SpawnFailedError:
        case.saw("failed bind")
        return
    case.saw("bind")
    for name, error in bound.errors.items():
        assert type(name) is str, "a function's name is no text"
        texts = error or ("", "")
        assert [type(text) for text in texts] == [str, str], "an error is no pair of texts"
    assert all(type(reason) is str for reason in bound.unforkable), "a reason is no text"


def _check_worker(worker: Worker, owner: Owner) -> None:
    assert owner.is_gone == 1, f"the end of a worker was told {owner.is_gone} times"
    assert type(worker.pid) is int, "a pid is no number"
