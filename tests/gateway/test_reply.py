"""What may leave as a response, and how it is written (functions.md 7.5, channel rules)."""

from __future__ import annotations

import pytest

from gateway import reply
from gateway.reply import BadReplyError


def lines(answer: reply.Reply, method: str = "GET", *, keep_alive: bool = True) -> list[str]:
    """Return the head's lines without Date, and the body as the last item."""
    head, _, body = answer.encode(method, keep_alive=keep_alive).partition(b"\r\n\r\n")
    found = [line for line in head.decode("latin-1").split("\r\n") if not line.startswith("Date: ")]
    return [*found, body.decode("latin-1")]


def test_a_plain_answer():
    """Status line, the function's headers in order, length, body."""
    made = reply.from_function(201, [("X-A", "1"), ("x-a", "2")], b"hi")
    assert lines(made) == ["HTTP/1.1 201 Created", "X-A: 1", "x-a: 2", "Content-Length: 2", "hi"]


def test_head_has_the_length_but_no_body():
    """HEAD tells what GET would send."""
    made = reply.from_function(200, [], b"hello")
    assert lines(made, "HEAD") == ["HTTP/1.1 200 OK", "Content-Length: 5", ""]


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("size", [3, 100_000])
def test_a_status_without_a_body_sends_none(status: int, size: int):
    """Not even one so large that it is written apart: it would be read as the next response."""
    made = reply.from_function(status, [], b"x" * size)
    assert not made.apart
    assert lines(made)[-1] == ""
    assert not any(line.startswith("Content-Length") for line in lines(made))


def test_what_belongs_to_the_connection_is_not_the_functions():
    """Length, framing and persistence are the platform's."""
    headers = [("Content-Length", "500"), ("Transfer-Encoding", "chunked"), ("CONNECTION", "close")]
    headers += [("Proxy-Connection", "close"), ("TE", "trailers"), ("Upgrade", "h2c")]
    made = reply.from_function(200, [*headers, ("Date", "never")], b"x")
    assert lines(made) == ["HTTP/1.1 200 OK", "Content-Length: 1", "x"]
    assert "Connection: close" in lines(made, keep_alive=False)


def test_the_hosts_headers_do_not_replace_the_functions():
    """The customHeaders of host.json come where the function has set none, whatever the case."""
    extra = [("X-Site", "a"), ("X-Other", "b")]
    made = reply.from_function(200, [("x-site", "mine")], b"", extra)
    assert lines(made)[1:3] == ["x-site: mine", "X-Other: b"]


@pytest.mark.parametrize(
    "headers",
    [
        [("X-A", "a\r\nEvil: 1")],
        [("X-A", "a\nb")],
        [("X-A", "a\0b")],
        [("X-A", "a\rb")],
        [("X-A", "a\x0bb")],
        [("X-A", "a\x7fb")],
        [("X-A", "\x1b[2J")],
        [("X A", "a")],
        [("X-A\r\nEvil", "a")],
        [("", "a")],
        [("X:", "a")],
        [("X-\u00e9", "a")],
        [("X-A", 5)],
        [(None, "a")],
        [("X-A", "a" * 40_000)],
        [(f"X-{n}", "a") for n in range(101)],
    ],
)
def test_a_header_that_would_break_the_response(headers: list):
    """Nothing of it is sent: the caller gets 502, the function's log the reason."""
    with pytest.raises(BadReplyError):
        reply.from_function(200, headers, b"")


def test_a_checked_header_stays_checked():
    """A good line that is remembered does not let a bad one through, also not the second time."""
    for _ in range(2):
        reply.from_function(200, [("X-A", "good")], b"")
        with pytest.raises(BadReplyError):
            reply.from_function(200, [("X-A", "good\r\nEvil: 1")], b"")


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 199, 600, 10**30])
def test_a_status_that_is_none(status: int):
    """A function may answer 200 to 599; interim answers are the platform's."""
    with pytest.raises(BadReplyError, match=str(status)):
        reply.from_function(status, [], b"")


def test_an_unknown_status_is_passed_on():
    """299 is as good as 200, and a character that headers do not know becomes "?"."""
    assert lines(reply.from_function(299, [("X", "\u4e2d\u010a")], b""))[:2] == [
        "HTTP/1.1 299 Unknown",
        "X: ??",
    ]


def test_a_tab_is_no_control_character():
    """The one that a value may hold."""
    assert lines(reply.from_function(200, [("X-A", "a\tb")], b""))[1] == "X-A: a\tb"


@pytest.mark.parametrize(
    "header",
    [("X\0" * 30_000, "v"), ("\r\n" * 600, "v"), ("x" * 60_000, "v"), ("X", "\0" * 60_000)],
)
def test_a_refusal_does_not_quote_what_is_long(header: tuple[str, str]):
    """It stands in two logs; what is over the limit is not even searched."""
    with pytest.raises(BadReplyError) as refused:
        reply.from_function(200, [header], b"")
    assert ("bytes; the limit is 32768" in str(refused.value)) is (sum(map(len, header)) > 32768)
    assert len(str(refused.value)) < 600
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("size", [0, 3, 100_000])
def test_reset_content_has_none(size: int):
    """205 has a length, which is 0, and nothing is written after it."""
    made = reply.from_function(205, [], b"x" * size)
    assert not made.apart
    assert lines(made) == ["HTTP/1.1 205 Reset Content", "Content-Length: 0", ""]
