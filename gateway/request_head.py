"""The head of a request, read strictly (RFC 9112): is it one, and how long is its body?

What two readers may read apart is refused here, before any other reader sees it: that is how
requests are smuggled past a proxy.
"""

from __future__ import annotations

import re

from gateway.http_limits import HttpLimits, malformed

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TOKEN = re.compile(_TOKEN)
HEADER = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
_REQUEST_LINE = re.compile(_TOKEN + rb" +[\x21-\x7e\x80-\xff]+ +HTTP/1\.([01])")
_LENGTH = re.compile(rb"[0-9]{1,18}")
#: Headers that can only be said once; of two, one reader takes the first and another the last.
ONCE = frozenset(
    {
        "content-length", "content-location", "content-range", "content-type", "etag", "host",
        "max-forwards", "server", "transfer-encoding", "user-agent",
    }
)  # fmt: skip


def body_length(head: bytes, limits: HttpLimits) -> int | None:
    """Return how many bytes of body follow, None for a body in chunks.

    Args:
        head: all lines, without the empty one at the end.
        limits: of lines and headers.

    Raises:
        RefusedError: it is no head, or over a limit.
    """
    first, *headers = head.split(b"\r\n")
    if len(first) > limits.line_bytes:
        raise limits.long_line()
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise malformed("its request line")
    if max(map(len, headers), default=0) > limits.line_bytes:
        raise limits.long_header()
    if len(headers) > limits.headers:
        raise limits.many_headers()
    if sum(map(len, headers)) + 2 * len(headers) > limits.head_bytes:
        raise limits.long_head()
    once = _once(headers)
    is_1_1 = line[1] == b"1"
    if is_1_1 and "host" not in once:
        raise malformed("it has no Host header")
    return _length(once.get("content-length"), once.get("transfer-encoding"), is_1_1=is_1_1)


def _once(headers: list[bytes]) -> dict[str, bytes]:
    """Return the headers that can only be said once; refuse what is no header, or said twice."""
    found: dict[str, bytes] = {}
    for header in headers:
        parts = HEADER.fullmatch(header)
        if parts is None:
            raise malformed("a line of it is no header")
        name = parts[1].decode().lower()
        if name in ONCE:
            if name in found:
                raise malformed(f"it has more than one {name} header")
            found[name] = parts[2].rstrip(b" \t")
    return found


def _length(length: bytes | None, coding: bytes | None, *, is_1_1: bool) -> int | None:
    if coding is not None:
        if length is not None:
            raise malformed("it has both Content-Length and Transfer-Encoding")
        if coding.lower() != b"chunked" or not is_1_1:
            raise malformed("its Transfer-Encoding is not 'chunked', or not for HTTP/1.0")
        return None
    if length is not None and not _LENGTH.fullmatch(length):
        raise malformed("its Content-Length is no number")
    return int(length or 0)
