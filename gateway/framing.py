"""Where a request begins and ends: the bytes of one connection, cut strictly (RFC 9112).

No I/O and no clock. It stands before a parser that is more patient than we are: a request goes on
only if there is one way to read it and it keeps to the limits, one request at a time, in a form
that leaves nothing to interpret (no chunk extensions, no trailers). Everything else is a
RefusedError, after which the connection is of no use.
"""

from __future__ import annotations

import re
from enum import Enum

from gateway.http_limits import HttpLimits, RefusedError, malformed
from gateway.request_head import HEADER, TOKEN, body_length

_EMPTY_LINES = re.compile(rb"[\r\n]*")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_PLAIN_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")
_TLS = 0x16
_MAX_CHUNK_LINE = 1024
#: Line and line end of a chunk that nobody minds; what is beyond it adds up.
_CHUNK_OVERHEAD = 16
_MAX_EXCESS = 16 << 10


class Part(Enum):
    """What comes next on the connection."""

    HEAD = "head"
    LENGTH = "length"  # the rest of a body whose length was told
    CHUNK_LINE = "chunk-line"
    CHUNK = "chunk"
    CHUNK_END = "chunk-end"
    TRAILERS = "trailers"
    END = "end"  # the request is complete; the next one waits for `begin`


#: part -> parts that may follow.
TRANSITIONS: dict[Part, frozenset[Part]] = {
    Part.HEAD: frozenset({Part.LENGTH, Part.CHUNK_LINE, Part.END}),
    Part.LENGTH: frozenset({Part.END}),
    Part.CHUNK_LINE: frozenset({Part.CHUNK, Part.TRAILERS}),
    Part.CHUNK: frozenset({Part.CHUNK_END}),
    Part.CHUNK_END: frozenset({Part.CHUNK_LINE}),
    Part.TRAILERS: frozenset({Part.END}),
    Part.END: frozenset({Part.HEAD}),
}


class Framing:
    """Cuts the bytes of one connection into requests."""

    __slots__ = ("_at", "_excess", "_left", "_limits", "_rest", "_searched", "_trailers", "part")

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._rest = b""
        self._at = 0  # what lies before it in `_rest` is done with
        self.part = Part.HEAD
        self._start()

    @property
    def waiting(self) -> int:
        """Return how many bytes have come and not gone on."""
        return len(self._rest) - self._at

    def feed(self, data: bytes) -> None:
        """Take what came."""
        self._rest = self._rest[self._at :] + data if self.waiting else data
        self._at = 0

    def begin(self) -> None:
        """Go on to the next request."""
        self._to(Part.HEAD)
        self._start()

    def leave(self) -> bytes:
        """Return what has come and belongs to no request, and forget it."""
        rest, self._rest, self._at = self._rest[self._at :], b"", 0
        return rest

    def take(self) -> bytes | None:
        """Return the next bytes for the parser, None when more has to come or the request is over.

        Raises:
            RefusedError: there is no, or more than one, way to read what came, or a limit is met.
        """
        if not self.waiting or self.part is Part.END:
            return None
        if self.part is Part.HEAD:
            return self._head()
        if self.part is Part.LENGTH:
            return self._data(Part.END)
        return self._chunks()

    def _start(self) -> None:
        self._left = 0  # bytes, of the body or of the chunk
        self._searched = 0  # bytes of the head in which there is no end
        self._excess = 0  # bytes
        self._trailers = 0  # bytes

    def _to(self, part: Part) -> None:
        assert part in TRANSITIONS[self.part], f"{self.part} -> {part}"
        self.part = part

    # -- the head

    def _head(self) -> bytes | None:
        if self._at or not self._searched:
            self._cut_to_head()
        rest = self._rest
        if not rest:
            return None
        if not self._searched and not TOKEN.match(rest):
            tls = rest[0] == _TLS
            raise malformed("it looks like TLS, and this is plain HTTP" if tls else "its beginning")
        end = rest.find(b"\r\n\r\n", max(0, self._searched - 3))
        stop = len(rest) if end < 0 else end
        if _BARE_LF.search(rest, self._searched, stop):
            raise malformed("a line ends without a carriage return")
        self._searched = stop
        if end < 0:
            self._check_growth(rest)
            return None
        length = body_length(rest[:end], self._limits)
        self._left = length or 0
        self._to(Part.CHUNK_LINE if length is None else Part.LENGTH if length else Part.END)
        self._at = end + 4
        return rest[: end + 4]

    def _cut_to_head(self) -> None:
        """Drop what is done with, and the empty lines that some clients send after a body."""
        empty = _EMPTY_LINES.match(self._rest, self._at)
        assert empty is not None  # it matches nothing as well
        self._rest = self._rest[empty.end() :]
        self._at = 0

    def _check_growth(self, rest: bytes) -> None:
        """Refuse a head that is over a limit whatever still comes."""
        limits = self._limits
        first = rest.find(b"\r\n")
        if first < 0:
            if len(rest) > limits.line_bytes + 1:  # its carriage return may be here
                raise limits.long_line()
            return
        if first > limits.line_bytes:
            raise limits.long_line()
        if len(rest) - rest.rfind(b"\r\n") - 2 > limits.line_bytes + 1:
            raise limits.long_header()
        if len(rest) - first - 2 > limits.head_bytes + 1:
            raise limits.long_head()

    # -- the body

    def _data(self, after: Part) -> bytes:
        """Return what of the body is here, at most to its end or the chunk's."""
        data = self._rest
        if self._at or len(data) > self._left:
            data = data[self._at : self._at + self._left]
        self._at += len(data)
        self._left -= len(data)
        if not self._left:
            self._to(after)
        return data

    def _chunks(self) -> bytes | None:
        """Return the data of all chunks that are here as one chunk, with the end if it is here.

        What is wrong after good data is found again by the next call, which has nothing but it.
        """
        parts: list[bytes] = []
        try:
            while self.waiting and self.part is not Part.END and self._chunk_step(parts):
                pass
        except RefusedError:
            if not parts:
                raise
        data = b"".join(parts)
        piece = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        if self.part is Part.END:
            piece += b"0\r\n\r\n"
        return piece or None

    def _chunk_step(self, parts: list[bytes]) -> bool:
        """Take one thing of a chunked body; return False when it is not here as a whole."""
        match self.part:
            case Part.CHUNK:
                parts.append(self._data(Part.CHUNK_END))
                return True
            case Part.CHUNK_END:
                return self._chunk_end()
            case Part.CHUNK_LINE:
                self._plain_chunks(parts)
                return self._chunk_line()
            case _:
                return self._trailer()

    def _plain_chunks(self, parts: list[bytes]) -> None:
        """Take the chunks that are here as a whole and plain: a read may be full of tiny ones."""
        rest, at = self._rest, self._at
        while (line := _PLAIN_CHUNK.match(rest, at)) and (size := int(line[1], 16)):
            start = line.end()
            end = start + size
            if rest[end : end + 2] != b"\r\n":
                break
            parts.append(rest[start:end])
            self._excess = max(0, self._excess + len(line[1]) - _CHUNK_OVERHEAD)
            at = end + 2
        self._at = at

    def _chunk_line(self) -> bool:
        """Take a chunk's size, and drop its extensions: they mean nothing to us."""
        end = self._line_end(_MAX_CHUNK_LINE)
        if end is None:
            return False
        line = _CHUNK_LINE.fullmatch(self._rest, self._at, end)
        if line is None:
            raise malformed("the line of a chunk's size")
        # A body of many tiny chunks with long extensions would cost far more than its size tells.
        excess = max(0, self._excess + end - self._at - _CHUNK_OVERHEAD)
        if excess > _MAX_EXCESS:
            raise malformed(f"its chunk extensions are over {_MAX_EXCESS} bytes together")
        self._excess = excess
        self._at = end + 2
        self._left = int(line[1], 16)
        self._to(Part.CHUNK if self._left else Part.TRAILERS)
        return True

    def _chunk_end(self) -> bool:
        found = self._rest[self._at : self._at + 2]
        if found == b"\r":
            return False
        if found != b"\r\n":
            raise malformed("a chunk is not as long as its size")
        self._at += 2
        self._to(Part.CHUNK_LINE)
        return True

    def _trailer(self) -> bool:
        """Drop a trailer: nobody is told of it. An empty line is the end."""
        end = self._line_end(self._limits.line_bytes)
        if end is None:
            return False
        size = end - self._at
        if not size:
            self._to(Part.END)
        elif not HEADER.fullmatch(self._rest, self._at, end):
            raise malformed("a line of its trailers is no header")
        elif self._trailers + size + 2 > self._limits.head_bytes:
            raise malformed(f"its trailers are over {self._limits.head_bytes} bytes together")
        else:
            self._trailers += size + 2
        self._at = end + 2
        return True

    def _line_end(self, most: int) -> int | None:
        """Return where the line ends that is next, None if its end is not here yet."""
        at = self._at
        end = self._rest.find(b"\r\n", at, at + most + 2)
        if _BARE_LF.search(self._rest, at, at + most if end < 0 else end):
            raise malformed("a line ends without a carriage return")
        if end < 0 and self.waiting > most + 1:
            raise malformed(f"a line of its body's framing is over {most} bytes")
        return None if end < 0 else end
