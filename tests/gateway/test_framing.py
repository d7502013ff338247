"""The cutter of requests: what goes on, what is refused, whatever way the bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import trials

from gateway.framing import TRANSITIONS, Framing, Part
from gateway.http_limits import HttpLimits, RefusedError

LIMITS = HttpLimits()
HOST = b"Host: h\r\n"
CHUNKED = b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


def taken(framing: Framing, *parts: bytes) -> bytes:
    """Return all that goes on to the parser when the parts arrive one after the other."""
    found = b""
    for part in parts:
        framing.feed(part)
        while (piece := framing.take()) is not None:
            found += piece
    return found


def one_by_one(data: bytes) -> list[bytes]:
    """Return the bytes each by itself, of long data a few together."""
    step = 1 if len(data) < 1000 else 97
    return [data[i : i + step] for i in range(0, len(data), step)]


def body_of(raw: bytes) -> bytes:
    """Return the body of a request in chunks, as our own chunks say it."""
    rest, body = raw.partition(b"\r\n\r\n")[2], b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            assert rest == b"\r\n"
            return body
        body += rest[:length]
        assert rest[length : length + 2] == b"\r\n"
        rest = rest[length + 2 :]


def refusal(data: bytes) -> RefusedError:
    """Return how the data is refused, at once and byte by byte alike."""
    told = []
    for parts in ([data], one_by_one(data)):
        with pytest.raises(RefusedError) as raised:
            taken(Framing(LIMITS), *parts)
        told.append(raised.value)
    assert told[0].status == told[1].status
    assert told[0].reason == told[1].reason
    return told[0]


def head_of(size: int, *, lines: int = 1) -> bytes:
    """Return a head whose headers have so many bytes together, in so many lines beside Host."""
    each, more = divmod(size - len(HOST), lines)
    made = [b"x: " + b"a" * (each - 5) + b"\r\n"] * (lines - 1)
    made.append(b"x: " + b"a" * (each - 5 + more) + b"\r\n")
    return b"GET / HTTP/1.1\r\n" + HOST + b"".join(made) + b"\r\n"


class TestRequests:
    def test_a_head_goes_on_as_it_came(self) -> None:
        """What is plain is not touched, also when it comes byte by byte."""
        head = b"GET /a?b=%20 HTTP/1.1\r\n" + HOST + b"X: a \xff\tb\r\nE:\r\n\r\n"
        assert taken(Framing(LIMITS), head) == head
        assert taken(Framing(LIMITS), *one_by_one(head)) == head

    def test_the_next_request_waits(self) -> None:
        """Nothing of a second request goes on before the first one is done with."""
        one = b"GET /1 HTTP/1.1\r\n" + HOST + b"\r\n"
        two = b"POST /2 HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\nab"
        framing = Framing(LIMITS)
        assert taken(framing, one + two + one) == one
        assert framing.part is Part.END
        assert framing.waiting == len(two + one)
        framing.begin()
        assert taken(framing, b"") == two
        framing.begin()
        assert taken(framing, b"") == one

    def test_a_body_with_a_length(self) -> None:
        """It ends where it says, and no byte is held back."""
        head = b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\n"
        framing = Framing(LIMITS)
        assert taken(framing, head, b"\r\n\n") == head + b"\r\n\n"
        assert taken(framing, b"abc") == b"ab"
        assert framing.part is Part.END

    def test_empty_lines_before_a_request(self) -> None:
        """Some clients send one after a body (RFC 9112 2.2)."""
        head = b"GET / HTTP/1.0\r\n\r\n"
        assert taken(Framing(LIMITS), b"\r\n\r\n" + head) == head
        assert taken(Framing(LIMITS), *one_by_one(b"\r\n" + head)) == head

    def test_chunks_lose_their_extensions_and_trailers(self) -> None:
        """What goes on is the data in chunks of ours, with nothing to interpret."""
        body = b'3;a="b"\r\nabc\r\n2 ; x\r\nde\r\n00\r\nT: x\r\nU:\r\n\r\n'
        assert taken(Framing(LIMITS), CHUNKED + body) == CHUNKED + b"5\r\nabcde\r\n0\r\n\r\n"

    @given(
        st.lists(st.binary(min_size=1, max_size=20), max_size=6),
        st.lists(st.integers(0, 300), max_size=8),
    )
    @trials(200)
    def test_chunks_however_they_are_cut(self, chunks: list[bytes], cuts: list[int]) -> None:
        """The same body comes out of any way in which the bytes arrive."""
        raw = CHUNKED + b"".join(b"%X;e\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
        edges = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
        parts = [raw[a:b] for a, b in pairwise(edges)]
        framing = Framing(LIMITS)
        assert body_of(taken(framing, *parts)) == b"".join(chunks)
        assert framing.part is Part.END

    def test_every_part_has_its_followers(self) -> None:
        """The table is total."""
        assert set(TRANSITIONS) == set(Part)


class TestLimits:
    def test_the_request_line(self) -> None:
        """8 KiB are served, one byte more is 414."""
        line = b"GET /" + b"a" * (8192 - len(b"GET / HTTP/1.1")) + b" HTTP/1.1"
        assert taken(Framing(LIMITS), line + b"\r\n" + HOST + b"\r\n")
        told = refusal(line.replace(b"/a", b"/aa") + b"\r\n" + HOST + b"\r\n")
        assert (told.status, told.reason) == (414, "request-line")
        assert "8192" in told.text
        assert refusal(line[:-9] + b"a" * 20).status == 414  # without an end in sight

    def test_a_header_line(self) -> None:
        """8 KiB are served, one byte more is 431, name and value together."""
        for name in (b"x", b"x" * 4000):
            line = name + b": " + b"a" * (8192 - len(name) - 2)
            head = b"GET / HTTP/1.1\r\n" + HOST
            assert taken(Framing(LIMITS), head + line + b"\r\n\r\n")
            told = refusal(head + line + b"a\r\n\r\n")
            assert (told.status, told.reason) == (431, "header-line")
            assert refusal(head + line + b"aaa").status == 431

    def test_blanks_count_as_well(self) -> None:
        """Padding that a parser drops is no way around the limit."""
        assert refusal(b"GET / HTTP/1.1\r\nX:" + b" " * 9000).status == 431

    def test_all_headers_together(self) -> None:
        """32 KiB are served, one byte more is 431."""
        assert taken(Framing(LIMITS), head_of(32768, lines=5))
        told = refusal(head_of(32769, lines=5))
        assert (told.status, told.reason) == (431, "headers")
        assert "32768" in told.text

    def test_how_many_headers(self) -> None:
        """128 are served, one more is 431."""
        assert taken(Framing(LIMITS), head_of(2000, lines=127))
        assert refusal(head_of(2000, lines=128)).status == 431

    def test_chunk_extensions(self) -> None:
        """One line has 1 KiB; what many lines have beyond 16 bytes each is 16 KiB together."""
        long = b"1;" + b"x" * 1022
        assert taken(Framing(LIMITS), CHUNKED + long + b"\r\na\r\n")
        assert refusal(CHUNKED + long + b"x\r\na\r\n").status == 400
        many = b"1;" + b"x" * 270 + b"\r\na\r\n"  # 256 beyond
        assert taken(Framing(LIMITS), CHUNKED + many * 64)
        assert "extensions" in refusal(CHUNKED + many * 65).text

    def test_trailers(self) -> None:
        """32 KiB together; one line has 8 KiB."""
        line = b"x: " + b"a" * 507 + b"\r\n"
        assert taken(Framing(LIMITS), CHUNKED + b"0\r\n" + line * 64 + b"\r\n")
        assert "trailers" in refusal(CHUNKED + b"0\r\n" + line * 64 + b"x:\r\n").text
        assert refusal(CHUNKED + b"0\r\nx: " + b"a" * 9000).status == 400


HEAD = b"POST / HTTP/1.1\r\n" + HOST


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02",
        b" GET / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nHost: h\n\r\n",
        b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
        b"GET /\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        HEAD + HOST + b"\r\n",
        HEAD + b"X : a\r\n\r\n",
        HEAD + b": a\r\n\r\n",
        HEAD + b"X\r\n\r\n",
        HEAD + b"X: a\r\n b\r\n\r\n",
        HEAD + b"X: a\rb\r\n\r\n",
        HEAD + b"X: a\0b\r\n\r\n",
        HEAD + b"X\x80: a\r\n\r\n",
        HEAD + b"User-Agent: a\r\nuser-agent: b\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
        HEAD + b"Content-Length: 3, 3\r\n\r\n",
        HEAD + b"Content-Length: +3\r\n\r\n",
        HEAD + b"Content-Length: 0x3\r\n\r\n",
        HEAD + b"Content-Length:\r\n\r\n",
        HEAD + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n",
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        CHUNKED + b"ZZ\r\n",
        CHUNKED + b"\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"0x5\r\nhello\r\n",
        CHUNKED + b"1 \r\na\r\n",
        CHUNKED + b"1\na\n",
        CHUNKED + b"1;a\nb\r\n",
        CHUNKED + b"1;\0\r\n",
        CHUNKED + b"f" * 16 + b"\r\n",
        CHUNKED + b"1\r\nab\r\n",
        CHUNKED + b"1\r\na\rb",
        CHUNKED + b"0\r\nno trailer\r\n\r\n",
        CHUNKED + b"0\r\nA: b\n\r\n",
    ],
)
def test_what_may_be_read_in_two_ways(raw: bytes) -> None:
    """400, in whatever pieces it comes, before anything behind it is looked at."""
    told = refusal(raw)
    assert (told.status, told.reason) == (400, "malformed")


def test_good_chunks_before_a_bad_one_go_on() -> None:
    """What was right is not lost in the reading of what is wrong."""
    framing = Framing(LIMITS)
    framing.feed(CHUNKED + b"1\r\na\r\nZZ\r\n")
    assert framing.take() == CHUNKED
    assert framing.take() == b"1\r\na\r\n"
    for _ in range(2):
        with pytest.raises(RefusedError):
            framing.take()


def test_many_tiny_chunks_cost_time_in_proportion() -> None:
    """A read full of one-byte chunks is cut without copying its rest for each of them."""
    count = 40_000
    framing = Framing(LIMITS)
    framing.feed(CHUNKED + b"1\r\na\r\n" * count)
    assert framing.take() == CHUNKED
    assert framing.take() == b"%x\r\n%b\r\n" % (count, b"a" * count)


def test_what_follows_an_upgrade_is_left_alone():
    """Bytes behind the head of a request that is upgraded go to whoever reads them now, once."""
    framing = Framing(LIMITS)
    head = b"GET /x HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    assert taken(framing, head + b"\x82\x05hello") == head
    assert framing.leave() == b"\x82\x05hello"
    assert (framing.leave(), framing.waiting) == (b"", 0)
