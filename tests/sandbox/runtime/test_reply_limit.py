"""The limit of a reply is one number: in the check, in what is told, and in README."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sandbox.runtime import calls, wire

MIB = 1 << 20


def said(payload: Any) -> list[Any]:
    """Return the message that a worker makes of a payload."""
    decoder = wire.Decoder(wire.MAX_GUEST_FRAME, hostile=True)
    [message] = decoder.feed(calls.reply(b"i" * 16, 0, 5, payload))
    return message


def test_the_largest_body_goes_out() -> None:
    """64 MiB, whatever stands around it."""
    body = bytes(64 * MIB)
    assert said([200, [["X", "y"]], body])[4][2] == body


@pytest.mark.parametrize("kind", [bytes, str])
def test_one_byte_more_is_refused_with_both_sizes(kind: type) -> None:
    """A body of HTTP, and what a function of another trigger returns."""
    size = 64 * MIB + 1
    payload: Any = [200, [], bytes(size)] if kind is bytes else "x" * size
    _kind, _id, status, _spent, (line, _detail) = said(payload)
    assert status == 1
    assert (
        line == f"the reply's body of {size} bytes is over the limit of {64 * MIB} bytes (64 MiB)"
    )
    assert "| body of a reply | 64 MiB |" in (Path(__file__).parents[3] / "README.md").read_text()
