"""Frames that are made from a template are those that would be made at once."""

from __future__ import annotations

import pytest

from sandbox.call import CallTemplate, encode_call
from sandbox.runtime import wire

ID = bytes(range(16))
HEAD = ("GET", "http://h/x?a=\udc80", (("Host", "h"), ("x", "\u00e9")), (("a", "b"),), ())


@pytest.mark.parametrize("last", [b"", b"x", b"y" * 255, b"z" * 70_000, 300_000, 0])
@pytest.mark.parametrize("trace", [None, ("00-1", "")])
def test_a_template_makes_the_same_call(last: bytes | int, trace: tuple[str, str] | None) -> None:
    """Body or its length, with and without trace: the guest reads the same."""
    frame = CallTemplate((*HEAD, b""), trace).frame(ID, last)
    whole = encode_call(ID, (*HEAD, last), trace)
    decoder = wire.Decoder(wire.MAX_HOST_FRAME)
    assert decoder.feed(frame) == decoder.feed(whole)
