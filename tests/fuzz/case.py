"""One case: its randomness, what was fed, and the facts that must hold after each step."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any, Protocol

from sandbox.channel import MAX_QUEUED, Channel
from sandbox.runtime import wire

from .mutator import Mutator
from .virtual_loop import VirtualLoop

#: Bytes of memory that a value may take, and that a byte of text may.
_VALUE_BYTES = 256
_TEXT_WIDTH = 4


class Case:
    """A case is the same whenever its target, seed and number are the same."""

    def __init__(self, target: str, seed: int, number: int, loop: VirtualLoop) -> None:
        self.random = Random(f"{target}/{seed}/{number}")
        self.mutator = Mutator(self.random)
        self.fed: list[bytes] = []
        self.loop = loop
        #: how often a thing was seen: a fuzzer that is always refused at once finds nothing.
        self.seen: dict[str, int] = {}

    def chance(self, share: float) -> bool:
        """Tell whether something is to happen that happens in this share of the cases."""
        return self.random.random() < share

    def saw(self, what: str) -> None:
        """Count a thing."""
        self.seen[what] = self.seen.get(what, 0) + 1

    def hostile(self, right: Sequence[list[Any]] = (), *, valid: float = 0.2) -> Iterator[bytes]:
        """Yield the pieces of one more hostile chunk."""
        data = self.mutator.chunk(right, valid)
        self.fed.append(data)
        yield from self.mutator.pieces(data)

    def check_channel(self, channel: Channel, limit: int) -> None:
        """Check what a channel keeps: less than a frame, and less than may wait."""
        self.check_decoder(channel._decoder, limit)
        assert channel.queued <= MAX_QUEUED, "more waits for a peer than may"

    def check_decoder(self, decoder: wire.Decoder, limit: int) -> None:
        """Check what a decoder keeps: less than a whole frame of the largest size."""
        kept = len(decoder._buffer)
        assert kept < 4 + limit, f"{kept} bytes are kept of a frame; the limit is {limit}"

    def check_messages(self, messages: Iterable[list[Any]]) -> None:
        """Check what was made of what was fed: shape, number of values, memory, Unicode."""
        fed = sum(map(len, self.fed))
        for message in messages:
            self.saw("message")
            assert type(message) is list, "a message is no list"
            assert type(message[0]) is int, "a message has no kind"
            values, size = _weight(message)
            assert values <= wire.MAX_GUEST_VALUES, f"{values} values in a frame"
            bound = _VALUE_BYTES * values + _TEXT_WIDTH * fed + 1024
            assert size <= bound, f"{size} bytes of memory for {values} values"


def _weight(message: list[Any]) -> tuple[int, int]:
    """Return how many values a message has and what they take; every text is valid Unicode."""
    left: list[Any] = [message]
    values = size = 0
    while left:
        value = left.pop()
        values += 1
        size += sys.getsizeof(value)
        kind = type(value)
        if kind is list:
            left += value
        elif kind is dict:
            left += value
            left += value.values()
        elif kind is str:
            value.encode()
        else:
            assert kind in {bytes, int, float, bool, type(None)}, f"a {kind} came over the wire"
    return values, size


class Target(Protocol):
    """One thing of the host that reads what guests send."""

    name: str
    share: float  # of all frames

    async def run(self, case: Case) -> None:
        """Feed one case and check every fact that must hold; AssertionError tells which did not."""
