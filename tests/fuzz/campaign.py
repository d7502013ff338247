"""Cases without end, target by target, until so many frames were fed or one fact did not hold."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from .case import Case, Target
from .decoder_target import ChannelTarget, DecoderTarget
from .reply_target import ReplyTarget
from .tree_target import TreeTarget
from .virtual_loop import VirtualLoop
from .worker_target import WorkerTarget
from .zygote_target import ZygoteTarget

TARGETS: tuple[Target, ...] = (
    DecoderTarget(), ChannelTarget(), WorkerTarget(), ZygoteTarget(), TreeTarget(), ReplyTarget(),
)  # fmt: skip
_SHOWN_BYTES = 4096
_BATCH = 2000  # cases between two looks at what the loop was told


class Defect(Exception):  # noqa: N818  it is what we look for, not what went wrong with us
    """A fact that did not hold; the message says which, with what input, and how to repeat it."""


@dataclass
class Tally:
    """What was done on one target."""

    cases: int = 0
    frames: int = 0
    seen: dict[str, int] = field(default_factory=dict)


def run(frames: int, seed: int, names: tuple[str, ...] = ()) -> dict[str, Tally]:
    """Feed so many frames, shared out among the targets; return what was done.

    Raises:
        Defect: at the first fact that does not hold.
    """
    targets = [target for target in TARGETS if not names or target.name in names]
    whole = sum(target.share for target in targets)
    tallies = {target.name: Tally() for target in targets}
    with _loop() as loop:
        for target in targets:
            wanted = frames * target.share / whole
            loop.run_until_complete(_feed(loop, target, seed, wanted, tallies[target.name]))
    return tallies


def repeat(name: str, seed: int, number: int) -> Tally:
    """Run one case again.

    Raises:
        Defect: it still fails.
    """
    target = next(target for target in TARGETS if target.name == name)
    tally = Tally()
    with _loop() as loop:
        loop.run_until_complete(_one(loop, target, seed, number, tally))
    return tally


async def _feed(loop: VirtualLoop, target: Target, seed: int, wanted: float, tally: Tally) -> None:
    while tally.frames < wanted:
        await _one(loop, target, seed, tally.cases, tally)
        if tally.cases % _BATCH == 0:
            gc.collect()  # a future that failed unheard tells of it when it is dropped


async def _one(loop: VirtualLoop, target: Target, seed: int, number: int, tally: Tally) -> None:
    case = Case(target.name, seed, number, loop)
    try:
        await target.run(case)
        assert not loop.reported, f"the loop's exception handler was told: {loop.reported}"
    except Exception as error:
        raise Defect(_report(target, seed, number, case)) from error
    tally.cases += 1
    tally.frames += case.mutator.frames
    for what, count in case.seen.items():
        tally.seen[what] = tally.seen.get(what, 0) + count


def _report(target: Target, seed: int, number: int, case: Case) -> str:
    lines = [f"a defect in {target.name}: case {number} of seed {seed}"]
    lines += [f"  chunk {at}: {_hex(data)}" for at, data in enumerate(case.fed)]
    lines.append(
        f"repeat: python -m tests.fuzz --target {target.name} --seed {seed} --case {number}"
    )
    return "\n".join([traceback.format_exc(), *lines])


def _hex(data: bytes) -> str:
    more = f" and {len(data) - _SHOWN_BYTES} bytes more" if len(data) > _SHOWN_BYTES else ""
    return data[:_SHOWN_BYTES].hex() + more


@contextlib.contextmanager
def _loop() -> Iterator[VirtualLoop]:
    """Give a loop in virtual time, in a process that signals nobody: the peers are ourselves."""
    loop = VirtualLoop()
    with (
        mock.patch.object(os, "pidfd_open", _no_handle),
        mock.patch.object(signal, "pidfd_send_signal", _no_handle),
        contextlib.closing(loop),
    ):
        asyncio.set_event_loop(loop)
        logging.disable()  # what is refused is told, line by line
        try:
            yield loop
        finally:
            logging.disable(logging.NOTSET)
            asyncio.set_event_loop(None)


def _no_handle(*_: Any) -> int:
    raise ProcessLookupError
