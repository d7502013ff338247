"""Values of every msgpack type, wrong ones for right ones, and bodies that are bombs."""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Any

import msgpack

_SCALARS: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, -1, -32, -33, 127, 128, 255, 256, 599, 600, 65_535, 1 << 31,
    (1 << 32) - 1, 1 << 50, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -(1 << 63), 0.5, float("nan"),
    float("inf"), float("-inf"), -0.0, "", "x", "\r\n", "a\r\nb: c", "\0", "\udcff", "\ud800",
    "\U0001f600", "é", "x" * 300, b"", b"x", b"\0" * 16, b"\xff" * 15, b"x" * 300,
    msgpack.ExtType(1, b"xy"), msgpack.ExtType(127, b""), msgpack.Timestamp(1, 1),
    msgpack.Timestamp((1 << 34) - 1, 999_999_999),
)  # fmt: skip
_KEYS: tuple[Any, ...] = ("k", b"k", "", 1, None, 1.5, True, -1)


def packed(value: Any) -> bytes:
    """Return a value as msgpack, lone surrogates and all."""
    body: bytes = msgpack.packb(value, use_bin_type=True, unicode_errors="surrogatepass")
    return body


def junk(random: Random, depth: int = 3) -> Any:
    """Return some value: mostly a scalar, else a list or a map of a few."""
    kind = random.random()
    if depth and kind < 0.12:
        return [junk(random, depth - 1) for _ in range(random.randrange(4))]
    if depth and kind < 0.22:
        size = random.randrange(3)
        return {random.choice(_KEYS): junk(random, depth - 1) for _ in range(size)}
    return random.choice(_SCALARS)


def confused(random: Random, value: Any) -> Any:
    """Return the value with one part, at any depth, replaced, doubled, left out or added."""
    if isinstance(value, list | tuple) and value and random.random() < 0.85:
        parts = list(value)
        at = random.randrange(len(parts))
        match random.randrange(8):
            case 0:
                del parts[at]
            case 1:
                parts.insert(at, junk(random))
            case 2:
                parts.insert(at, parts[at])
            case _:
                parts[at] = confused(random, parts[at])
        return parts
    if isinstance(value, dict) and value and random.random() < 0.85:
        parts = list(value.items())
        at = random.randrange(len(parts))
        key, inner = parts[at]
        parts[at] = (confused(random, key), inner) if random.random() < 0.3 else (
            key, confused(random, inner),
        )  # fmt: skip
        try:
            return dict(parts)
        except TypeError:  # a key that cannot be one
            return {}
    return junk(random)


def replaced(random: Random, value: Any, by: Any) -> Any:
    """Return the value with one part of it, at any depth, replaced."""
    if isinstance(value, list) and value and random.random() < 0.9:
        at = random.randrange(len(value))
        return [*value[:at], replaced(random, value[at], by), *value[at + 1 :]]
    if isinstance(value, dict) and value and random.random() < 0.9:
        key = random.choice(list(value))
        return {**value, key: replaced(random, value[key], by)}
    return by


# -- bombs: bodies that are small on the wire and large, deep or false in memory


def _claim(random: Random) -> bytes:
    """Return a container or a text that claims far more than there is."""
    heads = (b"\xdc", b"\xdd", b"\xde", b"\xdf", b"\xd9", b"\xda", b"\xdb", b"\xc4", b"\xc5",
             b"\xc6", b"\xc7", b"\xc8", b"\xc9")  # fmt: skip
    widths = {0xD9: 1, 0xC4: 1, 0xC7: 1, 0xDC: 2, 0xDE: 2, 0xDA: 2, 0xC5: 2, 0xC8: 2}
    head = random.choice(heads)
    width = widths.get(head[0], 4)
    claimed = random.choice((10_000_000, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 4096, 4097, 1025))
    return head + struct.pack(">I", claimed)[-width:] + b"\0" * random.randrange(8)


def _deep(random: Random) -> bytes:
    level = random.choice((b"\x91", b"\x81\xa1k", b"\xdc\x00\x01", b"\x92\xc0"))
    return level * random.choice((10, 200, 511, 1000, 1020, 1023, 1024, 1025, 5000)) + b"\xc0"


def _very_deep(_random: Random) -> bytes:
    return b"\x91" * 100_000 + b"\xc0"


def _wide_and_deep(random: Random) -> bytes:
    """Return lists that are long by their heads only, inside each other."""
    return random.choice((b"\xdc\x04\x00", b"\xdc\x10\x00", b"\xdd\x00\x00\x04\x00")) * 1000


def _many(random: Random) -> bytes:
    """Return a short body of as many small containers as fit."""
    inside = random.choice((b"\x80", b"\x90", b"\x81\xa0\xc0", b"\xa0", b"\xcb" + b"\0" * 8))
    row = b"\xdc\x02\x00" + inside * 512
    return b"\xdc\x00\x08" + row * 8


def _very_many(random: Random) -> bytes:
    """Return 400,000 values in rows that are each within the limit of a list."""
    row = b"\xdc\x04\x00" + random.choice((b"\x80", b"\x90", b"\xc0", b"\xa0")) * 1024
    return b"\xdc\x01\x90" + row * 400


def _long_text(_random: Random) -> bytes:
    """Return a text of which one character makes all others four bytes wide."""
    text = "\U0001f600".encode() + b"a" * ((2 << 20) - 4)
    return b"\xdb" + struct.pack(">I", len(text)) + text


_BOMBS: tuple[Callable[[Random], bytes], ...] = (_claim, _claim, _claim, _deep, _wide_and_deep)
_LARGE: tuple[Callable[[Random], bytes], ...] = (_very_deep, _very_many, _long_text, _many)
_LARGE_SHARE = 1 / 100


def bomb(random: Random) -> bytes:
    """Return msgpack that is cheap to send and meant to be dear to read."""
    makers = _LARGE if random.random() < _LARGE_SHARE else _BOMBS
    return random.choice(makers)(random)
