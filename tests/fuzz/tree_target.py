"""What an init says. It is ours and trusted, so what is looked for is a host that stands still."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from sandbox import channel as channels
from sandbox.errors import SpawnFailedError
from sandbox.runtime import wire
from sandbox.spec import SandboxSpec
from sandbox.tree import Tree, TreeState

from .case import Case

_ROUNDS = 6
_SPEC = SandboxSpec(name="fuzzed", cwd="/")
_RIGHT: list[list[Any]] = [
    [wire.STARTED, {"level": "process"}],
    [wire.FAILED, "exec", 2, "exec: No such file"],
    [wire.EXITED, None, 9],
]


class TreeTarget:
    """The host's handle of a sandbox while it is built, used and ended."""

    name = "tree"
    share = 0.05

    async def run(self, case: Case) -> None:
        """Feed messages of an init that has lost its mind."""
        host, peer = channels.pair()
        lost: list[Tree] = []
        tree = Tree(host, lost.append)
        with open(os.devnull) as stream:
            starting = asyncio.ensure_future(tree.start("zygote", _SPEC, [stream.fileno()]))
            await asyncio.sleep(0)
        try:
            for _ in range(_ROUNDS):
                for data in case.hostile(_RIGHT, valid=0.4):
                    if tree.state is not TreeState.GONE:
                        _take(case, tree, data)
            if case.chance(0.5):
                tree.kill()
            peer.close()
            await asyncio.sleep(1)
            assert tree.ended.done(), "a sandbox without its init has not ended"
            assert len(lost) <= 1, "its loss was told twice"
            try:
                await starting
            except SpawnFailedError:
                case.saw("failed start")
        finally:
            peer.close()
            tree._channel.close()


def _take(case: Case, tree: Tree, data: bytes) -> None:
    tree._channel._take(data)
    if tree.state is not TreeState.GONE:
        case.check_channel(tree._channel, wire.MAX_CONTROL_FRAME)
