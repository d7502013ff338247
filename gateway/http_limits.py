"""What a client may take of a listener: bytes, time, connections; and the words of each refusal.

Values and sentences only. Each sentence names the limit, its value and how to change it. Both
listeners, the fast lane and the general path refuse through these, so that they say the same.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A client that sends or reads more slowly than this holds a connection that others could use.
SLOWEST_BYTES_PER_S = 1024
_FIXED = "this limit is fixed"


class RefusedError(Exception):
    """A request or a connection that a limit, or the grammar of HTTP, refuses.

    Raised by the framing, and by a body's reader when the rest of the body will not come. The
    connection cannot go on after it.

    Attributes:
        status: of the answer.
        reason: the word that metrics count it under.
        text: one line for the client.
    """

    def __init__(self, status: int, reason: str, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.reason = reason
        self.text = text


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """The limits of one connection.

    Attributes:
        line_bytes: the request line, and each header line, without their line ends.
        head_bytes: all header lines with their line ends.
        headers: how many.
        head_s: from the first byte of a request to the end of its head; for the first request of
            a connection from the connect.
        idle_s: between two requests.
        body_s: a pause within a body, and within the reading of an answer; after as long a time
            both also have to make `SLOWEST_BYTES_PER_S` on average.
        linger_s: how long the rest of a refused request is read and thrown away: closing with
            unread bytes would reset the connection and take the answer from the client.
    """

    line_bytes: int = 8 << 10
    head_bytes: int = 32 << 10
    headers: int = 128
    head_s: float = 10.0
    idle_s: float = 75.0
    body_s: float = 30.0
    linger_s: float = 5.0

    def long_line(self) -> RefusedError:
        """Return the refusal of a request line."""
        text = f"The request line is over the limit of {self.line_bytes} bytes ({_FIXED})."
        return RefusedError(414, "request-line", text)

    def long_header(self) -> RefusedError:
        """Return the refusal of one header."""
        text = f"A header line is over the limit of {self.line_bytes} bytes ({_FIXED})."
        return RefusedError(431, "header-line", text)

    def long_head(self) -> RefusedError:
        """Return the refusal of all headers together."""
        text = f"The headers are over the limit of {self.head_bytes} bytes together ({_FIXED})."
        return RefusedError(431, "headers", text)

    def many_headers(self) -> RefusedError:
        """Return the refusal of too many headers."""
        text = f"There are more headers than the limit of {self.headers} ({_FIXED})."
        return RefusedError(431, "headers", text)

    def late_head(self, waited_s: float) -> RefusedError | None:
        """Return the refusal of a head that is not complete after so long, None in time."""
        if waited_s <= self.head_s:
            return None
        text = f"The head of the request was not here within {self.head_s:g} s"
        return RefusedError(408, "slow-head", f"{text} (--header-timeout-s).")

    def late_body(self, silent_s: float, elapsed_s: float, size: int) -> RefusedError | None:
        """Return the refusal of a body that stopped or crawls, None while it comes.

        Args:
            silent_s: since its last byte.
            elapsed_s: since it could begin.
            size: bytes that have come.
        """
        if silent_s > self.body_s:
            text = f"Nothing of the body came for {self.body_s:g} s (--body-timeout-s)."
        elif self.is_crawl(elapsed_s, size):
            text = (
                f"After {self.body_s:g} s (--body-timeout-s) the body came with less than"
                f" {SLOWEST_BYTES_PER_S} bytes a second ({_FIXED})."
            )
        else:
            return None
        return RefusedError(408, "slow-body", text)

    def is_crawl(self, elapsed_s: float, size: int) -> bool:
        """Tell whether so few bytes in such a time hold a connection for too little."""
        return elapsed_s > self.body_s and size < elapsed_s * SLOWEST_BYTES_PER_S


def malformed(what: str) -> RefusedError:
    """Return the refusal of what is no HTTP request, or one that two readers may read apart."""
    return RefusedError(400, "malformed", f"This is no valid HTTP request: {what}.")
