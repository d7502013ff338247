"""The frame codec: any bytes become messages or a WireError, nothing else."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import trials

from sandbox.runtime import wire

MESSAGE = [wire.REPLY, b"i" * 16, 0, 12, [200, [["a", "b"]], b"body"]]


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def test_a_frame_comes_back_as_it_went() -> None:
    """What one side encodes, the other decodes, tuples as lists."""
    assert wire.Decoder(1000).feed(wire.encode(tuple(MESSAGE))) == [MESSAGE]


def test_frames_may_arrive_byte_by_byte() -> None:
    """Needing more bytes is no error; a frame is delivered with its last byte."""
    decoder = wire.Decoder(1000)
    data = wire.encode(MESSAGE) * 2
    got = [message for i in range(len(data)) for message in decoder.feed(data[i : i + 1])]
    assert got == [MESSAGE, MESSAGE]
    assert not decoder.pending


def test_many_frames_of_one_read_come_in_order() -> None:
    """A read that holds two frames and a half gives two; the rest waits."""
    decoder = wire.Decoder(1000)
    data = b"".join(wire.encode([i, "x"]) for i in range(3))
    assert decoder.feed(data[:-3]) == [[0, "x"], [1, "x"]]
    assert decoder.feed(data[-3:]) == [[2, "x"]]


def test_the_length_is_checked_before_anything_is_kept_for_it() -> None:
    """Four bytes that promise more than the limit end the channel at once."""
    with pytest.raises(wire.WireError, match="over the limit of 100 bytes"):
        wire.Decoder(100).feed((101).to_bytes(4, "big"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x93\x01",
        msgpack.packb([1]) + b"\x00",
        msgpack.packb({"a": 1}),
        msgpack.packb("text"),
        msgpack.packb([]),
        msgpack.packb(["kind"]),
        msgpack.packb([True, 1]),
        msgpack.packb([1, msgpack.ExtType(5, b"x")]),
        msgpack.packb([1, {1: 2}]),
        msgpack.packb([1, msgpack.Timestamp(1, 1)]),
        b"\x92\x01" + b"\x91" * 3000 + b"\x00",
        b"\xdd\xff\xff\xff\xff",
    ],
)
def test_what_no_peer_of_ours_sends_is_refused(body: bytes) -> None:
    """Bad msgpack, trailing bytes, extensions, foreign shapes and bombs are wire errors."""
    with pytest.raises(wire.WireError):
        wire.Decoder(1 << 20).feed(frame(body))


@trials(300)
@given(st.data())
def test_mutated_frames_give_messages_or_a_wire_error(data: st.DataObject) -> None:
    """No mutation of valid frames raises anything else."""
    stream = bytearray(wire.encode(MESSAGE) * 2)
    for _ in range(data.draw(st.integers(1, 6))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    decoder = wire.Decoder(1 << 16)
    try:
        for message in decoder.feed(bytes(stream)):
            assert type(message) is list
            assert type(message[0]) is int
    except wire.WireError:
        pass


def test_text_that_is_not_unicode_survives() -> None:
    """Header bytes that no UTF-8 has cross the wire as surrogates."""
    text = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert wire.Decoder(100).feed(wire.encode([1, text])) == [[1, text]]
