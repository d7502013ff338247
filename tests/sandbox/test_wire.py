"""The frame codec: any bytes become messages or a WireError, nothing else."""

from __future__ import annotations

import tracemalloc
from typing import Any

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


# -- what a guest sends


def fed(body: bytes, limit: int = wire.MAX_GUEST_FRAME) -> list[list[Any]]:
    """Return what becomes of one frame of a guest."""
    return wire.Decoder(limit, hostile=True).feed(frame(body))


def row(value: bytes, count: int) -> bytes:
    """Return a list of so many values."""
    return b"\xdc" + count.to_bytes(2, "big") + value * count


REPLY = b"\x92\x0b"  # a list of a kind and the bomb that follows


BOMBS = [
    (REPLY + row(row(b"\x80", 1024), 20), "more than 16384 values"),
    (REPLY + row(row(b"\x90", 1024), 20), "more than 16384 values"),
    (REPLY + row(row(b"\x81\xa0\xc0", 1024), 20), "more than 16384 values"),
    (REPLY + row(b"\x81\xa0" * 900 + b"\xc0", 40), "more than 16384 values"),
    (REPLY + row(row(b"\xa2ab", 1024), 20), "more than 16384 values"),
    (REPLY + row(row(b"\xcb" + b"0" * 8, 1024), 20), "more than 16384 values"),
    (REPLY + b"\x91" * 20_000 + b"\xc0", "more than 16384 values"),
    (REPLY + b"\xdd\x00\x98\x96\x80" + b"\xc0" * 20_000, "more than 16384 values"),
    (REPLY + b"\xdf\x00\x98\x96\x80" + b"\xc0" * 20_000, "more than 16384 values"),
    (REPLY + b"\xdf\x00\x98\x96\x80", "exceeds max_map_len"),
    (REPLY + b"\xdd\x00\x98\x96\x80", "exceeds max_array_len"),
    (REPLY + b"\xdc\x04\x00" * 1000, "incomplete"),
    (REPLY + b"\xdc\x10\x00" * 1000, "exceeds max_array_len"),
    (REPLY + b"\xdb\xff\xff\xff\xff", "incomplete"),
    (REPLY + b"\xdb\x00\x20\x00\x00" + b"x" * (2 << 20), "exceeds max_str_len"),
    (REPLY + b"\xc6\xff\xff\xff\xff", "incomplete"),
    (REPLY + b"\xc7\x00\x7f", "extension"),
    (REPLY + b"x" * 20_000 + b"\xc7\x00\x7f", "extra data"),
    (REPLY + row(b"\xc7\x00\x7f", 900) + b"x" * 20_000, "extension"),
    (REPLY + b"\xda\x40\x00" + b"x" * 100, "incomplete"),
    (REPLY + b"\xc5\x50\x00" + b"x" * 20_000, "cut short"),
    (REPLY[:1] + b"\xc1", "FormatError"),
]


@pytest.mark.parametrize(("body", "why"), BOMBS)
def test_a_bomb_is_refused(body: bytes, why: str) -> None:
    """More than a frame may hold, more than is there, or what no guest of ours sends."""
    with pytest.raises(wire.WireError, match=why) as refused:
        fed(body)
    assert len(str(refused.value)) <= 200


@pytest.mark.real
@pytest.mark.parametrize("body", [body for body, _why in BOMBS])
def test_a_bomb_is_refused_before_it_is_made(body: bytes) -> None:
    """What it takes is bounded by what was sent, not by what was claimed."""
    data = frame(body)
    decoder = wire.Decoder(wire.MAX_GUEST_FRAME, hostile=True)
    tracemalloc.start()
    try:
        with pytest.raises(wire.WireError):
            decoder.feed(data)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Lists are made as long as they claim to be: 1024 levels of 1024 pointers at most.
    assert peak <= 3 * len(data) + (9 << 20), f"{peak} bytes for {len(data)}"


def test_a_frame_at_its_bounds_is_taken() -> None:
    """The pair of the test above: values as many, and lists as long, as they may be."""
    rows: list[Any] = [["x"] * wire.MAX_GUEST_ARRAY for _ in range(15)]
    rest = wire.MAX_GUEST_VALUES - 15 * (wire.MAX_GUEST_ARRAY + 1) - 5
    message = [wire.REPLY, rows, [None] * rest, "y" * wire.MAX_GUEST_TEXT]
    assert fed(msgpack.packb(message)) == [message]
    message[2] = [None] * (rest + 1)
    with pytest.raises(wire.WireError, match="more than 16384 values"):
        fed(msgpack.packb(message))


def test_the_count_reads_every_type_as_msgpack_does() -> None:
    """A large frame with a value of each head comes through it unharmed."""
    values: list[Any] = [
        None, True, False, 0, -1, 127, 128, 1 << 16, 1 << 32, (1 << 64) - 1, -33, -129, -(1 << 15),
        -(1 << 31), -(1 << 63), 0.5, "", "x" * 31, "x" * 32, "x" * 300, "x" * 70_000, b"",
        b"x" * 300, b"x" * 70_000, [], [1] * 15, [1] * 16, {}, {"k": 1},
        {str(n): n for n in range(20)}, [[[[["deep"]]]]],
    ]  # fmt: skip
    message = [wire.REPLY, *values]
    single = msgpack.Packer(use_single_float=True).pack(message)
    for body in (msgpack.packb(message), single):
        assert len(body) > wire.MAX_GUEST_VALUES
        assert fed(body) == [message]


@pytest.mark.parametrize("depth", [400, 1000, 1020])
def test_a_refusal_does_not_quote_what_was_sent(depth: int) -> None:
    """Neither as deep, which Python cannot write, nor as long: it stands in logs and answers."""
    nested = b"\x91" * depth + b"\xc0"
    for decode in (fed, wire.unpack, wire.Decoder(1 << 30).feed):
        body = REPLY + nested + b"\xff" * 10_000
        with pytest.raises(wire.WireError) as refused:
            decode(frame(body) if decode is not wire.unpack and decode is not fed else body)
        assert len(str(refused.value)) <= 200


def test_no_lone_surrogate_comes_from_a_guest() -> None:
    """Whoever encodes its texts again, as the store does, can."""
    text = fed(msgpack.packb([1, "a"])[:-1] + b"\xff")[0][1]
    assert text == "\ufffd"
    text.encode()


def test_a_record_of_a_guest_is_valid_unicode() -> None:
    """It is shown in JSON and on terminals; what is no value is refused as in a frame."""
    assert wire.unpack_guest(b"\x91\xa2a\xff") == ["a\ufffd"]
    for bad in (b"", b"\xc1", b"\x91" * 1000 + b"\xc0\xc0", b"\xc7\x00\x7f"):
        with pytest.raises(wire.WireError):
            wire.unpack_guest(bad)


def test_a_large_frame_leaves_nothing_behind() -> None:
    """The packer, which lives as long as the platform, keeps no room for another as large."""
    tracemalloc.start()
    try:
        wire.encode([1, b"x" * (8 << 20)])
        kept, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 1 << 20


def test_a_decoder_can_forget_and_be_allowed_more() -> None:
    """The limit counts from then on; what was half there is dropped."""
    decoder = wire.Decoder(10, hostile=True)
    decoder.feed(b"\0\0")
    decoder.forget()
    assert not decoder.pending
    decoder.allow(1000)
    assert decoder.feed(wire.encode(MESSAGE)) == [MESSAGE]
