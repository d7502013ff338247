"""The body of a request while it arrives."""

from __future__ import annotations

import gc

import pytest

from gateway.incoming_body import IncomingBody
from scheduler.events import Body


def collected(*parts: bytes) -> bytes | Body:
    """Return what these pieces become."""
    with IncomingBody() as coming:
        for part in parts:
            coming.add(part)
        assert coming.size == sum(map(len, parts))
        return coming.whole()


def test_a_small_body_stays_in_the_heap() -> None:
    """As one piece, none or many."""
    assert collected() == b""
    assert collected(b"abc") == b"abc"
    assert collected(b"abc", b"", b"d") == b"abcd"
    assert collected(b"x" * (Body.LARGE - 1)) == b"x" * (Body.LARGE - 1)


def test_a_large_body_goes_into_a_file() -> None:
    """All of it, in the order in which it came."""
    parts = [bytes([n]) * 50_000 for n in range(9)]
    body = collected(*parts)
    assert isinstance(body, Body)
    assert body.read(0, len(body)) == b"".join(parts)
    body.close()


def cut_short() -> None:
    """Let the client leave in the middle."""
    with IncomingBody() as coming:
        gc.collect()
        before = Body.open
        coming.add(b"x" * Body.LARGE)
        assert Body.open == before + 1
        raise ConnectionError


def test_what_never_becomes_whole_is_given_back() -> None:
    """At once, though the error knows the frame that it went through."""
    gc.collect()
    before = Body.open
    with pytest.raises(ConnectionError) as caught:
        cut_short()
    assert Body.open == before
    assert caught.tb is not None


def test_one_file_too_many_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a large body is in the heap, as whole as ever."""
    monkeypatch.setattr(Body, "open", 1 << 20)
    data = b"x" * Body.LARGE
    assert collected(data, b"y") == data + b"y"
