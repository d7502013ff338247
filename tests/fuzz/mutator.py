"""From frames that are right to frames that are not: one hostile chunk of bytes at a time."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

from sandbox.runtime import wire

from .values import bomb, confused, junk, packed, replaced

#: What peers of the host say when all is well; one of each kind, also of those it says itself.
SAMPLES: tuple[list[Any], ...] = (
    [wire.HELLO, False, None],
    [wire.HELLO, True, ["ImportError: no", "Traceback"]],
    [wire.REPLY, b"i" * 16, 0, 12, [200, [["Content-Type", "text/plain"]], b"body"]],
    [wire.REPLY, b"i" * 16, 1, 12, ["ValueError: boom", "Traceback"]],
    [wire.REPLY, b"i" * 16, 0, 0, None],
    [wire.BOUND, {"f": None, "g": ["ImportError: no", "Traceback"]}, ["thread 'x' runs"]],
    [wire.FORKED, 1, 4242],
    [wire.FORK_FAILED, 2, "fork: Resource temporarily unavailable"],
    [wire.WORKER_EXIT, 4242, 0, None],
    [wire.WORKER_EXIT, 4242, None, 9],
    [wire.READY, True],
    [wire.SPAWNED, 1, 4242],
    [wire.SPAWN_FAILED, 1, "fork"],
    [wire.STARTED, {"level": "process", "rlimits": True}],
    [wire.FAILED, "exec", 2, "exec: No such file"],
    [wire.EXITED, 0, None],
    [wire.EXITED, None, 9],
    [wire.CALL, b"i" * 16, [wire.pack(["GET", "http://x/", [], [], []]), b""], None],
    [wire.CANCEL, b"i" * 16],
    [wire.KILL],
    [0],
    [255, None],
)
_LENGTHS = (0, 1, 2, 1 << 31, (1 << 32) - 1, wire.MAX_GUEST_FRAME, wire.MAX_GUEST_FRAME + 1,
            wire.MAX_CONTROL_FRAME, wire.MAX_CONTROL_FRAME + 1)  # fmt: skip
_MARK = 0xFEED_FACE_CAFE_BEEF  # a value that no message has


def framed(body: bytes, length: int | None = None) -> bytes:
    """Return a body behind its length, or behind a lie."""
    return struct.pack(">I", len(body) if length is None else length) + body


class Mutator:
    """Makes frames for one case; `frames` counts them."""

    def __init__(self, random: Random) -> None:
        self.frames = 0
        self._random = random
        self._sent: list[bytes] = []

    def chunk(self, right: Sequence[list[Any]], valid_share: float) -> bytes:
        """Return one frame or a few: right ones of this moment, mutated ones, or none at all."""
        random = self._random
        if random.random() < valid_share:
            data = framed(packed(random.choice(right or SAMPLES)))
        else:
            source = right if right and random.random() < 0.6 else SAMPLES
            data = self._mutated(random.choice(source))
        self.frames += 1
        self._sent = [*self._sent[-3:], data]
        return data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield the data as it may arrive: whole, cut somewhere, or byte by byte."""
        random = self._random
        kind = random.random()
        if kind < 0.7 or len(data) < 2:
            yield data
        elif kind < 0.75 and len(data) < 300:
            for at in range(len(data)):
                yield data[at : at + 1]
        else:
            cuts = sorted(random.randrange(1, len(data)) for _ in range(random.randrange(1, 4)))
            for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
                if start < stop:
                    yield data[start:stop]

    def _mutated(self, message: list[Any]) -> bytes:
        mutate = self._random.choice(self._MUTATIONS)
        return mutate(self, message, packed(message))

    # -- mutations: from a message and its msgpack to a frame, or what is none

    def _flip(self, _message: list[Any], body: bytes) -> bytes:
        return self._flipped(framed(body))

    def _flip_body(self, _message: list[Any], body: bytes) -> bytes:
        return self._flipped(framed(body), header=False)

    def _cut(self, _message: list[Any], body: bytes) -> bytes:
        return framed(body)[: self._random.randrange(1, len(body) + 4)]

    def _lie(self, _message: list[Any], body: bytes) -> bytes:
        length = self._random.choice((*_LENGTHS, len(body) - 1, len(body) + 1))
        return framed(body, length)

    def _double(self, _message: list[Any], body: bytes) -> bytes:
        return framed(body) * self._random.randrange(2, 5)

    def _reorder(self, _message: list[Any], body: bytes) -> bytes:
        sent = self._sent or [framed(body)]
        return b"".join(self._random.sample(sent, self._random.randrange(1, len(sent) + 1)))

    def _confuse(self, message: list[Any], _body: bytes) -> bytes:
        return framed(packed(confused(self._random, message)))

    def _bomb_inside(self, message: list[Any], _body: bytes) -> bytes:
        """Put a bomb in any place; the rest is as it should be."""
        marked = packed(replaced(self._random, message, _MARK))
        return framed(marked.replace(packed(_MARK), bomb(self._random)))

    def _bomb_behind(self, message: list[Any], _body: bytes) -> bytes:
        return framed(packed([message[0], None])[:-1] + bomb(self._random))

    def _trail(self, _message: list[Any], body: bytes) -> bytes:
        tails = (b"\0", b"\xc1", b"\xc0\xc0", self._random.randbytes(5), body)
        return framed(body + self._random.choice(tails))

    def _insert(self, _message: list[Any], body: bytes) -> bytes:
        at = self._random.randrange(len(body))
        part = self._random.choice((b"\xc1", b"\xd4\x01\x02", bomb(self._random)[:2000]))
        return framed(body[:at] + part + body[at + self._random.randrange(2) :])

    def _nonsense(self, _message: list[Any], _body: bytes) -> bytes:
        if self._random.random() < 0.5:
            return framed(packed(junk(self._random)))
        return self._random.randbytes(self._random.randrange(1, 40))

    _MUTATIONS = (_flip, _flip, _flip_body, _cut, _lie, _double, _reorder, _confuse, _confuse,
                  _bomb_inside, _bomb_behind, _trail, _insert, _nonsense)  # fmt: skip

    def _flipped(self, data: bytes, *, header: bool = True) -> bytes:
        flipped = bytearray(data)
        for _ in range(self._random.choice((1, 1, 1, 2, 3, 8))):
            at = self._random.randrange(0 if header else 4, len(flipped))
            flipped[at] ^= 1 << self._random.randrange(8)
        return bytes(flipped)
